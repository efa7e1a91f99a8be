"""Shapefiles and GeoPackages written from arrays, whole or not at all, always the same bytes.

Each GDAL binding carries its own GDAL; writing goes through pyogrio, which takes arrays (about ten
times the rate of fiona).
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from builtup.errors import OutputError, one_line
from builtup.geo.columns import Columns
from builtup.geo.grid import Grid
from builtup.geo.layer_styles import DATE, add_layer_style
from builtup.jobs.files import SPACE_REMEDY, atomic_files, atomic_path

__all__ = ["SHAPEFILE_PARTS", "Features", "Writer", "geopackage", "shapefile"]

#: The files of a shapefile, the one that readers open last.
SHAPEFILE_PARTS = (".shx", ".dbf", ".prj", ".cpg", ".shp")

#: A shapefile counts its bytes in 31 bits.
_SHAPEFILE_BYTES = 2**31 - 1
#: Polygons wait until they would make this much of a shapefile: some 5,000, as many as a small
#: city has, so that memory does not grow with a larger one.
_WORTH_WRITING = 2_000_000


@dataclass(frozen=True)
class Features(Columns):
    """Polygons and the attributes that they are written with, all of one length (n).

    `area_m2` is in square metres on the ground, `mean_prob` the mean building probability, 0 to 1.
    """

    polygons: NDArray[np.object_]
    id: NDArray[np.int32]
    area_m2: NDArray[np.float64]
    mean_prob: NDArray[np.float64]

    @classmethod
    def none(cls) -> Features:
        """No features."""
        return Features(np.zeros(0, object), np.zeros(0, np.int32), np.zeros(0), np.zeros(0))

    def on_ground(self, grid: Grid) -> Features:
        """The same with polygons from pixel coordinates (column, row) to those of the CRS."""
        return replace(self, polygons=shapely.transform(self.polygons, grid.to_ground))


class Writer:
    """Appends batches of polygons to a file that appears when its context ends.

    Batches wait until they are worth opening the file for: each append costs as much as the
    writing of a thousand polygons.
    """

    def __init__(
        self,
        path: Path,
        final: Path,
        city: str,
        crs: str,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.count = 0
        self._path, self._final, self._city, self._crs = path, final, city, crs
        self._metadata = dict(metadata or {})
        self._begun = False
        self._bytes = 0
        self._waiting = Features.none()
        self._waiting_bytes = 0

    def write(self, batch: Features) -> None:
        """Append a batch; raises OutputError where it cannot be written or does not fit."""
        size = _shapefile_bytes(batch)
        self._bytes += size
        if self._path.suffix == ".shp" and self._bytes > _SHAPEFILE_BYTES:
            raise OutputError(
                self._final, "more than the 2 GB that a shapefile holds", "use the GeoPackage"
            )
        self.count += len(batch)
        self._waiting = self._waiting.concatenated(batch)
        self._waiting_bytes += size
        if self._waiting_bytes >= _WORTH_WRITING:
            self._flush()

    def finish(self) -> None:
        """Write what waits, an empty file where no batch came; see that all of it was written."""
        if len(self._waiting) or not self._begun:
            self._flush()
        whole = _shapefile_is_whole if self._path.suffix == ".shp" else _geopackage_is_whole
        if not whole(self._path, self._final.stem, self.count):
            raise OutputError(self._final, "was not written to its end", SPACE_REMEDY)

    def _flush(self) -> None:
        _write(
            self._final,
            self._path,
            self._waiting,
            self._city,
            self._crs,
            None if self._begun else self._metadata,
        )
        self._begun = True
        self._waiting, self._waiting_bytes = Features.none(), 0


@contextmanager
def shapefile(path: Path, *, city: str, crs: str) -> Iterator[Writer]:
    """Write `path` (.shp) and its siblings; `crs` is WKT, `city` an attribute of each polygon."""
    names = [path.with_suffix(suffix).name for suffix in SHAPEFILE_PARTS]
    with atomic_files(path.parent, names) as folder:
        writer = Writer(folder / path.name, path, city, crs)
        yield writer
        writer.finish()


@contextmanager
def geopackage(
    path: Path, *, city: str, crs: str, metadata: Mapping[str, str] | None = None
) -> Iterator[Writer]:
    """Write a GeoPackage whose layer bears the name of the file, its style, and the metadata."""
    with atomic_path(path) as temporary:
        writer = Writer(temporary, path, city, crs, metadata)
        yield writer
        writer.finish()
        try:
            add_layer_style(temporary, path.stem)
        except sqlite3.Error as e:
            raise OutputError(path, f"cannot be written ({e})", SPACE_REMEDY) from e


def _write(
    final: Path,
    path: Path,
    batch: Features,
    city: str,
    crs: str,
    metadata: Mapping[str, str] | None,
) -> None:
    """Begin a file with `metadata` (a shapefile has no place for any), or append where None."""
    import pyogrio  # takes seconds, as it imports pandas where that is installed
    import pyogrio.raw
    from pyogrio.errors import DataLayerError, DataSourceError

    is_shapefile, append = path.suffix == ".shp", metadata is None
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": f"{DATE}T00:00:00.000Z"})
    try:
        pyogrio.raw.write(
            path,
            np.asarray(shapely.to_wkb(batch.polygons)),
            [batch.id, np.full(len(batch), city, object), batch.area_m2, batch.mean_prob],
            ["id", "city", "area_m2", "mean_prob"],
            layer=final.stem,
            driver="ESRI Shapefile" if is_shapefile else "GPKG",
            geometry_type="Polygon",
            crs=crs,
            encoding="UTF-8",
            append=append,
            layer_metadata=metadata or None,
            # GDAL before 3.7 warns of newer ones
            dataset_options={} if is_shapefile or append else {"VERSION": "1.2"},
            layer_options={"DBF_DATE_LAST_UPDATE": DATE} if is_shapefile and not append else {},
        )
    except (DataSourceError, DataLayerError, RuntimeError) as e:
        raise OutputError(final, f"cannot be written ({one_line(e, 160)})", SPACE_REMEDY) from e


def _geopackage_is_whole(path: Path, layer: str, count: int) -> bool:
    """Whether all features and all entries of the spatial index are there.

    GDAL says nothing when the index, made at the end, does not fit on the disk.
    """
    quoted = layer.replace('"', '""')
    with closing(sqlite3.connect(path)) as database:
        try:
            counts = [
                database.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]
                for table in (quoted, f"rtree_{quoted}_geom_rowid")
            ]
        except sqlite3.Error:
            return False
    return counts == [count, count]


def _shapefile_is_whole(shp: Path, layer: str, count: int) -> bool:
    """Whether the parts of a shapefile have the sizes that their headers promise.

    GDAL says nothing when the last records of the .dbf do not fit on the disk.
    """
    dbf, shx = shp.with_suffix(".dbf"), shp.with_suffix(".shx")
    with dbf.open("rb") as file:
        records, header, record = struct.unpack("<4xIHH", file.read(12))
    with shp.open("rb") as file:
        (words,) = struct.unpack(">24xI", file.read(28))
    return (
        records == count
        and dbf.stat().st_size >= header + count * record
        and shx.stat().st_size == 100 + 8 * count
        and shp.stat().st_size == 2 * words
    )


def _shapefile_bytes(batch: Features) -> int:
    """Bytes of a batch in the .shp: 16 a vertex, 4 a ring, 52 a polygon and its record."""
    vertices = int(shapely.get_num_coordinates(batch.polygons).sum())
    rings = int(shapely.get_num_interior_rings(batch.polygons).sum()) + len(batch)
    return 16 * vertices + 4 * rings + 52 * len(batch)
