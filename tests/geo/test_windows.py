"""Tilings cover everything evenly; weights are small integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builtup.geo.windows import (
    Window,
    aligned,
    blend_weights,
    even_offsets,
    gaussian_weights,
    stride_overlap,
    tiling,
)


@st.composite
def axes(draw: st.DrawFn) -> tuple[int, int, int]:
    size = draw(st.integers(1, 600))
    return draw(st.integers(1, 5000)), size, draw(st.integers(0, size - 1))


@given(axes())
def test_offsets_cover_an_axis_with_at_least_the_overlap(axis: tuple[int, int, int]) -> None:
    length, size, overlap = axis
    starts = even_offsets(length, size, overlap)
    assert starts[0] == 0
    if length <= size:
        assert starts == [0]
        return
    assert starts[-1] + size == length
    steps = np.diff(starts)
    assert steps.max() <= size - overlap
    assert steps.max() - steps.min() <= 1  # evenly


@given(axes())
def test_offsets_are_as_few_as_can_be(axis: tuple[int, int, int]) -> None:
    length, size, overlap = axis
    count = len(even_offsets(length, size, overlap))
    assert count == 1 or (count - 1) * (size - overlap) + overlap < length


def test_a_scene_of_mosul_has_23_by_23_tiles_or_so_says_the_original() -> None:
    assert len(list(tiling(10980, 10979, 512, 32))) == 23 * 23


@given(width=st.integers(1, 90), height=st.integers(1, 90), size=st.integers(1, 40), data=st.data())
def test_tiles_cover_every_pixel_and_none_reaches_out(
    width: int, height: int, size: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, size - 1))
    seen = np.zeros((height, width), int)
    for tile in tiling(width, height, size, overlap):
        assert tile.x + tile.width <= width
        assert tile.y + tile.height <= height
        assert (tile.width, tile.height) == (min(size, width), min(size, height))
        seen[tile.slices] += 1
    assert seen.min() >= 1


@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    window=st.tuples(st.integers(1, 40), st.integers(1, 99)),
)
def test_aligned_windows_cover_every_pixel_once(
    width: int, height: int, window: tuple[int, int]
) -> None:
    seen = np.zeros((height, width), int)
    for part in aligned(width, height, window):
        assert part.y % window[0] == part.x % window[1] == 0
        seen[part.slices] += 1
    assert (seen == 1).all()


def windows() -> st.SearchStrategy[Window]:
    return st.builds(
        Window, st.integers(0, 30), st.integers(0, 30), st.integers(1, 30), st.integers(1, 30)
    )


@given(one=windows(), other=windows())
def test_an_intersection_holds_the_common_pixels(one: Window, other: Window) -> None:
    a, b = np.zeros((2, 60, 60), bool)
    a[one.slices] = b[other.slices] = True
    common = one.intersection(other)
    assert common == other.intersection(one)
    expected = np.zeros((60, 60), bool)
    if common is not None:
        expected[common.slices] = True
        assert a[one.slices][common.relative_to(one).slices].all()
    np.testing.assert_array_equal(a & b, expected)


@given(length=st.integers(1, 600), ramp=st.integers(1, 300))
def test_weights_rise_from_one_and_mirror(length: int, ramp: int) -> None:
    weights = blend_weights(length, ramp)
    assert weights[0] == 1
    assert weights.max() <= ramp
    np.testing.assert_array_equal(weights, weights[::-1])
    assert (np.abs(np.diff(weights)) <= 1).all()


@pytest.mark.parametrize("axis", [(0, 1, 0), (5, 0, 0), (5, 4, 4), (5, 4, -1)])
def test_impossible_tilings_are_refused(axis: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        even_offsets(*axis)


@given(st.integers(1, 700))
def test_gaussian_weights_are_those_of_a_bell_of_a_sixth_of_the_window(length: int) -> None:
    i = np.arange(length) - (length - 1) / 2
    bell = 128 * np.exp(-0.5 * (i / (length / 6)) ** 2)
    weights = gaussian_weights(length)
    np.testing.assert_array_equal(weights, np.maximum(1, np.round(bell)))
    np.testing.assert_array_equal(weights, weights[::-1])
    assert weights.min() >= 1 and weights.max() <= 128


def test_a_gaussian_falls_by_its_own_rule() -> None:
    weights = gaussian_weights(601)  # σ is 100.17: one, two and three of them from the centre
    assert [int(weights[300 + i]) for i in (0, 100, 200, 300)] == [128, 78, 17, 1]


def test_a_stride_is_a_divisor_of_the_window() -> None:
    assert 4000 - stride_overlap(4000, 7) == 571
    assert (stride_overlap(512, 1), stride_overlap(512, 2)) == (0, 256)
    for wrong in (0, 513):
        with pytest.raises(ValueError, match="stride"):
            stride_overlap(512, wrong)
