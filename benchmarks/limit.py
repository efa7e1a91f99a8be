"""How close a whole scene comes to the network alone: `python benchmarks/limit.py`.

The limit is the network's own forward throughput at the same batch, precision and window, on the
same device, times the share of useful (not overlapped) pixels. Beside it: the scene's file in, the
COG of probabilities out. Both sides run in this process, one after the other, round by round. The
network is a ResNet-34 U-Net on a radar scene, or with `--network efficient_fpn` an EfficientFPN on
EfficientNet-B1 on an orthomosaic; random weights.

Two ratios are given. `wall` is limit time / scene time, the claim, and needs a quiet machine.
`inside` is the share of the scene's own time in which the network computes: both parts of it are
of the same seconds, so other processes disturb it less, but it does not see what reading and
writing cost the network itself. On a GPU (`--device cuda`) the network is only asked for in that
time, so `inside` says nothing there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import torch
from harness import machine
from optical_scene import Orthomosaic
from scene import ROOT, Workspace
from torch import Tensor

from builtup.jobs.allocator import keep_freed_memory
from builtup.models.channels import Channels, inputs_of
from builtup.models.networks import create_network
from builtup.models.segmenter import Segmenter
from builtup.prediction.backends import BACKENDS
from builtup.prediction.image_source import ImageSource
from builtup.prediction.network import make_stream
from builtup.prediction.raster import Predicted, predict_raster
from builtup.prediction.scene import predict_scene
from builtup.prediction.windows import Stream
from builtup.sensors.optical.stored_images import find_images

__all__ = ["Round", "build", "measure_rounds", "prepared_scene"]

TARGET = 0.92
#: What maps a whole scene by a stream into a file.
Scene = Callable[[Stream, Path], Predicted]


@dataclasses.dataclass(frozen=True)
class Round:
    """Wall and CPU seconds of the scene, of the network within it, and of the network alone.

    The network alone sees as many windows as the scene had, in batches of the same size.
    """

    windows: int
    pixels: int
    scene: float
    inside: float
    alone: float
    scene_cpu: float
    alone_cpu: float

    @property
    def wall_ratio(self) -> float:
        """The limit's time over the scene's: what of the limit was reached."""
        return self.alone / self.scene

    @property
    def cpu_ratio(self) -> float:
        """The same in CPU seconds: what of the work is the network's."""
        return self.alone_cpu / self.scene_cpu

    @property
    def inside_ratio(self) -> float:
        """The share of the scene's time in which the network computes."""
        return self.inside / self.scene


def build() -> Segmenter:
    """A ResNet-34 U-Net on the decibels of VH, VV and their mean; random weights."""
    torch.manual_seed(0)
    network = smp.Unet("resnet34", encoder_weights=None, in_channels=3, classes=2)
    return Segmenter(Channels("db_3b", (-17.0, -10.0, -12.5), (5.0,) * 3), network).eval()


def prepared_scene(size: int) -> Path:
    """The 3-band scene of the benchmarks, made where it is not there yet."""
    space = Workspace(ROOT / "output" / "bench" / str(size), size)
    space.simulate()
    space.prepare()
    return space.image


def build_fpn() -> Segmenter:
    """An EfficientFPN on EfficientNet-B1 of three colours; random weights."""
    torch.manual_seed(0)
    network = create_network("efficient_fpn", "efficientnet-b1", in_channels=3, num_classes=2)
    return Segmenter(Channels("rgb", (110.0,) * 3, (50.0,) * 3), network).eval()


def radar_scene(size: int, model: Segmenter) -> Scene:
    """What maps the radar scene of the benchmarks."""
    return partial(predict_scene, prepared_scene(size))


def optical_scene_of(size: int, model: Segmenter) -> Scene:
    """What maps the orthomosaic of the benchmarks, made where it is not there yet."""
    space = Orthomosaic(ROOT / "output" / "bench" / f"ortho_{size}", size)
    space.prepare()
    source = ImageSource(inputs_of(model), pixel="own")
    (headers,) = source.read_each(find_images(str(space.scenes / "images")).scenes)
    if isinstance(headers, Exception):
        raise headers
    opening = partial(source.within, headers, "", source.cache_bytes(headers, 0))

    def mapped(stream: Stream, final: Path) -> Predicted:
        return predict_raster(opening, headers.grid, stream, final, name=str(headers.scene.path))

    return mapped


#: By name: the network, and what maps a scene of its sensor.
NETWORKS = {"unet": (build, radar_scene), "efficient_fpn": (build_fpn, optical_scene_of)}


