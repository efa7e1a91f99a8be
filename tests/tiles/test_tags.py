"""tags.csv and cells."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builtup.errors import InputError
from builtup.geo.windows import Window
from builtup.tiles.tags import CellTags, cells_of, read_tags, write_tags

sides = st.integers(1, 90)


@given(sides, sides, sides)
def test_every_pixel_lies_in_exactly_one_cell(width, height, cell):
    seen = np.zeros((height, width), int)
    for window in cells_of(width, height, cell):
        assert window.x % cell == window.y % cell == 0
        seen[window.slices] += 1
    assert (seen == 1).all()


def test_what_is_written_is_read(tmp_path):
    cells = [
        CellTags("a", Window(0, 200, 200, 50), (1.0, 0.25, math.nan), "a_172_0"),
        CellTags("b", Window(0, 0, 200, 200), (0.0, 0.0, 1.0), "b_0_0"),
    ]
    write_tags(tmp_path / "tags.csv", cells, ("ground", "building", "tree"))
    again = read_tags(tmp_path / "tags.csv", ("ground", "building", "tree"))
    assert str(again) == str(cells)


def test_unscored_classes_have_no_tags(tmp_path):
    path = tmp_path / "tags.csv"
    path.write_text("scene,x,y,building,clutter\na,0,0,1,\n")
    assert read_tags(path, ("building", "clutter"), ("clutter",))[0].tags[0] == 1
    path.write_text("scene,x,y,building,clutter\na,0,0,1,1\n")
    with pytest.raises(InputError, match="tags of clutter, which is unscored"):
        read_tags(path, ("building", "clutter"), ("clutter",))
