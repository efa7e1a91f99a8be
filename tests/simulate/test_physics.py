"""What the simulator's pieces compute, held to theory and to other libraries."""

from __future__ import annotations

import math

import numpy as np
import pytest
import rasterio.features
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from builtup.geo.windows import Window
from builtup.simulate.plan import landcover
from builtup.simulate.plan.buildings import Buildings, boxes
from builtup.simulate.plan.city import MAX_DATES, City, CitySpec, draw_city, draw_date
from builtup.simulate.plan.labels import _grown, builtup_mask, builtup_polygons
from builtup.simulate.plan.noise import SmoothField, hash_cells, hash_uniform, stream
from builtup.simulate.radar import scene
from builtup.simulate.radar.backscatter import Canvas, View, building_returns, wall_sections
from builtup.simulate.radar.speckle import LOOKS, SpeckleRows, gamma_from_normal

EAST = View((1.0, 0.0), 45.0, 0)


@pytest.fixture(scope="module")
def city() -> City:
    return draw_city(CitySpec(0, "train", 0, 96))


def house(x: float = 400, y: float = 400, height: float = 6, angle: float = 0) -> Buildings:
    one = np.ones(1)
    return boxes(
        np.array([[x, y]]), 20 * one, 12 * one, angle * one, height * one, np.ones((1, 2), "f4")
    )


def test_speckle_has_the_looks_and_the_correlation_of_grd() -> None:
    source = SpeckleRows((1, 2), 700)
    field = np.concatenate([source.next(350), source.next(350)])
    assert field.mean() == pytest.approx(1, abs=0.01)
    assert 1 / field.var() == pytest.approx(LOOKS, rel=0.04)
    # far enough apart to be independent, as the test needs
    sample = field[::8, ::8].ravel()
    assert stats.kstest(sample, stats.gamma(LOOKS, scale=1 / LOOKS).cdf).pvalue > 1e-3
    for shift, low, high in ((1, 0.66, 0.78), (2, 0.2, 0.34), (5, -0.02, 0.03)):
        for a, b in ((field[shift:], field[:-shift]), (field[:, shift:], field[:, :-shift])):
            assert low < np.corrcoef(a.ravel(), b.ravel())[0, 1] < high


def test_speckle_has_no_seam_between_strips() -> None:
    source = SpeckleRows((3,), 3000)
    above, below = source.next(40), source.next(40)
    seam = np.corrcoef(above[-1], below[0])[0, 1]
    assert seam == pytest.approx(np.corrcoef(above[-2], above[-1])[0, 1], abs=0.06)


def test_the_speckle_table_agrees_with_scipy() -> None:
    normal = np.linspace(-4, 4, 101, dtype=np.float32)
    expected = stats.gamma(LOOKS, scale=1 / LOOKS).ppf(stats.norm.cdf(normal.astype(float)))
    np.testing.assert_allclose(gamma_from_normal(normal), expected, rtol=2e-3)


def test_smooth_fields_are_one_function_of_the_ground() -> None:
    field = SmoothField.draw(stream(5), 2000, 120)
    x, y = np.linspace(-300, 2300, 61), np.linspace(-200, 2200, 41)
    grid = field.grid(x, y)
    columns, rows = np.meshgrid(x, y)
    np.testing.assert_allclose(grid.ravel(), field.at(columns.ravel(), rows.ravel()), atol=1e-5)
    np.testing.assert_allclose(field.grid(x[7:20], y[3:9]), grid[3:9, 7:20], atol=1e-5)
    assert SmoothField.draw(stream(6), 40_000, 100).coefficients.std() > 1
    wide = SmoothField.draw(stream(6), 40_000, 100).grid(
        np.arange(0, 40_000, 70), np.arange(0, 40_000, 70)
    )
    assert wide.std() == pytest.approx(1, abs=0.05)


