"""Masks and what tracing and simplification make of them, for the tests beside this file."""

from __future__ import annotations

import numpy as np
from affine import Affine
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from rasterio.crs import CRS
from scipy import ndimage

from builtup.geo.generalise import Generaliser
from builtup.geo.grid import Grid
from builtup.geo.regions import Regions, trace
from builtup.geo.vector_writers import Features
from builtup.options import PolygonOptions

masks = hnp.arrays(
    bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14), elements=st.booleans()
)


#: Where a pixel is a metre, and columns and rows are coordinates.
GROUND = Grid(CRS.from_wkt('LOCAL_CS["flat",UNIT["metre",1]]'), Affine.identity(), 100, 100)


def steps(
    mask: NDArray[np.bool_], block: int = 1024, value: NDArray[np.uint8] | None = None
) -> list[Regions]:
    """The regions of a mask, by the rows of blocks in which they end."""
    values = np.zeros(mask.shape, np.uint8) if value is None else value
    read = lambda w: (mask[w.slices], values[w.slices])  # noqa: E731
    return list(trace(mask.shape[1], mask.shape[0], read, (block, block)))


def traced(
    mask: NDArray[np.bool_], block: int = 1024, value: NDArray[np.uint8] | None = None
) -> Regions:
    """All regions of a mask as one."""
    points, none = np.zeros((0, 2), np.int32), np.zeros(0, np.int64)
    found = [Regions(np.zeros(0, object), none, none, points, 0), *steps(mask, block, value)]
    names = ("outlines", "pixels", "value_sum", "touching", "vacant")
    columns = {name: np.concatenate([getattr(of, name) for of in found]) for name in names}
    return Regions(**columns, open_from=mask.shape[0])


def generalised(
    mask: NDArray[np.bool_], pixels: float, block: int = 1024, square: bool = False
) -> tuple[NDArray[np.object_], Features]:
    """The exact outlines of a mask (n), and its features with a tolerance of some pixels."""
    generaliser = Generaliser(PolygonOptions(0, pixels, 0, square), GROUND)
    exact, made = Features.none(), Features.none()
    for regions in steps(mask, block):
        ids = np.arange(len(exact), len(exact) + len(regions), dtype=np.int32)
        features = Features(regions.outlines, ids, regions.pixels.astype(float), np.zeros(len(ids)))
        exact = exact.concatenated(features)
        made = made.concatenated(generaliser.add(features, regions))
    made = made.concatenated(generaliser.rest())
    return exact.polygons, made.taken(np.argsort(made.id, kind="stable"))


def blobs(size: int, sigma: float = 2.5, share: float = 0.3, seed: int = 0) -> NDArray[np.bool_]:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(size, size)), sigma)
    return np.asarray(noise > np.quantile(noise, 1 - share))
