"""The CPU backends beside each other: `python benchmarks/quantised.py`.

PyTorch (channels last), OpenVINO in float32 and in 8 bits run the same ResNet-34 U-Net, first
alone (forward), then over a whole scene, in turn, round by round, in this process. What is
reported are medians of each round's ratio to PyTorch, in wall and in CPU seconds: on a machine
with other work the rates mean little, and the ratios little more.

The weights are random, so the 8-bit network is calibrated on the scene itself and its F1 means
nothing; `builtup.prediction.backends.int8` judges real ones.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
import torch
from harness import machine
from limit import build, parser, prepared_scene
from numpy.typing import NDArray
from rasterio.windows import Window
from scene import ROOT

from builtup.jobs.allocator import keep_freed_memory
from builtup.prediction.backends.int8 import quantise
from builtup.prediction.backends.openvino import convert, save_network
from builtup.prediction.backends.probabilities import Probabilities
from builtup.prediction.network import make_stream
from builtup.prediction.scene import predict_scene
from builtup.prediction.windows import Stream

#: Least ratio to PyTorch: in float32 forward, in 8 bits from file to file.
TARGETS = {("forward", "openvino"): 1.0, ("scene", "openvino-int8"): 2.5}
SAMPLES = 16


def main() -> int:
    """Measure, print the ratios as JSON; 1 where a target is missed."""
    keep_freed_memory()  # as the command line does at its start
    given = parser(__doc__).parse_args()
    torch.set_num_threads(given.threads)
    image = prepared_scene(given.size)
    scratch = ROOT / "output" / "bench" / str(given.size) / "scratch" / "quantised"
    try:
        streams = _streams(given, image, scratch)
        power = _sample(image, given.window, given.batch)
        jobs = {
            "forward": lambda s: s.probabilities(torch.from_numpy(power)),
            "scene": lambda s: predict_scene(image, s, scratch / "prob.tif"),
        }
        ratios = {
            name: _race(name, job, streams, given.rounds if name == "scene" else 3 * given.rounds)
            for name, job in jobs.items()
        }
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    _say(json.dumps({**vars(given), "machine": machine(), "ratios_to_torch": ratios}, indent=1))
    missed = [
        f"{what} {backend} {ratios[what][backend]['wall']:.2f} < {least}"
        for (what, backend), least in TARGETS.items()
        if ratios[what][backend]["wall"] < least
    ]
    _say("all targets met" if not missed else f"MISSED: {'; '.join(missed)}")
    return 1 if missed else 0


def _streams(given: argparse.Namespace, image: Path, scratch: Path) -> dict[str, Stream]:
    model = build()
    converted = convert(Probabilities(model).eval(), given.window)
    started = time.perf_counter()
    samples = _sample(image, given.window, SAMPLES)
    save_network(quantise(converted, list(samples)), scratch / "int8")
    _say(f"quantised on {SAMPLES} windows in {time.perf_counter() - started:.0f} s")
    cut = {"window": given.window, "overlap": given.overlap, "batch_size": given.batch}
    return {
        backend: make_stream(
            model, device="cpu", backend=backend, quantised=scratch / "int8", **cut
        )
        for backend in ("torch", "openvino", "openvino-int8")
    }


def _sample(image: Path, window: int, count: int) -> NDArray[np.float32]:
    """Windows of the scene along its diagonal, (count, 2, window, window)."""
    with rasterio.open(image) as scene:
        last = min(scene.width, scene.height) - window
        offsets = np.linspace(0, last, count).astype(int)
        parts = [scene.read([1, 2], window=Window(x, x, window, window)) for x in offsets]
    return np.stack(parts).astype(np.float32)


@torch.inference_mode()
def _race(
    what: str, job: Callable[[Stream], object], streams: dict[str, Stream], rounds: int
) -> dict[str, dict[str, float]]:
    """Medians of the time of `torch` over that of each backend, round by round."""
    for stream in streams.values():  # what is made at the first call
        stream.probabilities(torch.rand(1, 2, stream.window, stream.window))
    found: dict[str, dict[str, list[float]]] = {b: {"wall": [], "cpu": []} for b in streams}
    for number in range(rounds):
        wall, busy = {}, {}
        for backend, stream in streams.items():
            started, cpu = time.perf_counter(), time.process_time()
            job(stream)
            wall[backend] = time.perf_counter() - started
            busy[backend] = time.process_time() - cpu
        for backend in streams:
            found[backend]["wall"].append(wall["torch"] / wall[backend])
            found[backend]["cpu"].append(busy["torch"] / busy[backend])
        seconds = ", ".join(f"{b} {wall[b]:.2f} s ({busy[b]:.2f} s CPU)" for b in streams)
        _say(f"{what}, round {number + 1}: {seconds}")
    return {
        backend: {kind: round(statistics.median(of), 2) for kind, of in kinds.items()}
        for backend, kinds in found.items()
    }


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
