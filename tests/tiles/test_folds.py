from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from builtup.errors import BuiltupError, InputError
from builtup.tiles.folds import Folds
from builtup.tiles.table import TrainTile
from builtup.tiles.tile import read_tile
from tile_data import add_scene, moved, prepared


def by_scene(tiles: list[TrainTile]) -> dict[str, list[TrainTile]]:
    found: dict[str, list[TrainTile]] = defaultdict(list)
    for t in tiles:
        found[t.tile.scene].append(t)
    return found


def test_several_cities_are_a_fold_each_with_all_their_dates(tmp_path: Path) -> None:
    add_scene(tmp_path)
    add_scene(tmp_path, date="20150201")
    add_scene(tmp_path, city="Beta_2015", tile="38RNV", transform=moved(5000, 0))
    folds, tiles = prepared(tmp_path)
    assert (folds.kind, folds.names) == ("city", ("38RNV_Beta", "38SLF_Alpha"))
    assert {t.tile.city for t in folds.validation_tiles(tiles, 1)} == {"38SLF_Alpha"}
    assert {t.tile.date for t in folds.validation_tiles(tiles, 1)} == {"20150101", "20150201"}
    assert {t.tile.city for t in folds.training_tiles(tiles, 1)} == {"38RNV_Beta"}
    assert all(t.fold_index == folds.names.index(t.tile.city) for t in tiles)
    assert folds.training_allowed(folds.training_tiles(tiles, 1)[0], 1) is None


def test_cities_are_dealt_into_as_many_folds_as_are_asked_for(tmp_path: Path) -> None:
    """Two dates of Alpha are as much as Beta and Gamma together."""
    add_scene(tmp_path)
    add_scene(tmp_path, date="20150201")
    for number, (city, tile) in enumerate((("Beta_2015", "38RNV"), ("Gamma_2015", "38SAA"))):
        add_scene(tmp_path, city=city, tile=tile, transform=moved(5000 * (1 + number), 0))
    folds, tiles = prepared(tmp_path, folds="2")
    assert folds.names == ("fold0", "fold1")
    held_out = [{t.tile.city for t in folds.validation_tiles(tiles, fold)} for fold in (0, 1)]
    assert held_out == [{"38SLF_Alpha"}, {"38RNV_Beta", "38SAA_Gamma"}]
    assert {t.tile.city for t in folds.training_tiles(tiles, 0)} == held_out[1]
    for count in ("1", "4"):
        with pytest.raises(BuiltupError, match=f"folds={count}: expected from 2 to the number of"):
            prepared(tmp_path, folds=count)


def test_one_city_is_cut_into_blocks(tmp_path: Path) -> None:
    add_scene(tmp_path)
    folds, tiles = prepared(tmp_path)
    assert folds.kind == "blocks"
    assert folds.names == tuple(f"38SLF_Alpha/r{r}c{c}" for r in (0, 1) for c in (0, 1))
    assert {t.fold_index for t in tiles} == {0, 1, 2, 3}


@pytest.mark.parametrize("shift", [(0, 0), (3, -5), (0.4, 0.3)])
def test_each_labelled_pixel_is_scored_once_over_all_folds(
    tmp_path: Path, shift: tuple[float, float]
) -> None:
    masks = {
        "20150101": add_scene(tmp_path)[1],
        "20150201": add_scene(tmp_path, date="20150201", transform=moved(*shift))[1],
    }
    folds, tiles = prepared(tmp_path)
    scored = {date: np.zeros(mask.shape, dtype=int) for date, mask in masks.items()}
    for fold in range(4):
        for of_scene in by_scene(tiles).values():
            chosen = folds.validation_tiles(of_scene, fold)
            for t in chosen:
                part = folds.validation_scored(t, chosen, fold)
                scored[t.tile.date][t.tile.window.slices] += part
    for date, mask in masks.items():
        assert (scored[date][mask != 255] == 1).all()
        assert scored[date].max() == 1


def test_training_learns_from_all_ground_outside_the_block_and_its_gap(tmp_path: Path) -> None:
    _, mask = add_scene(tmp_path)
    folds, tiles = prepared(tmp_path, gap=6)
    learnt = np.zeros(mask.shape, dtype=bool)
    for t in folds.training_tiles(tiles, 0):
        allowed = folds.training_allowed(t, 0)
        learnt[t.tile.window.slices] |= True if allowed is None else allowed
    expected = np.ones(mask.shape, dtype=bool)
    expected[: 35 + 6, : 45 + 6] = False
    np.testing.assert_array_equal(learnt & (mask != 255), expected & (mask != 255))


