from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from builtup.geo import overlap
from builtup.geo.overlap import overlaps
from traced import blobs, generalised


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.4, 0.6), st.sampled_from([2.0, 7.0, 64.0]))
def test_a_large_polygon_overlaps_those_whose_insides_meet(
    seed: int, share: float, cell: float
) -> None:
    mask = blobs(40, sigma=0.8, share=share, seed=seed)
    exact, simple = generalised(mask, 1.5)
    large = exact[shapely.get_num_coordinates(exact).argmax()]
    holes = shapely.polygons(shapely.get_rings(large)[1:])
    moved = [shapely.affinity.translate(large, x, y) for x, y in ((1, 0), (50, 0), (-0.5, 90))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlap, "_CELL", cell)
        for others in (exact, simple, holes, shapely.buffer(holes, -0.2), moved):
            others = np.array([other for other in others if not other.is_empty], object)
            if len(others):
                assert (overlaps(large, others) == insides_meet(large, others)).all()


def insides_meet(polygon: shapely.Polygon, others: NDArray[np.object_]) -> NDArray[np.bool_]:
    return np.asarray(shapely.intersects(polygon, others) & ~shapely.touches(polygon, others))