def test_hashes_are_uniform_and_depend_on_cell_and_salt() -> None:
    x, y = np.meshgrid(np.arange(-100, 100), np.arange(-100, 100))
    values = hash_uniform(hash_cells(x, y, 3))
    assert stats.kstest(values.ravel(), "uniform").pvalue > 1e-3
    for other in (hash_uniform(hash_cells(x, y, 4)), hash_uniform(hash_cells(x, y, 3), 1)):
        assert abs(np.corrcoef(values.ravel(), other.ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(values[1:].ravel(), values[:-1].ravel())[0, 1]) < 0.02


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 3), st.floats(30, 370), st.floats(30, 370), st.floats(0.1, 1e5))
def test_a_scatterer_keeps_its_energy_and_place(n: int, x: float, y: float, power: float) -> None:
    canvas = Canvas(-50.0, 20.0, 42, 45)
    points = np.repeat([[x, y + 20]], n, axis=0)
    (total,) = canvas.splat(points, np.full(n, power))
    assert total.shape == (42, 45)
    assert total.sum() == pytest.approx(n * power, rel=1e-4)
    if n:
        rows, columns = np.indices(total.shape)
        assert (total * (columns + 0.5)).sum() / total.sum() * 10 - 50 == pytest.approx(x, abs=0.1)
        assert (total * (rows + 0.5)).sum() / total.sum() * 10 == pytest.approx(y, abs=0.1)


def test_walls_that_face_the_sensor_return_most_vv_and_turned_ones_most_vh() -> None:
    turn = np.radians([0.0, 10, 20, 45])
    ones = np.ones(4)
    vv, vh = wall_sections(np.cos(turn), 10 * ones, 6 * ones)
    assert (np.diff(vv) < 0).all()
    assert vv[0] > 4 * vv[3]
    assert (vh / vv)[3] > 2 * (vh / vv)[0]
    taller, _ = wall_sections(np.cos(turn), 10 * ones, 12 * ones)
    assert (taller > vv).all()


@pytest.mark.parametrize("look", [(1.0, 0.0), (-1.0, 0.0), (0.6, 0.8)])
def test_layover_falls_to_the_sensor_and_shadow_behind(look: tuple[float, float]) -> None:
    canvas, tall = Canvas(0.0, 0.0, 80, 80), house(height=40)
    returns = building_returns(canvas, tall, View(look, 40.0, 0))
    place = np.array([400.0, 400.0])

    def middle(points: np.ndarray, weight: np.ndarray) -> float:
        return float((points * weight[:, None]).sum(0) / weight.sum() @ look - place @ look)

    for group in returns.scatterers:
        assert middle(group.points, group.vv) < -5
    rows, columns = np.indices(returns.shaded.shape)
    points = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], 1) * 10
    assert middle(points, returns.shaded.ravel().astype(float)) > 15
    # a box of 20 m by 12 m throws a shadow of width times height times tan θ
    width = 20 * abs(look[1]) + 12 * abs(look[0])
    expected = width * 40 * math.tan(math.radians(40))
    assert returns.shaded.sum() * 100 == pytest.approx(expected, rel=0.02)


def test_both_orbits_see_other_walls() -> None:
    canvas, block = Canvas(0.0, 0.0, 80, 80), house(height=10)
    west = building_returns(canvas, block, EAST).scatterers[1]
    east = building_returns(canvas, block, View((-1.0, 0.0), 45.0, 1)).scatterers[1]
    assert west.points[:, 0].max() < 400 < east.points[:, 0].min()
    assert west.vv.sum() == pytest.approx(east.vv.sum())


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 6.2), st.floats(100, 700), st.booleans())
def test_roof_points_cover_the_footprint(angle: float, x: float, odd: bool) -> None:
    buildings = house(x=x, angle=angle)
    if odd:  # an L of six walls
        ring = np.array([(0, 0), (30, 0), (30, 12), (12, 12), (12, 30), (0, 30), (0, 0)], float)
        turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        buildings = Buildings(
            ring @ turn + x, np.array([0, 7]), buildings.heights, buildings.strength
        )
    points, own, area = buildings.roof_points(3.0)
    polygon = buildings.polygons()[0]
    assert buildings.areas()[0] == pytest.approx(polygon.area)
    assert area.sum() == pytest.approx(polygon.area)
    assert shapely.contains_xy(polygon.buffer(1e-6), *points.T).all()
    assert (own == 0).all()
    centre = (points * area[:, None]).sum(0) / area.sum()
    assert np.hypot(*(centre - shapely.get_coordinates(polygon.centroid)[0])) < 1


