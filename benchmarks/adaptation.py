"""What adapting to a scene costs `predict`: `python benchmarks/adaptation.py`.

Radar scenes of noise with bright squares, mapped by the model that comes with the project with
`adapt=scene` and `adapt=none`, each in a process of its own, in alternation: wall time and CPU time
of the whole command, and the peak of memory. The target is 1.35 times the time without.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

TARGET = 1.35
NAME = "s1a_38SLF_{}_ASC_20150101.tif"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sides", default="1024;4096", help="pixels along a side, separated by ;")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="", help="the project's own by default")
    arguments = parser.parse_args()
    print("| pixels | wall, ratio | CPU, ratio | peak without | peak with |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for side in map(int, arguments.sides.split(";")):
            print(row(Path(folder), side, arguments.rounds, arguments.model), flush=True)


def row(folder: Path, side: int, rounds: int, model: str) -> str:
    """A line of the table: medians of the ratios of each round, with their least and greatest."""
    scene = folder / str(side) / "Alpha_2015"
    write_scene(scene, side)
    ratios: list[tuple[float, float]] = []
    peaks: dict[str, float] = {}
    for _ in range(rounds):
        taken = {}
        for adapt in ("none", "scene"):
            taken[adapt] = predict(scene, folder / f"{side}_{adapt}", adapt, model)
            peaks[adapt] = max(peaks.get(adapt, 0.0), taken[adapt][2])
        ratios.append((taken["scene"][0] / taken["none"][0], taken["scene"][1] / taken["none"][1]))
    shown = []
    for values in zip(*ratios, strict=True):
        middle = statistics.median(values)
        shown.append(f"{middle:.2f} ({min(values):.2f} to {max(values):.2f})")
    peak = [f"{peaks[adapt]:.0f} MB" for adapt in ("none", "scene")]
    return f"| {side}² | {' | '.join([*shown, *peak])} |"


def write_scene(folder: Path, side: int) -> None:
    """VV and VH: gamma noise of 4.4 looks, and a town in each square of 512 pixels."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for polarisation, level in (("vh", 0.015), ("vv", 0.08)):
        profile = {"driver": "GTiff", "width": side, "height": side, "count": 1, "tiled": True}
        profile |= {"dtype": "float32", "crs": "EPSG:32638", "blockxsize": 512, "blockysize": 512}
        place = {"transform": from_origin(400_000, 4_000_000, 10, 10)}
        path = folder / NAME.format(polarisation)
        with rasterio.open(path, "w", **profile, **place) as out:
            for y in range(0, side, 512):
                for x in range(0, side, 512):
                    block = level * generator.gamma(4.4, 1 / 4.4, (512, 512)).astype(np.float32)
                    block[100:300, 150:350] *= 6
                    out.write(block, 1, window=((y, y + 512), (x, x + 512)))


def predict(scene: Path, output: Path, adapt: str, model: str) -> tuple[float, float, float]:
    """Seconds by the clock and of CPU time, and the peak of memory in MB, of the command."""
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "builtup", "--quiet", "predict", "--adapt", adapt]
    command += ["--input_path", str(scene), "--output_path", str(output), "--device", "cpu"]
    command += ["--model", model] if model else []
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{scene.parent}/mlflow.db"}
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        sys.exit(f"error: predict adapt={adapt} ended with {os.waitstatus_to_exitcode(status)}")
    return seconds, usage.ru_utime + usage.ru_stime, _megabytes(usage)


def _megabytes(usage: resource.struct_rusage) -> float:
    return usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
