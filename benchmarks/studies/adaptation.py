"""How far real scenes lie from what a network has learnt, and how large a sample adaptation needs.

    python benchmarks/studies/adaptation.py [--model <run id>] [--larger 4]

For each scene of $BUILTUP_DATA/real_s1: the distance that `adapt=auto` decides by
(`BatchStatistics.distance`), and maps by the network adapted to 1, 2, 4 … windows of it and to all:
the share of pixels that are of another class than with all. `--larger` repeats a scene along both
sides, so that more windows are there to be chosen from. No label is used.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from builtup.geo.locations import Allow
from builtup.geo.probability import NODATA
from builtup.models.batch_statistics import with_statistics
from builtup.prediction.adapt import MOST, Adapt, measure, sampled, spread_windows
from builtup.prediction.network import make_stream, predict_array
from builtup.prediction.recipe import Recipe, load
from builtup.sensors.radar.discovery import find_scenes
from builtup.sensors.radar.headers import read_headers
from builtup.sensors.radar.reader import open_power
from builtup.sensors.radar.units import judge_units

SAMPLES = (1, 2, 4, 8, 16, MOST, 2 * MOST)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="", help="a training run; the project's own by default")
    parser.add_argument("--larger", type=int, default=4, help="times a scene is repeated")
    arguments = parser.parse_args()
    data = Path(os.environ.get("BUILTUP_DATA", "../shared/data")) / "real_s1"
    if not data.is_dir():
        sys.exit(f"error: {data}: no such folder; set BUILTUP_DATA")
    loaded = load(Recipe(arguments.model, device="cpu"))
    print("| scene | distance | mapped, plain | " + " | ".join(map(str, SAMPLES)) + " | all |")
    print("|---" * (len(SAMPLES) + 4) + "|")
    found = find_scenes(";".join(str(data / split) for split in ("train", "test")), Allow.parse(""))
    for scene in found.scenes:
        with open_power(judge_units(read_headers(scene), "auto")) as reader:
            power = reader.read(spread_windows(reader.grid.width, reader.grid.height, 1 << 16)[0])
        print(row(scene.city, loaded, power, arguments.larger), flush=True)


def row(name: str, loaded, power: NDArray[np.float32], larger: int) -> str:
    """A line of the table."""
    tiled = np.tile(power, (1, larger, larger))
    everything = 4 * larger * larger * (power.shape[1] // 256 + 1) * (power.shape[2] // 256 + 1)
    whole = adapted(loaded, tiled, power, everything)
    plain = class_of(loaded, loaded.trained.model, power)
    valid = whole[0] != NODATA
    built_up = ((whole[0] == 1) & valid).sum() / valid.sum()
    differ = [
        (adapted(loaded, tiled, power, most)[0] != whole[0])[valid].mean() for most in SAMPLES
    ]
    cells = [f"{whole[1]:.2f}", f"{(plain == 1).sum() / valid.sum():.3f}"]
    cells += [f"{share:.3f}" for share in differ] + [f"mapped {built_up:.3f}"]
    return f"| {name} | {' | '.join(cells)} |"


def adapted(
    loaded, tiled: NDArray[np.float32], power: NDArray[np.float32], most: int
) -> tuple[NDArray[np.uint8], float]:
    """The classes of a scene by the network adapted to `most` windows of it, and its distance."""

    def read(window):
        rows, columns = window.slices
        return tiled[:, rows, columns]

    windows = sampled(read, spread_windows(tiled.shape[2], tiled.shape[1]), most)
    found = measure(loaded.trained, windows, Adapt("scene"), scenes=["s"], simulated=False)
    model = with_statistics(loaded.trained.model, found.moments)
    return class_of(loaded, model, power), found.distance


def class_of(loaded, model, power: NDArray[np.float32]) -> NDArray[np.uint8]:
    """0, 1, or no-data, at the model's threshold."""
    probability = predict_array(power, make_stream(model, device="cpu"))
    return loaded.trained.classes.decide(probability, loaded.threshold)


if __name__ == "__main__":
    main()
