"""Blends are exact: equal values stay what they are, and the mean is that by weight."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from builtup.geo.blend import AxisBlend, IntegerBlend, ramp_of
from builtup.geo.probability import NODATA
from builtup.geo.windows import Window, blend_weights, even_offsets, tiling

sizes = st.integers(1, 40)


@st.composite
def tilings(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """(width, height, size, overlap)."""
    size = draw(st.integers(1, 20))
    return draw(sizes), draw(sizes), size, draw(st.integers(0, size - 1))


def blend_all(tiles: list[tuple[Window, np.ndarray]], block: Window, ramp: int) -> np.ndarray:
    blend = IntegerBlend(1, block)
    for tile, values in tiles:
        part = tile.intersection(block)
        if part is not None:
            rows, columns = part.relative_to(tile).slices
            blend.add(values[:, rows, columns], part, tile, ramp)
    return blend.result()


@given(tilings(), st.integers(0, 254))
def test_tiles_of_one_value_blend_to_that_value(cut: tuple[int, ...], value: int) -> None:
    width, height, size, overlap = cut
    tiles = [
        (t, np.full((1, t.height, t.width), value, np.uint8))
        for t in tiling(width, height, size, overlap)
    ]
    result = blend_all(tiles, Window(0, 0, height, width), ramp_of(overlap))
    assert (result == value).all()


@given(tilings(), st.integers(0, 2**32 - 1))
def test_tiles_that_agree_give_back_the_scene_with_its_gaps(
    cut: tuple[int, ...], seed: int
) -> None:
    width, height, size, overlap = cut
    scene = np.random.default_rng(seed).integers(0, 256, (1, height, width), dtype=np.uint8)
    tiles = [(t, scene[:, *t.slices]) for t in tiling(width, height, size, overlap)]
    result = blend_all(tiles, Window(0, 0, height, width), ramp_of(overlap))
    np.testing.assert_array_equal(result, scene)


@given(tilings(), st.integers(0, 2**32 - 1), st.randoms())
def test_neither_the_order_of_tiles_nor_the_blocks_matter(
    cut: tuple[int, ...], seed: int, random: object
) -> None:
    width, height, size, overlap = cut
    generator = np.random.default_rng(seed)
    tiles = [
        (t, generator.integers(0, 256, (1, t.height, t.width), dtype=np.uint8))
        for t in tiling(width, height, size, overlap)
    ]
    whole = blend_all(tiles, Window(0, 0, height, width), ramp_of(overlap))
    random.shuffle(tiles)  # type: ignore[attr-defined]
    for block in tiling(width, height, 7, 0):
        np.testing.assert_array_equal(
            blend_all(tiles, block, ramp_of(overlap)), whole[:, *block.slices]
        )


@given(tilings(), st.integers(0, 2**32 - 1))
def test_the_integer_blend_is_the_weighted_mean_rounded_half_up(
    cut: tuple[int, ...], seed: int
) -> None:
    width, height, size, overlap = cut
    generator = np.random.default_rng(seed)
    total = np.zeros((height, width))
    weights = np.zeros((height, width))
    tiles = []
    for t in tiling(width, height, size, overlap):
        values = generator.integers(0, 256, (1, t.height, t.width), dtype=np.uint8)
        tiles.append((t, values))
        ramp = ramp_of(overlap)
        weight = np.outer(blend_weights(t.height, ramp), blend_weights(t.width, ramp))
        weight = weight * (values[0] != NODATA)
        total[t.slices] += weight * values[0]
        weights[t.slices] += weight
    with np.errstate(invalid="ignore"):
        expected = np.where(weights > 0, np.floor(total / weights + 0.5), NODATA)
    result = blend_all(tiles, Window(0, 0, height, width), ramp_of(overlap))
    np.testing.assert_array_equal(result[0], expected)


def test_sums_of_the_longest_ramp_do_not_overflow() -> None:
    tile = Window(0, 0, 256, 256)
    values = np.full((1, 256, 256), 254, np.uint8)
    result = blend_all([(tile, values)] * 400, tile, ramp_of(10_000))
    assert (result == 254).all()


@given(st.integers(1, 200), st.integers(1, 40), st.data())
def test_running_shares_give_the_mean_by_weight(
    length: int, size: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, size - 1))
    axis = AxisBlend.of(length, size, overlap)
    generator = np.random.default_rng(length)
    mean = np.zeros(length)
    total, weight = np.zeros(length), np.zeros(length)
    for i, offset in enumerate(axis.offsets):
        values = generator.random(axis.size)
        seen = axis.overlap(i)
        mean[offset : offset + seen] += axis.shares[i] * (
            values[:seen] - mean[offset : offset + seen]
        )
        mean[offset + seen : offset + axis.size] = values[seen:]
        w = blend_weights(axis.size, max(1, overlap))
        total[offset : offset + axis.size] += w * values
        weight[offset : offset + axis.size] += w
    np.testing.assert_allclose(mean, total / weight, rtol=1e-6)


@given(st.integers(1, 200), st.integers(1, 40), st.data())
def test_what_is_finished_is_seen_by_no_later_window(
    length: int, size: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, size - 1))
    axis = AxisBlend.of(length, size, overlap)
    assert list(axis.offsets) == even_offsets(length, size, overlap)
    assert sum(axis.finished(i) for i in range(len(axis))) == length
    for i, offset in enumerate(axis.offsets):
        later = axis.offsets[i + 1 :]
        assert all(offset + axis.finished(i) <= x for x in later)
        assert axis.size - axis.finished(i) <= axis.most_carried
