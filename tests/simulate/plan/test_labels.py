"""Ground truth: the built-up area held to shapely and GDAL."""

from __future__ import annotations

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from hypothesis import example, given, settings
from hypothesis import strategies as st

from builtup.simulate.plan.buildings import boxes
from builtup.simulate.plan.labels import _grown, builtup_mask, builtup_polygons
from houses import house


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


@settings(max_examples=25, deadline=None)
@example(0.0, 255.0, 200.0)  # its edges run through the middles of pixels
@given(st.floats(0, 6.2), st.floats(200, 500), st.floats(200, 500))
def test_growing_agrees_with_shapely_and_gdal(angle: float, x: float, y: float) -> None:
    one = house(x=x, y=y, angle=angle)
    grown = one.polygons()[0].buffer(10, quad_segs=64)
    burned = rasterio.features.rasterize([grown], (80, 80), transform=Affine.scale(10))
    row, column = np.nonzero(_grown(one, 0.0, 0.0, (80, 80)) != burned.astype(bool))
    middles = shapely.points(10 * column + 5, 10 * row + 5)
    # on the rim both are right; an arc of 64 chords is a millimetre short of a circle
    assert (shapely.distance(grown.boundary, middles) < 0.01).all()
