from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from builtup.geo.corners import STRIP, block_of, scan
from traced import masks


@settings(max_examples=40, deadline=None)
@given(masks, st.integers(1, 15), st.integers(0, 2**32 - 1))
def test_corners_by_blocks_carry_the_sum_of_all_that_is_above_and_left_of_them(
    mask: NDArray[np.bool_], block: int, seed: int
) -> None:
    value = np.random.default_rng(seed).integers(0, 255, mask.shape).astype(np.uint8)
    read = lambda w: (mask[w.slices], value[w.slices])  # noqa: E731
    found = list(scan(mask.shape[1], mask.shape[0], read, (block, block)))
    corners = found[0].concatenated(*found[1:])
    sums = np.zeros(np.add(mask.shape, 1), np.int64)
    sums[1:, 1:] = (value * mask).astype(np.int64).cumsum(axis=0).cumsum(axis=1)
    assert corners.integral.tolist() == sums[corners.y, corners.x].tolist()
    # of each region the pixels: the mixed differences summed back (Green's theorem)
    signs = np.zeros(sums.shape, np.int64)
    np.add.at(signs, (corners.y, corners.x), corners.sign)
    assert (signs.cumsum(axis=0).cumsum(axis=1)[:-1, :-1] == mask).all()
    at = corners.y.astype(np.int64) * sums.shape[1] + corners.x
    assert (np.diff(at) >= 0).all()  # in scanning order
    assert corners.twin.sum() == 2 * (np.diff(at[corners.twin]) == 0).sum()


@pytest.mark.parametrize("width", [1, 4096, 10_000, 100_000])
def test_wide_rasters_have_lower_blocks(width: int) -> None:
    rows, _ = block_of(width)
    assert rows * width <= STRIP or rows == 32
    assert rows & (rows - 1) == 0
