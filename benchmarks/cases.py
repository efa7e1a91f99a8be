"""The measured claims: what is compared with what, and the targets.

Each function prepares what its case needs and returns a Case; it raises Unavailable where the peer
cannot be run here. The small scene (4,096²) shows that memory does not follow the scene's size.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from environments import Unavailable, peer_python
from harness import HERE, Case, Side
from scene import CITY, Workspace, city_rasters

__all__ = ["CASES", "Maker"]

OURS, PEERS = HERE / "ours", HERE / "peers"
WINDOW, OVERLAP, BATCH = 512, 64, 1
PATCH = 256
MEGAPIXELS, PATCHES = "Mpx", "patches"

#: Makes a case from the large workspace, the small one and the number of torch threads.
Maker = Callable[[Workspace, Workspace, int], Case]


def merge(large: Workspace, small: Workspace, threads: int) -> Case:
    """VV and VH into the 3-band scene, against whole files and deflate."""

    def ours(space: Workspace) -> Side:
        return Side(
            "builtup" if space is large else "builtup, small scene",
            OURS / "merge.py",
            {"train": str(space.train), "output": str(_fresh(space, "merge"))},
        )

    sources = [large.polarisation("vv"), large.polarisation("vh")]
    peer = Side(
        "whole files, deflate",
        PEERS / "merge_whole.py",
        {
            "vv": str(sources[0]),
            "vh": str(sources[1]),
            "output": str(_fresh(large, "merge_peer") / "3b.tif"),
        },
    )
    return Case(
        "merge",
        "3-band merge",
        MEGAPIXELS,
        ours(large),
        peer,
        sources,
        small=ours(small) if small is not large else None,
        least_ratio=2.5,
        most_memory_mb=400,
        most_growth=1.1,
        cleanup=_emptied(large, small, "merge", "merge_peer"),
    )


def rasterize(large: Workspace, small: Workspace, threads: int) -> Case:
    """Polygons onto the scene's grid, against gdal_rasterize and the read of validity."""
    if shutil.which("gdal_rasterize") is None:
        raise Unavailable("gdal_rasterize is not on PATH (Debian: apt-get install gdal-bin)")

    def ours(space: Workspace) -> Side:
        return Side(
            "builtup" if space is large else "builtup, small scene",
            OURS / "rasterize.py",
            {"train": str(space.train), "output": str(_fresh(space, "rasterize"))},
        )

    sources = [large.polarisation("vv"), large.polarisation("vh")]
    peer = Side(
        "gdal_rasterize + validity",
        PEERS / "gdal_rasterize.py",
        {
            "vv": str(sources[0]),
            "vh": str(sources[1]),
            "polygons": str(large.polygons),
            "output": str(_fresh(large, "rasterize_peer") / "mask.tif"),
        },
    )
    return Case(
        "rasterize",
        "rasterise",
        MEGAPIXELS,
        ours(large),
        peer,
        [*sources, large.polygons],
        small=ours(small) if small is not large else None,
        least_ratio=1.0,
        most_memory_mb=400,
        cleanup=_emptied(large, small, "rasterize", "rasterize_peer"),
    )


def patches(large: Workspace, small: Workspace, threads: int) -> Case:
    """Random training patches from whole scenes, against TorchGeo's random sampler."""
    python = peer_python("torchgeo")
    large.prepare()
    large.cut()
    large.recompress()
    common = {"size": PATCH, "batch_size": 16, "seed": 0}
    ours = Side(
        "builtup", OURS / "patches.py", {"tiles": str(large.tiles), "patches": 2000, **common}
    )
    peer = Side(
        "TorchGeo, 512 blocks, ZSTD",
        PEERS / "torchgeo_sampler.py",
        {
            "image": str(large.peer_image),
            "mask": str(large.peer_mask),
            "patches": 500,
            **common,
        },
        python,
    )
    inputs = [large.image, large.mask, large.peer_image, large.peer_mask]
    return Case(
        "patches", f"random {PATCH}-px patches", PATCHES, ours, peer, inputs, least_ratio=4.0
    )


def inference(large: Workspace, small: Workspace, threads: int) -> Case:
    """Blended windows of a 1×1 convolution, against MONAI's sliding window and a write."""
    python = peer_python("monai")
    for space in (large, small):
        space.prepare()
    settings: dict[str, Any] = {
        "window": WINDOW, "overlap": OVERLAP, "batch_size": BATCH, "threads": threads
    }  # fmt: skip

    def arguments(space: Workspace, name: str) -> dict[str, Any]:
        output = _fresh(space, name) / "prob.tif"
        return {"image": str(space.image), "output": str(output), **settings}

    def ours(space: Workspace) -> Side:
        name = "builtup" if space is large else "builtup, small scene"
        return Side(name, OURS / "inference.py", arguments(space, "inference"))

    return Case(
        "inference",
        f"blended inference, {WINDOW}/{OVERLAP}",
        MEGAPIXELS,
        ours(large),
        Side(
            "MONAI + write",
            PEERS / "monai_sliding.py",
            arguments(large, "inference_peer"),
            python,
        ),
        [large.image],
        small=ours(small) if small is not large else None,
        least_ratio=1.5,
        most_memory_mb=400,
        most_growth=1.1,
        cleanup=_emptied(large, small, "inference", "inference_peer"),
    )


def polygonize(large: Workspace, small: Workspace, threads: int) -> Case:
    """Regions of a 4,096² mask to shapefile and GeoPackage, against bare features.shapes."""
    size = small.size
    folder = small.folder / f"city_{size}"
    mask = folder / "raw" / f"{CITY}.tif"
    if not mask.exists():
        city_rasters(folder, size)
    ours = Side("builtup", OURS / "polygonize.py", {"folder": str(folder)})
    peer = Side("bare shapes", PEERS / "bare_shapes.py", {"mask": str(mask)})
    return Case(
        "polygonize",
        f"polygonise {size}²",
        MEGAPIXELS,
        ours,
        peer,
        [mask],
        least_ratio=0.6,
        cleanup=lambda: _remove_polygons(mask.parent),
    )


def _fresh(space: Workspace, name: str) -> Path:
    folder = space.scratch(name)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _remove_polygons(raw: Path) -> None:
    """Take away what polygonize wrote beside the mask, with the note that it is done."""
    shutil.rmtree(raw / ".manifest", ignore_errors=True)
    for path in raw.glob(f"{CITY}.*"):
        if path.suffix != ".tif":
            path.unlink()


def _emptied(large: Workspace, small: Workspace, *names: str) -> Callable[[], None]:
    """Remove what the last run wrote: every run begins with nothing."""

    def clean() -> None:
        for space in (large, small):
            for name in names:
                shutil.rmtree(space.scratch(name), ignore_errors=True)
                _fresh(space, name)

    return clean


CASES: dict[str, Maker] = {
    "merge": merge,
    "rasterize": rasterize,
    "patches": patches,
    "inference": inference,
    "polygonize": polygonize,
}