def test_no_training_pixel_comes_within_the_gap_of_a_scored_one(tmp_path: Path) -> None:
    from scipy.ndimage import distance_transform_cdt

    _, mask = add_scene(tmp_path)
    folds, tiles = prepared(tmp_path, gap=6)
    for fold in range(4):
        learnt, scored = np.zeros(mask.shape, bool), np.zeros(mask.shape, bool)
        for t in folds.training_tiles(tiles, fold):
            allowed = folds.training_allowed(t, fold)
            learnt[t.tile.window.slices] |= True if allowed is None else allowed
        for t in folds.validation_tiles(tiles, fold):
            scored[t.tile.window.slices] |= folds.validation_scored(t, tiles, fold)
        steps = distance_transform_cdt(~scored, metric="chessboard")
        assert steps[learnt].min() == 7  # six pixels lie between


def test_a_tile_with_nothing_labelled_left_is_dropped(tmp_path: Path) -> None:
    mask = np.zeros((70, 90), np.uint8)
    mask[:, 52:] = 255  # nothing is known east of the gap of the western blocks
    add_scene(tmp_path, mask=mask)
    folds, tiles = prepared(tmp_path, blocks="1x2")
    assert folds.training_tiles(tiles, 0) != []
    for t in folds.training_tiles(tiles, 0):
        allowed = folds.training_allowed(t, 0)
        assert allowed is not None
        assert np.any((read_tile(t.mask, 1) != 255) & allowed)
    assert len(folds.training_tiles(tiles, 0)) < len(folds.training_tiles(tiles, None))


def test_tiles_without_labels_are_in_neither_set(tmp_path: Path) -> None:
    mask = np.zeros((70, 90), np.uint8)
    mask[:, 40:] = 255
    add_scene(tmp_path, mask=mask)
    folds, tiles = prepared(tmp_path, blocks="2x1")
    assert any(t.skip for t in tiles)
    assert not any(t.skip for t in folds.training_tiles(tiles, 0))
    assert not any(t.skip for t in folds.validation_tiles(tiles, 0))


def test_without_a_validation_fold_everything_is_trained_on(tmp_path: Path) -> None:
    add_scene(tmp_path)
    folds, tiles = prepared(tmp_path)
    kept = folds.training_tiles(tiles, None)
    assert kept == [t for t in tiles if not t.skip]
    assert all(folds.training_allowed(t, None) is None for t in kept)


def test_folds_are_found_by_name_short_name_and_number(tmp_path: Path) -> None:
    add_scene(tmp_path)
    add_scene(tmp_path, city="Beta_2015", tile="38RNV", transform=moved(5000, 0))
    folds, _ = prepared(tmp_path)
    assert [folds.index_of(n) for n in ("38SLF_Alpha", "Alpha", "1", 1)] == [1, 1, 1, 1]
    for unknown in ("Gamma", "2", -1):
        with pytest.raises(InputError, match="known: 0: 38RNV_Beta, 1: 38SLF_Alpha"):
            folds.index_of(unknown)


def test_folds_are_found_however_their_city_is_spelled(tmp_path: Path) -> None:
    add_scene(tmp_path)
    add_scene(tmp_path, city="New York_2015", tile="38RNV", transform=moved(5000, 0))
    folds, _ = prepared(tmp_path)
    assert folds.names == ("38RNV_New_York", "38SLF_Alpha")
    for name in ("38RNV_New_York", "38RNV_New York", "New York", "New_York"):
        assert folds.index_of(name) == 0
    old = replace(folds, names=("38RNV_New York", "38SLF_Alpha"))
    for name in ("38RNV_New_York", "38RNV_New York", "New York", "New_York"):
        assert old.index_of(name) == 0


def test_folds_read_back_are_those_written(tmp_path: Path) -> None:
    add_scene(tmp_path)
    folds, _ = prepared(tmp_path)
    assert Folds.from_json(json.loads(json.dumps(folds.to_json()))) == folds


def test_folds_of_cities_need_two_of_them(tmp_path: Path) -> None:
    add_scene(tmp_path)
    with pytest.raises(BuiltupError, match="one city only"):
        prepared(tmp_path, folds="city")


def test_missing_and_malformed_folds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run generate_tiles_stats first"):
        Folds.read(tmp_path)
    (tmp_path / "folds.json").write_text("{}")
    with pytest.raises(InputError, match="malformed"):
        Folds.read(tmp_path)


def test_a_tile_of_a_scene_that_the_folds_do_not_know_is_refused(tmp_path: Path) -> None:
    add_scene(tmp_path / "a")
    add_scene(tmp_path / "b", date="20160101")
    folds, _ = prepared(tmp_path / "a")
    _, tiles = prepared(tmp_path / "b")
    with pytest.raises(InputError, match="do not know its scene"):
        folds.validation_tiles(tiles, 0)
