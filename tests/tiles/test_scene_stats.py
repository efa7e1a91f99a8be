"""The figures of one tile and one scene; whole steps are in test_stats.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from builtup.geo.windows import Window
from builtup.sensors.radar.sentinel1 import SENTINEL1
from builtup.tiles.moments import Moments, measured_channels
from builtup.tiles.scene_stats import FoldPart, SceneMeasures, fold_parts, measure_tile
from builtup.tiles.table import TileMeasure
from tile_data import add_scene, labels, power, prepared


def test_figures_of_a_tile_are_those_of_its_valid_pixels() -> None:
    image = power((20, 30))
    image[:2, 3, 20] = np.nan, 0.2  # one polarisation is enough to be invalid
    valid = ~SENTINEL1.invalid(image[:2], None)
    measured = measure_tile(image, valid, labels(image))
    assert measured.valid_fraction == pytest.approx((20 * 25 - 1) / 600)
    for band in range(3):
        values = image[band][valid].astype(np.float64)
        assert measured.minimum[band] == values.min() and measured.maximum[band] == values.max()
        assert measured.mean[band] == pytest.approx(values.mean(), rel=1e-12)
        assert measured.std[band] == pytest.approx(values.std(), rel=1e-12)


def test_shares_are_of_labelled_valid_pixels() -> None:
    image = power((4, 10), gap=0)
    image[:, 3] = np.nan
    mask = np.zeros((4, 10), np.uint8)
    mask[0], mask[1, :5], mask[1, 5:], mask[3] = 255, 3, 1, 1
    measured = measure_tile(image, np.isfinite(image[0]), mask)
    assert measured.shares == (0.5, 0.25, 0.0, 0.25)
    assert measured.target_ratio == 0.25 and not measured.skip
    assert measured.shares_of(6) == (0.5, 0.25, 0.0, 0.25, 0.0, 0.0)


def test_of_two_classes_the_target_ratio_says_all() -> None:
    none = ()
    assert TileMeasure(1.0, 0.25, False, none, none, none, none).shares_of(3) == (0.75, 0.25, 0)
    assert TileMeasure(1.0, 0.0, True, none, none, none, none).shares_of(3) == (0, 0, 0)


@pytest.mark.parametrize("classes", [2, 4])
def test_what_is_written_comes_back(tmp_path: Path, classes: int) -> None:
    channels = len(measured_channels(SENTINEL1))
    mask = np.full((8, 8), classes - 1, np.uint8)
    image = power((8, 8), gap=0)
    tiles = (
        measure_tile(image, np.isfinite(image[0]), mask),
        measure_tile(image, np.zeros((8, 8), bool), mask),
    )
    parts = (FoldPart(Window(0, 0, 8, 8), (1,)),)
    histogram = np.ones((classes + 1, 3, 5), np.int64)
    written = SceneMeasures(tiles, parts, (Moments.none(channels),), histogram)
    written.write(tmp_path / "a.npz", SENTINEL1)
    found = SceneMeasures.read(tmp_path / "a.npz")
    assert found.parts == parts and found.classes == classes
    assert [t.shares_of(classes) for t in found.tiles] == [t.shares_of(classes) for t in tiles]
    assert [t.mean for t in found.tiles] == [t.mean for t in tiles]
    assert not SceneMeasures.readable(tmp_path / "none.npz")


def test_parts_are_held_out_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    add_scene(tmp_path)
    folds, tiles = prepared(tmp_path)
    parts = fold_parts(folds, tiles[0].tile)
    seen = np.zeros((70, 90), int)
    for part in parts:
        seen[part.window.slices] += 1
        for fold in range(len(folds.names)):
            held = folds.held_out(tiles[0].tile, fold, with_gap=True)
            assert held is not None
            common = held.intersection(part.window)
            assert common == (part.window if fold in part.held_out_by else None)
        assert FoldPart.from_json(part.to_json()) == part
    assert (seen == 1).all()
