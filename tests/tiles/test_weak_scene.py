"""One scene of a weakened data set: what shows its cells."""

from __future__ import annotations

import numpy as np

from builtup.sensors.classes import BUILT_UP
from builtup.tiles.tile import by_scene, read_list, read_tile
from builtup.tiles.weak_scene import (
    IMAGES,
    MASKS,
    count_job,
    count_scene,
    hide_job,
    hide_scene,
    read_counts,
    shown_tiles,
    weak_scene,
)
from tile_data import add_scene, tile_all


def test_cells_are_put_together_from_tiles_and_counted(tmp_path):
    image, mask = add_scene(tmp_path)
    folder = tile_all(tmp_path)
    lists = {kind: by_scene(read_list(folder / kind / "tiles.csv")) for kind in (IMAGES, MASKS)}
    (scene,) = lists[IMAGES]
    layers = {kind: tuple(of[scene]) for kind, of in lists.items()} | {"height": ()}
    of = weak_scene(layers, weak=True, cell=40, block=1, context=6, classes=BUILT_UP, tags={})
    hidden = hide_job(scene, of, tmp_path / "out")
    assert hide_scene(hidden) == {"cells": 6}
    for tile in shown_tiles(hidden, IMAGES):
        np.testing.assert_array_equal(read_tile(tile), image[:, *tile.window.slices])
    for tile in shown_tiles(hidden, MASKS):
        assert (read_tile(tile, 1) == 255).all()
    job = count_job(scene, of, tmp_path / "out", 40)
    count_scene(job)
    wanted = [np.bincount(mask[w.slices].ravel(), minlength=256)[:2] for w in of.cells]
    np.testing.assert_array_equal(read_counts(job), wanted)
