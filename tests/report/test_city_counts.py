"""One pass over a city."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builtup.geo.windows import aligned
from builtup.maps.validate import validate
from builtup.report.city_counts import CellCounts, measure_city, shrunk
from helpers import write_polygons
from report_data import FALSE, MISSED, SHAPE, TOWN, add_city, square

CITY = "38SLF_Alpha"


def measured(maps, largest=1200, truth=True):
    file = maps.truth / "Alpha_2015" / f"{CITY}.shp" if truth else None
    return measure_city(maps.rasters(), file, None, largest)


def test_shares_at_full_size_are_the_classes_of_the_pixels(tmp_path):
    shares = measured(add_city(tmp_path)).shares
    expected = np.zeros(SHAPE, bool)
    expected[MISSED] = True
    assert (shares["missed"] == expected).all()
    expected[:] = False
    expected[FALSE] = True
    assert (shares["false"] == expected).all()
    assert shares["found"].sum() == 45 * 50
    assert (shares["truth"][TOWN] == 1).all()
    assert (shares["unknown"][:, :5] == 1).all() and not shares["unknown"][:, 5:].any()


def test_shares_of_a_shrunk_picture_keep_the_number_of_pixels(tmp_path):
    maps = add_city(tmp_path)
    full, small = measured(maps), measured(maps, largest=30)
    assert small.picture.shape == (25, 30)
    assert small.picture.bounds == full.picture.bounds
    for name in full.shares:
        assert small.shares[name].sum() * 16 == pytest.approx(full.shares[name].sum())


def test_counts_are_those_of_validate_and_blocks_add_up_to_them(tmp_path):
    maps = add_city(tmp_path)
    write_polygons(
        maps.truth / "Alpha_2015" / f"{CITY}_labelled_area.shp",
        [square(slice(0, 60), slice(0, 90))],
    )
    counts = measured(maps).counts
    validate(preds_path=str(maps.folder), gt_path=maps.truth)
    scores = json.loads((maps.folder / "validation.json").read_text())
    matrix = scores["cities"][CITY]["confusion_matrix"]
    assert counts.pixels.matrix.tolist() == matrix
    tp, fp, fn, tn = counts.blocks.sum(axis=0)
    assert [[tn, fp], [fn, tp]] == matrix
    assert len(counts.blocks) > 1


def test_the_worst_tile_comes_first_and_empty_ones_are_not_ranked(tmp_path):
    values = np.zeros((600, 600), np.uint8)
    values[10:60, 10:60] = values[10:60, 300:330] = values[300:350, 10:60] = 254
    maps = add_city(tmp_path, values=values, truth=False)
    towns = [square(slice(10, 60), slice(10, 60)), square(slice(10, 60), slice(300, 350))]
    file = write_polygons(maps.truth / "Alpha_2015" / f"{CITY}.shp", towns)
    counts = measure_city(maps.rasters(), file, None).counts
    assert counts.ranked == 3
    assert [crop.tile.iou for crop in counts.worst] == [0, 0.6, 1]
    assert [(crop.tile.window.y, crop.tile.window.x) for crop in counts.worst] == [
        (256, 0),
        (0, 256),
        (0, 0),
    ]
    assert counts.worst[1].true.sum() == 2500 and counts.worst[1].mapped.sum() == 1500


def test_without_truth_there_is_what_was_mapped(tmp_path):
    found = measured(add_city(tmp_path), truth=False)
    assert found.counts is None
    assert found.shares["builtup"].sum() == 45 * 54
    assert not found.shares["found"].any()


def test_shrinking_never_enlarges_and_keeps_the_ground(tmp_path):
    grid = measured(add_city(tmp_path)).grid
    assert shrunk(grid, 1200) == grid
    assert shrunk(grid, 7).shape == (6, 7)
    assert shrunk(grid, 7).corners[2] == pytest.approx(grid.corners[2])


sizes = st.integers(1, 40)


@given(sizes, sizes, st.data())
def test_counts_are_those_of_the_whole_raster_whatever_the_windows(height, width, data):
    rows, columns = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    window = data.draw(st.tuples(st.integers(1, 17), st.integers(1, 17)))
    chosen = np.random.default_rng(height * width).random((height, width)) < 0.4
    cells = CellCounts.shrunk((height, width), (rows, columns))
    for part in aligned(width, height, window):
        cells.add(part, chosen[part.slices])
    expected = np.zeros((rows, columns), int)
    for y, x in np.argwhere(chosen):
        expected[y * rows // height, x * columns // width] += 1
    assert (cells.counts == expected).all()
    assert cells.shares.max() <= 1


def test_squares_are_cut_at_the_edge():
    cells = CellCounts.squares((5, 7), 3)
    for part in aligned(7, 5, (2, 7)):
        cells.add(part, np.ones((part.height, part.width), bool))
    assert cells.counts.tolist() == [[9, 9, 3], [6, 6, 2]]
    assert (cells.shares == 1).all()
