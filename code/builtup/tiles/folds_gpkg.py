"""folds.gpkg: the folds as polygons, to be looked at in a GIS."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS
from shapely.geometry.base import BaseGeometry

from builtup.errors import OutputError
from builtup.geo.windows import Window
from builtup.jobs.files import SPACE_REMEDY, atomic_path
from builtup.tiles.folds import Folds
from builtup.tiles.leakage import ground_polygon, reproject

__all__ = ["FOLDS_GPKG", "write_folds_gpkg"]

FOLDS_GPKG = "folds.gpkg"
_WGS84 = CRS.from_epsg(4326)


def write_folds_gpkg(path: Path, folds: Folds) -> None:
    """Write the layers `scenes` (outlines), `folds` (held-out ground) and, for blocks, `gaps`.

    They are in the CRS of the scenes where that is one, else in EPSG:4326. Raises OutputError
    where the file cannot be written.
    """
    import pyogrio  # late: it brings pandas along, which takes a second
    import pyogrio.errors

    logging.getLogger("pyogrio").setLevel(logging.WARNING)  # it reports every layer
    systems = {g.grid.crs.to_wkt(): g.grid.crs for g in folds.scenes.values()}
    crs = next(iter(systems.values())) if len(systems) == 1 else _WGS84
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "2000-01-01T00:00:00.000Z"})
    outlines = {scene: _outline(folds, scene, crs) for scene in sorted(folds.scenes)}
    with atomic_path(path) as temporary:
        try:
            _layer(
                temporary,
                "scenes",
                crs,
                list(outlines.values()),
                scene=list(outlines),
                city=[folds.scenes[scene].city for scene in outlines],
            )
            for layer, shapes in _held_out(folds, outlines, crs).items():
                numbers = np.arange(len(shapes), dtype=np.int32)
                _layer(temporary, layer, crs, shapes, fold_index=numbers, name=list(folds.names))
        except pyogrio.errors.DataSourceError as e:
            raise OutputError(path, f"cannot be written ({e})", SPACE_REMEDY) from e
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})


def _outline(folds: Folds, scene: str, crs: CRS) -> BaseGeometry:
    grid = folds.scenes[scene].grid
    whole = ground_polygon(grid, Window(0, 0, grid.height, grid.width))
    return reproject([whole], grid.crs, crs)[0]


def _held_out(
    folds: Folds, outlines: dict[str, BaseGeometry], crs: CRS
) -> dict[str, list[BaseGeometry]]:
    """The held-out ground of each fold, and its gap where the folds are blocks."""
    if not folds.blocks:
        of_city = [
            [shape for scene, shape in outlines.items() if folds.scenes[scene].city == city]
            for city in folds.names
        ]
        return {"folds": [shapely.union_all(shapes) for shapes in of_city]}
    blocks, gaps = [], []
    for block in folds.blocks:
        left, bottom, right, top = block.bounds
        dx, dy = block.gap
        own = shapely.box(left, bottom, right, top)
        wide = shapely.box(left - dx, bottom - dy, right + dx, top + dy)
        blocks.append(reproject([own], block.crs, crs)[0])
        gaps.append(reproject([wide.difference(own)], block.crs, crs)[0])
    return {"folds": blocks, "gaps": gaps}


def _layer(
    path: Path,
    layer: str,
    crs: CRS,
    shapes: Sequence[BaseGeometry],
    **fields: list[str] | NDArray[np.int32],
) -> None:
    import pyogrio.raw

    geometry = np.empty(len(shapes), dtype=object)
    geometry[:] = [shapely.to_wkb(shapely.multipolygons(shapely.get_parts(s))) for s in shapes]
    pyogrio.raw.write(
        path,
        geometry=geometry,
        field_data=[
            v if isinstance(v, np.ndarray) else np.array(v, dtype=object) for v in fields.values()
        ],
        fields=np.array(list(fields), dtype=object),
        layer=layer,
        driver="GPKG",
        geometry_type="MultiPolygon",
        crs=crs.to_string(),
        append=path.exists(),
    )
