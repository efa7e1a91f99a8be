"""Ground truth of a simulated city: polygons with DN = 255 in EPSG:4326."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray
from scipy import ndimage

from builtup.geo.vector_writers import write_layer
from builtup.geo.windows import tiling
from builtup.simulate.plan.buildings import Buildings
from builtup.simulate.plan.city import PIXEL

__all__ = ["builtup_mask", "builtup_polygons", "footprint_polygons", "write_polygons"]

BLOCK = 1024
#: Radius of the closing in pixels: gaps of up to 60 m between houses belong to the built-up area.
CLOSING = 3
#: Polygons keep this distance (m) from the pixel edges that they follow, so that `all_touched`
#: burns their own pixels and not, by rounding, the neighbours'.
INSET = 0.5


def builtup_mask(buildings: Buildings, size: int) -> NDArray[np.bool_]:
    """Built-up area (size, size): footprints grown by one pixel, then closed."""
    out = np.zeros((size, size), np.bool_)
    box = buildings.bounds
    for window in tiling(size, size, BLOCK, 0):
        halo = 2 * CLOSING + 2
        left, top = (window.x - halo) * PIXEL, (window.y - halo) * PIXEL
        shape = (window.height + 2 * halo, window.width + 2 * halo)
        right, bottom = left + shape[1] * PIXEL, top + shape[0] * PIXEL
        near = (box[:, 2] > left) & (box[:, 3] > top) & (box[:, 0] < right) & (box[:, 1] < bottom)
        if not near.any():
            continue
        burned = _grown(buildings.take(np.flatnonzero(near)), left, top, shape)
        closed = ndimage.binary_closing(burned, _disk(CLOSING)) | burned
        inner = closed[halo:-halo, halo:-halo]
        out[window.slices] |= inner
    return out


def _grown(
    buildings: Buildings, left: float, top: float, shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """Pixels of a block whose middles lie within a pixel's width of a footprint."""
    corner = np.array([left, top])
    box = buildings.bounds
    first = np.ceil((box[:, :2] - PIXEL - corner) / PIXEL - 0.5).astype(np.intp)
    steps = np.floor((box[:, 2:] + PIXEL - corner) / PIXEL - 0.5).astype(np.intp) - first + 1
    total = steps[:, 0] * steps[:, 1]
    own = np.repeat(np.arange(len(buildings)), total)
    number = np.arange(len(own)) - np.repeat(np.cumsum(total) - total, total)
    column = first[own, 0] + number % steps[own, 0]
    row = first[own, 1] + number // steps[own, 0]
    inside = (column >= 0) & (row >= 0) & (column < shape[1]) & (row < shape[0])
    own, column, row = own[inside], column[inside], row[inside]
    middles = shapely.points((column + 0.5) * PIXEL + left, (row + 0.5) * PIXEL + top)
    polygons = buildings.polygons()
    shapely.prepare(polygons)
    near = shapely.dwithin(polygons[own], middles, PIXEL)
    out = np.zeros(shape, np.bool_)
    out[row[near], column[near]] = True
    return out


def _disk(radius: int) -> NDArray[np.bool_]:
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return x * x + y * y <= radius * radius + 1


def builtup_polygons(mask: NDArray[np.bool_]) -> NDArray[Any]:
    """Outlines of a mask in metres east and south of its upper left corner."""
    found = rasterio.features.shapes(
        mask.view(np.uint8), mask=mask, transform=Affine.scale(PIXEL), connectivity=4
    )
    outlines = [
        shapely.Polygon(shape["coordinates"][0], shape["coordinates"][1:]) for shape, _ in found
    ]
    inset = shapely.buffer(np.array(outlines, dtype=object), -INSET, join_style="mitre")
    return shapely.get_parts(inset)


def footprint_polygons(buildings: Buildings, size: int) -> NDArray[Any]:
    """The footprints, cut at the scene's edge."""
    box = shapely.box(0, 0, size * PIXEL, size * PIXEL)
    parts = shapely.get_parts(shapely.intersection(buildings.polygons(), box))
    return parts[(shapely.get_type_id(parts) == 3) & ~shapely.is_empty(parts)]


def write_polygons(path: Path, polygons: NDArray[Any], epsg: int, corner: Any) -> None:
    """Write polygons as a shapefile in EPSG:4326 with DN = 255.

    `polygons` are metres east and south of `corner` (easting, northing) in `epsg`.
    """
    import pyproj

    transformer = pyproj.Transformer.from_crs(epsg, 4326, always_xy=True)

    def to_degrees(points: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = corner[0] + points[:, 0], corner[1] - points[:, 1]
        return np.stack(transformer.transform(x, y), axis=1)

    values = {"DN": np.full(len(polygons), 255, np.int32)}
    write_layer(path, shapely.transform(polygons, to_degrees), values, crs="EPSG:4326")
