"""The measured claims: what is compared with what, and the targets.

Each function prepares what its case needs and returns a Case; it raises Unavailable where the peer
cannot be run here. The small scene (4,096²) shows that memory does not follow the scene's size.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial

import many_polygons
import null_pipeline
import random_patches
from environments import Unavailable
from harness import HERE, Case, Side
from scene import Workspace
from spaces import Spaces

__all__ = ["CASES", "Maker", "chosen"]

OURS, PEERS = HERE / "ours", HERE / "peers"
MEGAPIXELS = "Mpx"

#: Makes a case from the scenes it may use.
Maker = Callable[[Spaces], Case]


def merge(spaces: Spaces) -> Case:
    """VV and VH into the 3-band scene, against whole files and deflate."""
    large, small = spaces.large, spaces.small

    def ours(space: Workspace) -> Side:
        return Side(
            "builtup" if space is large else "builtup, small scene",
            OURS / "merge.py",
            {"train": str(space.train), "output": str(space.scratch("merge"))},
            # empty before each run: a first step hashes its inputs, nothing is remembered
            env={"XDG_CACHE_HOME": str(space.scratch("merge") / "cache")},
            scratch=space.scratch("merge"),
        )

    sources = [large.polarisation("vv"), large.polarisation("vh")]
    peer = Side(
        "whole files, deflate",
        PEERS / "merge_whole.py",
        {
            "vv": str(sources[0]),
            "vh": str(sources[1]),
            "output": str(large.scratch("merge_peer") / "3b.tif"),
        },
        scratch=large.scratch("merge_peer"),
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
    )


def rasterize(spaces: Spaces) -> Case:
    """Polygons onto the scene's grid, against gdal_rasterize and the read of validity."""
    large, small = spaces.large, spaces.small
    if shutil.which("gdal_rasterize") is None:
        raise Unavailable("gdal_rasterize is not on PATH (Debian: apt-get install gdal-bin)")

    def ours(space: Workspace) -> Side:
        return Side(
            "builtup" if space is large else "builtup, small scene",
            OURS / "rasterize.py",
            {"train": str(space.train), "output": str(space.scratch("rasterize"))},
            scratch=space.scratch("rasterize"),
        )

    sources = [large.polarisation("vv"), large.polarisation("vh")]
    peer = Side(
        "gdal_rasterize + validity",
        PEERS / "gdal_rasterize.py",
        {
            "vv": str(sources[0]),
            "vh": str(sources[1]),
            "polygons": str(large.polygons),
            "output": str(large.scratch("rasterize_peer") / "mask.tif"),
        },
        scratch=large.scratch("rasterize_peer"),
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
        most_growth=1.1,
    )


CASES: dict[str, Maker] = {
    "merge": merge,
    "rasterize": rasterize,
    "patches-same-crs": random_patches.same_crs,
    "patches-other-crs": random_patches.other_crs,
    "patches-optical": random_patches.optical,
    **{f"inference-{name}": partial(null_pipeline.against, name) for name in null_pipeline.PEERS},
    "polygonize-shapes": many_polygons.bare_shapes,
    **{f"polygonize-{name}": partial(many_polygons.against, name) for name in many_polygons.PEERS},
}


def chosen(wanted: list[str], known: list[str]) -> list[str]:
    """The names meant by `wanted`: a name itself, or the first word of several; all for none."""
    if not wanted:
        return known
    return [n for n in known if any(n == w or n.startswith(f"{w}-") for w in wanted)]