class _Clock:
    """Sums the time in which a function runs, and the windows and the size of its batches."""

    def __init__(self, run: Callable[[Tensor], Tensor]) -> None:
        self.run, self.seconds, self.batches = run, 0.0, [0]
        self.reset()

    def reset(self) -> None:
        self.seconds, self.batches = 0.0, []

    def __call__(self, power: Tensor) -> Tensor:
        started = time.perf_counter()
        result = self.run(power)
        self.seconds += time.perf_counter() - started
        self.batches.append(len(power))
        return result


def measure_rounds(
    scene_by: Scene, example: Tensor, output: Path, stream: Stream, rounds: int
) -> list[Round]:
    """Measure the scene and the network alone on `example`, a batch, in turn, after a warm-up."""
    clock = _Clock(stream.probabilities)
    timed = dataclasses.replace(stream, probabilities=clock)
    power = example.to(stream.device)
    with torch.inference_mode():
        stream.probabilities(power)
    found = []
    for number in range(rounds):
        clock.reset()
        started, busy = time.perf_counter(), time.process_time()
        done = scene_by(timed, output)
        scene, scene_cpu = time.perf_counter() - started, time.process_time() - busy
        inside, batches = clock.seconds, clock.batches
        started, busy = time.perf_counter(), time.process_time()
        with torch.inference_mode():
            for size in batches:
                stream.probabilities(power[:size])
            if stream.device.type == "cuda":
                torch.cuda.synchronize(stream.device)
        alone, alone_cpu = time.perf_counter() - started, time.process_time() - busy
        result = Round(done.windows, done.pixels, scene, inside, alone, scene_cpu, alone_cpu)
        _say(f"round {number + 1}: {describe(result)}")
        found.append(result)
    return found


def describe(r: Round) -> str:
    """A round in one line."""
    return (
        f"{r.windows} windows, scene {r.scene:.1f} s ({r.pixels / 1e6 / r.scene:.3f} Mpx/s), "
        f"network alone {r.alone:.1f} s; of the limit {r.wall_ratio:.3f} (wall), "
        f"{r.cpu_ratio:.3f} (CPU seconds), {r.inside_ratio:.3f} (inside)"
    )


def parser(description: str | None) -> argparse.ArgumentParser:
    """Options of the scene, its windows and the rounds."""
    made = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    made.add_argument("--size", type=int, default=4096, help="pixels along a side of the scene")
    made.add_argument("--window", type=int, default=512)
    made.add_argument("--overlap", type=int, default=64)
    made.add_argument("--batch", type=int, default=4)
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--threads", type=int, default=torch.get_num_threads())
    return made


def _parse() -> argparse.Namespace:
    own = parser(__doc__)
    own.add_argument("--backend", choices=BACKENDS[:2], default="torch")
    own.add_argument("--network", choices=NETWORKS, default="unet")
    own.add_argument("--device", default="cpu", help="cpu, cuda; half precision on a GPU")
    return own.parse_args()


def main() -> int:
    """Measure, print the medians as JSON; 1 where the target is missed."""
    keep_freed_memory()  # as the command line does at its start
    given = _parse()
    torch.set_num_threads(given.threads)
    made, scene_of = NETWORKS[given.network]
    model = made()
    scene_by = scene_of(given.size, model)
    scratch = ROOT / "output" / "bench" / str(given.size) / "scratch" / "limit"
    stream = make_stream(
        model,
        window=given.window,
        overlap=given.overlap,
        batch_size=given.batch,
        device=given.device,
        backend=given.backend,
    )
    inputs = len(inputs_of(model))
    largest = 255.0 if given.network == "efficient_fpn" else 0.1  # levels, or power
    example = largest * torch.rand(given.batch, inputs, given.window, given.window)
    try:
        found = measure_rounds(scene_by, example, scratch / "prob.tif", stream, given.rounds)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    ratios = {
        name: statistics.median(getattr(r, f"{name}_ratio") for r in found)
        for name in ("wall", "cpu", "inside")
    }
    useful = found[0].pixels / (found[0].windows * given.window**2)
    report: dict[str, Any] = {
        **vars(given), "machine": machine(), "useful_share": round(useful, 3),
        "ratios": {name: round(value, 3) for name, value in ratios.items()},
        "rounds_measured": [dataclasses.asdict(r) for r in found],
    }  # fmt: skip
    _say(json.dumps(report, indent=1))
    reached = ratios["wall"] >= TARGET
    _say(f"{ratios['wall']:.3f} of the limit, target {TARGET}: {'met' if reached else 'MISSED'}")
    return 0 if reached else 1


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
