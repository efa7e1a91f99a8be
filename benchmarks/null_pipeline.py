"""A null model over a whole scene: ours against each peer, each at its own best setting.

The network is a 1×1 convolution, so that what is measured is the pipeline: read, cut, blend, round,
write. Batch and threads of either side are the fastest of a small search on the small scene. The
first pair's results are compared: with this network every window gives a pixel the same value, so
any right blend gives the same map.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import rasterio
from environments import peer_python
from harness import HERE, Case, Measurement, Side
from numpy.typing import NDArray
from scene import Workspace
from search import BATCHES, THREADS, Trial, best
from spaces import Spaces

from builtup.geo.windows import Window, aligned

__all__ = ["PEERS", "against", "difference"]

WINDOW, OVERLAP = 512, 64
OURS = "builtup"
#: Levels by which two right results may differ: one is rounded up, the other down.
TOLERANCE = 1


@dataclass(frozen=True)
class Peer:
    """A driver below peers/, and the environment that it runs in.

    Its result is compared with ours `margin` pixels inside the frame.
    """

    title: str
    file: str
    environment: str
    margin: int = 0


PEERS = {
    "monai": Peer("MONAI", "monai_sliding.py", "monai"),
    "terratorch": Peer("TerraTorch", "terratorch_tiled.py", "terratorch"),
    # its blend's weight is near 0 at the frame's own edge, where it divides by the weight + 1e-8
    "geoai": Peer("geoai predict_geotiff", "geoai_predict.py", "geoai", margin=OVERLAP),
    "geoai-semantic": Peer("geoai semantic_inference", "geoai_semantic.py", "geoai"),
    "toolbelt": Peer("pytorch-toolbelt", "toolbelt_merger.py", "toolbelt"),
    "torchgeo": Peer("TorchGeo, stitched", "torchgeo_grid.py", "torchgeo"),
}


def against(name: str, spaces: Spaces) -> Case:
    """The case of one peer; Unavailable where its environment cannot be made."""
    peer = PEERS[name]
    python = peer_python(peer.environment)
    for space in (spaces.large, spaces.small):
        space.prepare()
    file = HERE / "peers" / peer.file
    their, trials = _searched(spaces.small, peer.title, file, python)
    our, our_trials = _our_setting(spaces.small)
    ours = _side(spaces.large, OURS, HERE / "ours" / "inference.py", Path(sys.executable), our)
    other = _side(spaces.large, peer.title, file, python, their)

    def differences(_: Measurement, __: Measurement) -> str:
        paths = [Path(str(side.arguments["output"])) for side in (ours, other)]
        return difference(paths[0], paths[1], peer.margin)

    return Case(
        f"inference-{name}",
        f"blended inference, {WINDOW}/{OVERLAP}",
        "Mpx",
        ours,
        other,
        [spaces.large.image],
        least_ratio=2.0,
        most_memory_mb=400,
        differences=differences,
        searched={
            "on": f"{spaces.small.size}²",
            OURS: [t.as_json() for t in our_trials],
            peer.title: [t.as_json() for t in trials],
        },
    )


@cache
def _our_setting(space: Workspace) -> tuple[tuple[int, int], list[Trial]]:
    return _searched(space, OURS, HERE / "ours" / "inference.py", Path(sys.executable))


def _searched(
    space: Workspace, name: str, file: Path, python: Path
) -> tuple[tuple[int, int], list[Trial]]:
    """The fastest (batch, threads) on a scene."""

    def sides() -> Iterator[Side]:
        for threads in THREADS:
            for batch in BATCHES:
                yield _side(space, name, file, python, (batch, threads))

    fastest, trials = best(sides(), [space.image])
    arguments = fastest.side.arguments
    return (arguments["batch_size"], arguments["threads"]), trials


def _side(space: Workspace, name: str, file: Path, python: Path, setting: tuple[int, int]) -> Side:
    batch, threads = setting
    scratch = space.scratch(f"inference_{file.stem}_{file.parent.name}")
    arguments = {
        "image": str(space.image), "output": str(scratch / "prob.tif"), "window": WINDOW,
        "overlap": OVERLAP, "batch_size": batch, "threads": threads,
    }  # fmt: skip
    words = f"batch {batch}, {threads} thread{'s' if threads > 1 else ''}"
    return Side(name, file, arguments, python, scratch=scratch, setting=words)


def difference(ours: Path, theirs: Path, margin: int = 0) -> str:
    """Where two maps differ by more than rounding, in words; empty when they do not.

    A map of float32 holds the probabilities of both classes and no no-data: it is compared where
    ours is valid. `margin` pixels along the frame's edge are left out.
    """
    greatest = other_validity = 0
    with rasterio.open(ours) as a, rasterio.open(theirs) as b:
        if a.shape != b.shape:
            return f"shape {b.shape}, not {a.shape}"
        for window in aligned(a.width, a.height, (512, a.width)):
            first = a.read(1, window=window.rasterio).astype(int)
            second = _levels(b, b.read(b.count, window=window.rasterio))
            valid = (first != 255) & _inside(a.shape, window, margin)
            if b.dtypes[0] == "uint8":
                other_validity += int(np.count_nonzero((first != 255) != (second != 255)))
                valid &= second != 255
            if valid.any():
                greatest = max(greatest, int(np.abs(first - second)[valid].max()))
    if other_validity:
        return f"{other_validity} pixels valid on one side only"
    return f"by {greatest} levels" if greatest > TOLERANCE else ""


def _inside(shape: tuple[int, int], window: Window, margin: int) -> NDArray[np.bool_]:
    """Which pixels of a window are at least `margin` from the frame's edge."""
    axes = []
    for start, size, length in zip(
        (window.y, window.x), (window.height, window.width), shape, strict=True
    ):
        place = np.arange(start, start + size)
        axes.append((place >= margin) & (place < length - margin))
    found: NDArray[np.bool_] = axes[0][:, None] & axes[1]
    return found


def _levels(dataset: rasterio.DatasetReader, values: NDArray[np.generic]) -> NDArray[np.int_]:
    if dataset.dtypes[0] == "uint8":
        return values.astype(int)
    finite = np.nan_to_num(values.astype(float), nan=1e6)
    return np.rint(finite * 254).astype(int)