def test_a_window_does_not_depend_on_the_blocks_around_it(city: City) -> None:
    date, box = draw_date(city, 1), city.buildings.bounds
    whole = scene.mean_power(city, date, Window(0, 0, 90, 90), box)
    part = scene.mean_power(city, date, Window(31, 22, 40, 50), box)
    for all_of_it, some in zip(whole, part, strict=True):
        np.testing.assert_allclose(some, all_of_it[31:71, 22:72], rtol=2e-3)


def test_land_cover_keeps_to_the_published_ranges() -> None:
    x = np.arange(300) * 10.0
    weather = landcover.Weather(0.3, 0.0, 0.0)
    vv_all, ratio = [], []
    for seed in range(4):
        country = landcover.draw_country(stream(seed), 3000.0)
        vv, vh = (10 * np.log10(p) for p in country.backscatter(x, x, weather, (1.0, 0.0)))
        vv_all.append(np.median(vv))
        ratio.append(np.median(vv - vh))
    assert all(-16 < value < -7 for value in vv_all)
    assert all(4 < value < 10 for value in ratio)


def test_small_negative_powers_occur_over_water(city: City) -> None:
    noise = draw_date(city, 0).noise
    speckle = SpeckleRows((9,), 200).next(200)
    power = (10**-2.85 + noise) * speckle - noise
    assert 0 < (power < 0).mean() < 0.4
    assert power.mean() == pytest.approx(10**-2.85, rel=0.1)


def test_builtup_area_is_the_footprint_grown_by_a_pixel_and_closed() -> None:
    one = builtup_mask(house(x=405, y=405), 80)
    # 20 m by 12 m, 10 m more on every side: pixels whose middles lie within
    assert 9 <= one.sum() <= 12
    near = np.ones((2, 2), "f4")
    pair = boxes(
        np.array([[405.0, 405.0], [465.0, 405.0]]),
        np.full(2, 20.0), np.full(2, 12.0), np.zeros(2), np.full(2, 6.0), near,
    )  # fmt: skip
    mask = builtup_mask(pair, 80)
    assert mask[40, 36:51].sum() >= 9
    assert len(builtup_polygons(mask)) == 1  # the gap of 20 m is closed


def test_outlines_give_the_mask_again() -> None:
    rng = np.random.default_rng(2)
    mask = rng.random((40, 40)) < 0.4
    burned = rasterio.features.rasterize(
        builtup_polygons(mask), mask.shape, transform=Affine.scale(10), all_touched=True
    )
    np.testing.assert_array_equal(burned.astype(bool), mask)


def test_tiles_are_named_after_the_military_grid() -> None:
    # Najaf, 400 km to 500 km east and 3,500 km to 3,600 km north in zone 38, is 38SMA
    assert CitySpec(0, "train", 0, 1024).tile == "38SMA"
    specs = [CitySpec(0, split, n, 64) for split in ("train", "test") for n in range(480)]
    places = {(spec.zone, spec.corner) for spec in specs}
    assert len(places) == len(specs)
    assert len({(spec.tile, spec.name) for spec in specs}) == len(specs)
    assert all(3.5e6 < spec.corner[1] < 7.7e6 for spec in specs)


def test_dates_of_a_city_are_unlike() -> None:
    first = 17
    assert len({(first + 97 * n) % MAX_DATES for n in range(MAX_DATES)}) == MAX_DATES


def test_a_city_does_not_depend_on_how_many_dates_are_drawn(city: City) -> None:
    alone, later = draw_date(city, 2), [draw_date(city, n) for n in range(3)][2]
    assert alone.overpass == later.overpass
    assert alone.shift == later.shift
    assert alone.weather == later.weather


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 6.2), st.floats(200, 500), st.floats(200, 500))
def test_growing_agrees_with_shapely_and_gdal(angle: float, x: float, y: float) -> None:
    one = house(x=x, y=y, angle=angle)
    burned = rasterio.features.rasterize(
        [one.polygons()[0].buffer(10, quad_segs=64)], (80, 80), transform=Affine.scale(10)
    )
    assert (_grown(one, 0.0, 0.0, (80, 80)) != burned.astype(bool)).sum() <= 1  # a point on the rim
