"""One scene of a weakened data set: what shows its cells."""

from __future__ import annotations

import numpy as np

from builtup.sensors.classes import BUILT_UP
from builtup.tiles.tile import by_scene, read_list, read_tile
from builtup.tiles.weak_scene import (
    IMAGES,
    MASKS,
    read_counts,
    scene_job,
    shown_tiles,
    weaken_scene,
)
from tile_data import add_scene, tile_all


def test_cells_are_put_together_from_tiles_and_counted(tmp_path):
    image, mask = add_scene(tmp_path)
    folder = tile_all(tmp_path)
    lists = {kind: by_scene(read_list(folder / kind / "tiles.csv")) for kind in (IMAGES, MASKS)}
    (scene,) = lists[IMAGES]
    layers = {kind: tuple(of[scene]) for kind, of in lists.items()} | {"height": ()}
    job = scene_job(
        *(scene, layers, tmp_path / "out"),
        weak=True,
        cell=40,
        context=6,
        classes=BUILT_UP,
        tags={},
    )
    assert weaken_scene(job) == {"cells": 6}
    for tile in shown_tiles(job, tmp_path / "out", IMAGES):
        np.testing.assert_array_equal(read_tile(tile), image[:, *tile.window.slices])
    for tile in shown_tiles(job, tmp_path / "out", MASKS):
        assert (read_tile(tile, 1) == 255).all()
    cells = job.context.cells
    wanted = [np.bincount(mask[w.slices].ravel(), minlength=256)[:2] for w in cells]
    np.testing.assert_array_equal(read_counts(job), wanted)
