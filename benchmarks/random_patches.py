"""Random training patches from whole scenes, ours against TorchGeo's random sampler.

Of radar image and mask; of an orthomosaic of 8 bits image, mask and height above ground.

TorchGeo gets its own best file layout in each case, found by drawing patches from each; loader
processes are searched on both sides, and have started when the clock does. In the second case its
labels lie in another CRS and are warped as they are read; ours were brought to the scene's grid by
the step `rasterize`, once, whatever CRS they had.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from environments import peer_python
from harness import HERE, Case, Side
from optical_scene import Orthomosaic
from scene import Layout, Workspace
from search import Trial, best
from spaces import Spaces

__all__ = ["LAYOUTS", "optical", "other_crs", "same_crs"]

PATCH = 256
COMMON = {"size": PATCH, "batch_size": 16, "seed": 0}
WORKERS = (0, 2)
#: How a user may hold a scene: what GDAL writes by default, what its users advise, and ours.
LAYOUTS = (
    Layout(256, "none"), Layout(512, "none"), Layout(0, "none"),
    Layout(256, "zstd"), Layout(512, "zstd"), Layout(0, "zstd"),
)  # fmt: skip
OTHER_CRS = "EPSG:4326"
TRIED, OURS_DRAWN, THEIRS_DRAWN = 300, 4000, 600
#: Side of the orthomosaic: 600 m of ground at 10 cm.
ORTHOMOSAIC = 6000


def same_crs(spaces: Spaces) -> Case:
    """Image and mask on one grid."""
    return _case(spaces, "patches-same-crs", f"random {PATCH}-px patches", 6.0)


def other_crs(spaces: Spaces) -> Case:
    """TorchGeo's labels in geographic coordinates."""
    title = f"random {PATCH}-px patches, labels in {OTHER_CRS}"
    return _case(spaces, "patches-other-crs", title, 5.0, OTHER_CRS)


def optical(spaces: Spaces) -> Case:
    """Image, mask and height of an orthomosaic, 8 bits."""
    python = peer_python("torchgeo")
    space = Orthomosaic(spaces.root / "orthomosaic", ORTHOMOSAIC)
    space.prepare()

    def ours(workers: int) -> Side:
        arguments = {"tiles": str(space.tiles), "patches": OURS_DRAWN, "workers": workers,
                     "height": True, **COMMON}  # fmt: skip
        return Side("builtup", HERE / "ours" / "patches.py", arguments, setting=_words(workers))

    def theirs(layout: Layout, workers: int, patches: int) -> Side:
        files = {kind: str(path) for kind, path in space.lay_out(layout).items()}
        arguments = {**files, "patches": patches, "workers": workers, **COMMON}
        setting = f"{layout.title}, {_words(workers)}"
        peer = HERE / "peers" / "torchgeo_sampler.py"
        return Side("TorchGeo", peer, arguments, python, setting=setting)

    our, our_trials = best((ours(n) for n in WORKERS), list(space.layers.values()))
    their, trials = best(theirs(layout, n, TRIED) for layout in LAYOUTS for n in WORKERS)
    searched = {
        "builtup": [t.as_json() for t in our_trials],
        "TorchGeo": [t.as_json() for t in trials],
    }
    peer = replace(their.side, arguments={**their.side.arguments, "patches": THEIRS_DRAWN})
    inputs = [*space.layers.values(), *(Path(peer.arguments[k]) for k in space.layers)]
    title = f"random {PATCH}-px patches, 8-bit image, mask and height"
    return Case(
        *("patches-optical", title, "patches", our.side, peer, inputs),
        least_ratio=4.0,
        searched=searched,
    )


def _case(spaces: Spaces, name: str, title: str, ratio: float, crs: str | None = None) -> Case:
    peer_python("torchgeo")
    space = spaces.large
    space.prepare()
    space.cut()
    (layout, their), trials = _best_of_torchgeo(space, crs)
    our, our_trials = _best_of_ours(space)
    ours = _ours(space, our, OURS_DRAWN)
    peer = _torchgeo(space, layout, their, THEIRS_DRAWN, crs)
    inputs = [space.image, space.mask, *space.lay_out(layout, crs)]
    searched = {
        "builtup": [t.as_json() for t in our_trials],
        "TorchGeo": [t.as_json() for t in trials],
    }
    return Case(name, title, "patches", ours, peer, inputs, least_ratio=ratio, searched=searched)


@cache
def _best_of_torchgeo(space: Workspace, crs: str | None) -> tuple[tuple[Layout, int], list[Trial]]:
    """TorchGeo's fastest layout with labels in `crs`, then its fastest number of workers.

    Other layouts are removed.
    """
    of_layout: dict[Layout, Trial] = {}
    kept: Layout | None = None
    for layout in LAYOUTS:
        side = _torchgeo(space, layout, 0, TRIED, crs)
        (trial,) = best([side], space.lay_out(layout, crs))[1]
        of_layout[layout] = trial
        if kept is None or trial.rate > of_layout[kept].rate:
            kept, layout = layout, kept
        if layout is not None:
            space.forget(layout)
    assert kept is not None
    others = [_torchgeo(space, kept, n, TRIED, crs) for n in WORKERS if n]
    _, more = best(others, space.lay_out(kept, crs))
    trials = [*of_layout.values(), *more]
    fastest = max((of_layout[kept], *more), key=lambda trial: trial.rate)
    return (kept, fastest.side.arguments["workers"]), trials


@cache
def _best_of_ours(space: Workspace) -> tuple[int, list[Trial]]:
    def sides() -> Iterator[Side]:
        for workers in WORKERS:
            yield _ours(space, workers, OURS_DRAWN)

    fastest, trials = best(sides(), [space.image, space.mask])
    return fastest.side.arguments["workers"], trials


def _ours(space: Workspace, workers: int, patches: int) -> Side:
    arguments = {"tiles": str(space.tiles), "patches": patches, "workers": workers, **COMMON}
    return Side("builtup", HERE / "ours" / "patches.py", arguments, setting=_words(workers))


def _torchgeo(
    space: Workspace, layout: Layout, workers: int, patches: int, crs: str | None = None
) -> Side:
    image, mask = space.lay_out(layout, crs)
    arguments: dict[str, Any] = {
        "image": str(image), "mask": str(mask), "patches": patches, "workers": workers, **COMMON
    }  # fmt: skip
    return Side(
        "TorchGeo",
        HERE / "peers" / "torchgeo_sampler.py",
        arguments,
        peer_python("torchgeo"),
        setting=f"{layout.title}, {_words(workers)}",
    )


def _words(workers: int) -> str:
    return f"{workers} loader processes" if workers else "no loader process"
