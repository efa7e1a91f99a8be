"""Shapefiles and GeoPackages written from arrays, whole or not at all, always the same bytes.

Each GDAL binding carries its own GDAL; writing goes through pyogrio, which takes arrays (about ten
times the rate of fiona).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyogrio
import pyogrio.errors
import shapely
from numpy.typing import NDArray

from builtup.errors import OutputError
from builtup.files import SPACE_REMEDY, atomic_files, atomic_path

__all__ = ["SHAPEFILE_PARTS", "Features", "write_geopackage", "write_shapefile"]

#: The files of a shapefile, the one that readers open last.
SHAPEFILE_PARTS = (".shx", ".dbf", ".prj", ".cpg", ".shp")

#: Files hold the date of writing unless they are told one.
_DATE = "2000-01-01"
#: A shapefile counts its bytes in 31 bits.
_SHAPEFILE_BYTES = 2**31 - 1


@dataclass(frozen=True)
class Features:
    """Polygons in the output's CRS with their attributes, all of one length.

    `area_m2` is in square metres on the ground, `mean_prob` the mean building probability.
    """

    polygons: NDArray[np.object_]
    id: NDArray[np.int32]
    area_m2: NDArray[np.float64]
    mean_prob: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.id)


def write_shapefile(path: Path, batches: Iterable[Features], *, city: str, crs: str) -> int:
    """Write polygons batch by batch to `path` (.shp and its siblings); return their number.

    `crs` is WKT. Raises OutputError where a file cannot be written or the format's 2 GB do not
    suffice.
    """
    names = [path.with_suffix(suffix).name for suffix in SHAPEFILE_PARTS]
    with atomic_files(path.parent, names) as folder:
        count = size = 0
        for first, batch in _batches(batches):
            count += len(batch)
            size += _shapefile_bytes(batch)
            if size > _SHAPEFILE_BYTES:
                raise OutputError(
                    path, "more than the 2 GB that a shapefile holds", "use the GeoPackage"
                )
            options = {"DBF_DATE_LAST_UPDATE": _DATE} if first else {}
            _write(path, folder / path.name, batch, city, crs, append=not first, options=options)
    return count


def write_geopackage(path: Path, batches: Iterable[Features], *, city: str, crs: str) -> None:
    """Write polygons batch by batch to a GeoPackage whose layer bears the city's name."""
    with atomic_path(path) as temporary:
        for first, batch in _batches(batches):
            _write(path, temporary, batch, city, crs, append=not first, options={})


def _batches(batches: Iterable[Features]) -> Iterator[tuple[bool, Features]]:
    """Mark the first batch; an empty one where there is none, so that a file appears."""
    first = True
    for batch in batches:
        yield first, batch
        first = False
    if first:
        yield True, Features(np.zeros(0, object), np.zeros(0, np.int32), np.zeros(0), np.zeros(0))


def _write(
    final: Path,
    path: Path,
    batch: Features,
    city: str,
    crs: str,
    *,
    append: bool,
    options: dict[str, str],
) -> None:
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": f"{_DATE}T00:00:00.000Z"})
    try:
        pyogrio.raw.write(
            path,
            np.asarray(shapely.to_wkb(batch.polygons)),
            [batch.id, np.full(len(batch), city, object), batch.area_m2, batch.mean_prob],
            ["id", "city", "area_m2", "mean_prob"],
            layer=final.stem,
            driver="GPKG" if path.suffix == ".gpkg" else "ESRI Shapefile",
            geometry_type="Polygon",
            crs=crs,
            encoding="UTF-8",
            append=append,
            layer_options=options,
        )
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, RuntimeError) as e:
        brief = " ".join(str(e).split())[:160]
        raise OutputError(final, f"cannot be written ({brief})", SPACE_REMEDY) from e


def _shapefile_bytes(batch: Features) -> int:
    """Bytes of a batch in the .shp: 16 a vertex, 4 a ring, 52 a polygon and its record."""
    vertices = int(shapely.get_num_coordinates(batch.polygons).sum())
    rings = int(shapely.get_num_interior_rings(batch.polygons).sum()) + len(batch)
    return 16 * vertices + 4 * rings + 52 * len(batch)
