"""folds.gpkg: the folds as polygons, to be looked at in a GIS."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS
from shapely.geometry.base import BaseGeometry

from builtup.geo.ground_outlines import ground_polygon, in_crs
from builtup.geo.vector_writers import write_layer
from builtup.jobs.files import atomic_path
from builtup.tiles.folds import Folds

__all__ = ["FOLDS_GPKG", "write_folds_gpkg"]

FOLDS_GPKG = "folds.gpkg"
_WGS84 = CRS.from_epsg(4326)


def write_folds_gpkg(path: Path, folds: Folds) -> None:
    """Write the layers `scenes` (outlines), `folds` (held-out ground) and, for blocks, `gaps`.

    They are in the CRS of the scenes where that is one, else in EPSG:4326; scenes without a CRS,
    which lie nowhere, are left out. Raises OutputError where the file cannot be written.
    """
    placed = {name: ground for name, ground in folds.scenes.items() if ground.grid.crs}
    systems = {g.grid.crs.to_wkt(): g.grid.crs for g in placed.values()}
    crs = next(iter(systems.values())) if len(systems) == 1 else _WGS84
    outlines = {scene: _outline(folds, scene, crs) for scene in sorted(placed)}
    cities = [folds.scenes[scene].city for scene in outlines]
    with atomic_path(path) as temporary:

        def write(layer: str, shapes: Iterable[BaseGeometry], **fields: NDArray[Any]) -> None:
            several = [shapely.multipolygons(shapely.get_parts(shape)) for shape in shapes]
            write_layer(
                temporary,
                np.array(several, dtype=object),
                fields,
                crs=crs.to_string(),
                layer=layer,
                append=temporary.exists(),
                final=path,
                geometry_type="MultiPolygon",
            )

        names = np.array(list(outlines), dtype=object)
        write("scenes", outlines.values(), scene=names, city=np.array(cities, dtype=object))
        names = np.array(folds.names, dtype=object)
        for layer, shapes in _held_out(folds, outlines, crs).items():
            numbers = np.arange(len(shapes), dtype=np.int32)
            write(layer, shapes, fold_index=numbers, name=names)


def _outline(folds: Folds, scene: str, crs: CRS) -> BaseGeometry:
    grid = folds.scenes[scene].grid
    whole = ground_polygon(grid)
    return in_crs([whole], grid.crs, crs)[0]


def _held_out(
    folds: Folds, outlines: dict[str, BaseGeometry], crs: CRS
) -> dict[str, list[BaseGeometry]]:
    """The held-out ground of each fold, and its gap where the folds are blocks."""
    if not folds.blocks:
        of_fold = [
            [shape for scene, shape in outlines.items() if folds.reaches(scene, fold)]
            for fold in range(len(folds.names))
        ]
        return {"folds": [shapely.union_all(shapes) for shapes in of_fold]}
    blocks, gaps = list[BaseGeometry](), list[BaseGeometry]()
    for block in folds.blocks:
        if not block.crs:
            blocks.append(shapely.Polygon())
            gaps.append(shapely.Polygon())
            continue
        left, bottom, right, top = block.bounds
        dx, dy = block.gap
        own = shapely.box(left, bottom, right, top)
        wide = shapely.box(left - dx, bottom - dy, right + dx, top + dy)
        blocks.append(in_crs([own], block.crs, crs)[0])
        gaps.append(in_crs([wide.difference(own)], block.crs, crs)[0])
    return {"folds": blocks, "gaps": gaps}
