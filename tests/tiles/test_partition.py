from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from builtup.geo.windows import tiling
from builtup.tiles.partition import exclusive_cores
from builtup.tiles.tile import Tile


def tiles_of(width: int, height: int, size: int, overlap: int, scene: str = "s") -> list[Tile]:
    return [
        Tile(f"{scene}_{w.x}_{w.y}", "c", scene, "20150101", w.x, w.y, w.width, w.height, Path("p"))
        for w in tiling(width, height, size, overlap)
    ]


@given(st.integers(1, 120), st.integers(1, 120), st.integers(2, 50), st.data())
def test_cores_partition_the_scene(width: int, height: int, size: int, data: st.DataObject) -> None:
    tiles = tiles_of(width, height, size, data.draw(st.integers(0, size - 1)))
    seen = np.zeros((height, width), dtype=int)
    cores = exclusive_cores(tiles)
    for t in tiles:
        core = cores[t.tile_id]
        assert core.intersection(t.window) == core
        seen[core.slices] += 1
    assert (seen == 1).all()


@given(st.sets(st.integers(0, 15), min_size=1))
def test_cores_of_some_tiles_never_share_a_pixel(chosen: set[int]) -> None:
    tiles = [t for i, t in enumerate(tiles_of(90, 90, 32, 12)) if i in chosen]
    seen = np.zeros((90, 90), dtype=int)
    for core in exclusive_cores(tiles).values():
        seen[core.slices] += 1
    assert seen.max() == 1


def test_of_tiles_that_show_the_same_one_has_the_core() -> None:
    tiles = tiles_of(56, 32, 32, 8)
    others = [replace(t, tile_id=f"{t.tile_id}_again") for t in tiles]
    cores = exclusive_cores(tiles + others)
    assert {t.tile_id: cores[t.tile_id] for t in tiles} == exclusive_cores(tiles)
    assert all(cores[t.tile_id].height == cores[t.tile_id].width == 0 for t in others)


def test_an_overlap_is_split_in_the_middle() -> None:
    tiles = tiles_of(56, 32, 32, 8)
    first, second = (exclusive_cores(tiles)[t.tile_id] for t in tiles)
    assert (first.x, first.width, second.x, second.width) == (0, 28, 28, 28)


def test_scenes_do_not_disturb_each_other() -> None:
    one, two = tiles_of(56, 32, 32, 8, "a"), tiles_of(70, 40, 32, 8, "b")
    together = exclusive_cores(one + two)
    assert together == exclusive_cores(one) | exclusive_cores(two)
