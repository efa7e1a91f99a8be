from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS

from builtup.errors import BuiltupError, InputError
from builtup.geo.grid import Grid
from builtup.tiles.block_folds import BlockPlan, city_blocks, parse_blocks
from tile_data import TRANSFORM, moved

UTM = CRS.from_epsg(32638)


def grid(width: int = 90, height: int = 70, transform: Affine = TRANSFORM) -> Grid:
    return Grid(UTM, transform, width, height)


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("2x2", BlockPlan(2, 2)),
        ("1X3", BlockPlan(1, 3)),
        ("rows=560;cols=256", BlockPlan((560,), (256,))),
        ("cols=100,300", BlockPlan(1, (100, 300))),
    ],
)
def test_blocks_are_counts_or_edges(text: str, plan: BlockPlan) -> None:
    assert parse_blocks(text) == plan


@pytest.mark.parametrize(
    "text", ["", "2", "0x2", "1x1", "axb", "rows=5,3", "rows=", "lines=3", "rows=5;rows=6"]
)
def test_blocks_that_are_neither_are_refused(text: str) -> None:
    with pytest.raises(BuiltupError, match="neither rows x columns nor edges"):
        parse_blocks(text)


@given(
    st.lists(
        st.tuples(st.integers(8, 60), st.integers(8, 60), st.floats(-3, 3), st.floats(-3, 3)),
        min_size=1,
        max_size=3,
    ),
    st.integers(1, 3),
    st.integers(2, 3),
)
def test_each_pixel_of_each_date_lies_in_one_block(
    dates: list[tuple[int, int, float, float]], rows: int, columns: int
) -> None:
    grids = [grid(w, h, moved(dx, dy)) for w, h, dx, dy in dates]
    blocks = city_blocks("c", grids, BlockPlan(rows, columns), gap=2)
    for g in grids:
        seen = np.zeros(g.shape, dtype=int)
        for block in blocks:
            window = block.window(g)
            if window is not None:
                seen[window.slices] += 1
        assert (seen == 1).all()


def test_a_block_is_the_same_ground_on_a_shifted_date() -> None:
    blocks = city_blocks("c", [grid(), grid(transform=moved(7, -4))], BlockPlan(2, 2), gap=3)
    first, shifted = blocks[3].window(grid()), blocks[3].window(grid(transform=moved(7, -4)))
    assert first is not None and shifted is not None
    assert (first.x, first.y) == (45, 35)
    assert (shifted.x, shifted.y) == (45 - 7, 35 + 4)


def test_the_gap_reaches_out_on_every_side() -> None:
    blocks = city_blocks("c", [grid()], BlockPlan(3, 3), gap=5)
    inner, wide = blocks[4].window(grid()), blocks[4].window(grid(), with_gap=True)
    assert inner is not None and wide is not None
    assert (wide.x, wide.y) == (inner.x - 5, inner.y - 5)
    assert (wide.width, wide.height) == (inner.width + 10, inner.height + 10)


def test_edges_in_pixels_are_met() -> None:
    blocks = city_blocks("c", [grid()], parse_blocks("rows=20;cols=64"), gap=0)
    assert [b.name for b in blocks] == ["c/r0c0", "c/r0c1", "c/r1c0", "c/r1c1"]
    window = blocks[1].window(grid())
    assert window is not None
    assert (window.x, window.y, window.width, window.height) == (64, 0, 26, 20)


def test_dates_in_two_systems_or_rotated_are_refused() -> None:
    other = Grid(CRS.from_epsg(32637), TRANSFORM, 90, 70)
    with pytest.raises(InputError, match="north-up in one CRS"):
        city_blocks("c", [grid(), other], BlockPlan(2, 2), 0)
    turned = grid(transform=TRANSFORM @ Affine.rotation(10))
    with pytest.raises(InputError, match=r"north-up in one CRS.*folds=city"):
        city_blocks("c", [turned], BlockPlan(2, 2), 0)
    with pytest.raises(InputError, match=r"gdalwarp\)$"):  # folds=city would refuse it too
        city_blocks("c", [turned], BlockPlan(2, 2), 0, alone=True)


def test_more_blocks_than_pixels_are_refused() -> None:
    with pytest.raises(InputError, match="3 columns, which blocks=5 cannot divide; use fewer"):
        city_blocks("c", [grid(width=3)], BlockPlan(1, 5), 0)


def test_edges_beyond_the_grid_are_refused_with_its_size() -> None:
    with pytest.raises(InputError, match="blocks=500 cannot divide; use edges below 200"):
        city_blocks("c", [grid(width=200)], parse_blocks("cols=500"), 0)
