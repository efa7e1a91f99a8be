"""A raster at another scale: its size, its means, its gaps, at every edge."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.crs import CRS

from builtup.geo.grid import Grid
from builtup.geo.windows import Window
from builtup.prediction.zoom import Zoom, cascade_scales, halved, make_halves, shares, zoomed

Float = NDArray[np.float32]


def grid_of(width: int, height: int) -> Grid:
    return Grid(CRS.from_epsg(32638), Affine(10, 0, 3e5, 0, -10, 4e6), width, height)


@contextmanager
def held(scene: Float) -> Iterator[Callable[[Window], Float]]:
    """What reads an array by windows, none of which may reach over an edge."""

    def read(window: Window) -> Float:
        _, height, width = scene.shape
        assert window.intersection(Window(0, 0, height, width)) == window
        return scene[:, *window.slices]

    yield read


def scene_of(seed: int, width: int, height: int, gaps: float = 0.3) -> Float:
    generator = np.random.default_rng(seed)
    scene = generator.random((2, height, width), dtype=np.float32)
    scene[:, generator.random((height, width)) < gaps] = np.nan
    return scene


@pytest.mark.parametrize(
    ("size", "window", "deepest"), [(4096, 512, 3), (513, 512, 1), (512, 512, 0), (100, 512, 0)]
)
def test_at_the_coarsest_scale_a_window_holds_the_scene(
    size: int, window: int, deepest: int
) -> None:
    for sides in ((size, size), (size, 7), (7, size)):
        scales = cascade_scales(*sides, window)
        assert scales == [2.0**-d for d in range(deepest, -1, -1)]


def test_another_exponent_has_its_own_number_of_scales() -> None:
    assert cascade_scales(4500, 3000, 500, 3) == [1 / 9, 1 / 3, 1]  # 500 · 3² is 4500
    assert len(cascade_scales(4501, 3000, 500, 3)) == 4


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([0.125, 0.3, 0.5, 1.0, 2.0]))
def test_a_scene_keeps_its_ratio_at_every_scale(width: int, height: int, scale: float) -> None:
    """Both axes have one scale: no side is off by a pixel of the new size, and the ground holds."""
    small = Zoom(grid_of(width, height), scale).grid
    assert 0 <= small.width / scale - width < 1 / scale + 1e-4
    assert 0 <= small.height / scale - height < 1 / scale + 1e-4
    across, down = small.resolution
    assert across == down == pytest.approx(10 / scale)


@given(st.integers(0, 99), st.integers(1, 9), st.integers(1, 9))
def test_halves_are_means_of_what_is_known(seed: int, width: int, height: int) -> None:
    scene = scene_of(seed, width, height)
    half = halved(scene)
    assert half.shape == (2, -(-height // 2), -(-width // 2))
    for y in range(half.shape[1]):
        for x in range(half.shape[2]):
            part = scene[0, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
            known = part[~np.isnan(part)]
            if known.size:
                assert half[0, y, x] == pytest.approx(known.mean(), abs=1e-6)
            else:
                assert np.isnan(half[:, y, x]).all()


def test_power_is_averaged_and_not_its_decibels() -> None:
    decibels = np.array([[[-20.0, -10.0], [-20.0, -10.0]]], np.float32)
    mean = halved(np.asarray(10 ** (decibels / 10), np.float32))
    assert 10 * np.log10(mean[0, 0, 0]) == pytest.approx(-12.596, abs=1e-3)  # not -15


@given(st.integers(0, 99), st.integers(1, 70), st.integers(1, 70), st.sampled_from([2, 4, 8]))
def test_halves_that_are_streamed_are_those_of_the_whole_array(
    tmp_path_factory: pytest.TempPathFactory, seed: int, width: int, height: int, factor: int
) -> None:
    scene, folder = scene_of(seed, width, height), tmp_path_factory.mktemp("halves")
    halves = make_halves(partial(held, scene), grid_of(width, height), 2, factor, folder)
    expected, step = scene, 1
    while step < factor:
        expected, step = halved(expected), 2 * step
        with pickle.loads(pickle.dumps(halves[step]))() as read:
            size = (0, 0, *expected.shape[1:])
            np.testing.assert_array_equal(read(Window(*size)), expected)


def test_overviews_that_are_there_are_not_made_again(tmp_path: Path) -> None:
    scene = scene_of(0, 64, 48)
    own = partial(held, halved(scene) + np.float32(1))
    halves = make_halves(partial(held, scene), grid_of(64, 48), 2, 4, tmp_path, {2: own})
    assert halves[2] is own
    assert [path.name for path in tmp_path.iterdir()] == ["4.tif"]
    with halves[4]() as read:
        np.testing.assert_allclose(
            read(Window(0, 0, 12, 16)), halved(halved(scene) + np.float32(1))
        )


scales = st.sampled_from([0.9, 0.75, 0.51, 1.3, 2.0, 3.0])


@given(st.integers(0, 99), st.integers(1, 40), st.integers(1, 40), scales)
def test_a_constant_stays_one_at_any_scale_and_is_never_mixed_with_what_is_not_there(
    seed: int, width: int, height: int, scale: float
) -> None:
    scene = np.where(np.isnan(scene_of(seed, width, height)), np.float32(np.nan), np.float32(0.7))
    zoom = Zoom(grid_of(width, height), scale)
    assert zoom.factor == 1
    with zoom.opening({1: partial(held, scene)})() as read:
        values = read(Window(0, 0, zoom.grid.height, zoom.grid.width))
    np.testing.assert_allclose(values[~np.isnan(values)], 0.7, rtol=1e-5)
    if not np.isnan(scene).any():
        assert not np.isnan(values).any()


@given(st.integers(0, 99), st.integers(2, 40), st.integers(2, 40), scales, st.data())
def test_a_window_is_the_same_part_of_the_whole(
    seed: int, width: int, height: int, scale: float, data: st.DataObject
) -> None:
    scene, zoom = scene_of(seed, width, height), Zoom(grid_of(width, height), scale)
    grid = zoom.grid
    y, x = data.draw(st.integers(0, grid.height - 1)), data.draw(st.integers(0, grid.width - 1))
    window = Window(
        y, x, data.draw(st.integers(1, grid.height - y)), data.draw(st.integers(1, grid.width - x))
    )
    with zoom.opening({1: partial(held, scene)})() as read:
        whole = read(Window(0, 0, grid.height, grid.width))
        np.testing.assert_allclose(read(window), whole[:, *window.slices], atol=1e-6)


def test_means_at_a_scale_that_is_no_half_are_by_area() -> None:
    scene = np.arange(1.0, 7.0, dtype=np.float32).reshape(1, 1, 6)
    with zoomed(partial(held, scene), (6, 1), 1.5) as read:  # 1.5 pixels to one: 4 of them
        found = read(Window(0, 0, 1, 4))[0, 0]
    np.testing.assert_allclose(found, [(1 + 0.5 * 2) / 1.5, (0.5 * 2 + 3) / 1.5, 13 / 3, 17 / 3])


def test_a_factor_is_the_largest_power_of_two_that_is_not_too_coarse() -> None:
    factors = {s: Zoom(grid_of(64, 64), s).factor for s in (2.0, 1.0, 0.6, 0.5, 0.3, 0.25, 0.1)}
    assert factors == {2.0: 1, 1.0: 1, 0.6: 1, 0.5: 2, 0.3: 2, 0.25: 4, 0.1: 8}


def test_centres_lie_between_their_neighbours() -> None:
    first, matrix = shares(0, 8, 0.5, 4)  # centres at −.25, .25, .75 … 3.25, held to 0…3
    assert first == 0
    places = matrix @ np.arange(4, dtype=np.float32)
    np.testing.assert_allclose(places, [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0])
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    first, matrix = shares(4, 2, 0.5, 4)
    assert first == 1 and matrix.tolist() == [[0.25, 0.75, 0], [0, 0.75, 0.25]]


def test_interpolated_pixels_are_valid_where_the_nearest_one_is() -> None:
    scene = np.array([[[1.0, np.nan, 3.0]]], np.float32)
    with zoomed(partial(held, scene), (3, 1), 0.5) as read:
        found = read(Window(0, 0, 1, 6))[0, 0]
    np.testing.assert_array_equal(found, [1, 1, np.nan, np.nan, 3, 3])
