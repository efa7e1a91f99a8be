"""Shapefiles, GeoPackages and GeoParquet written from arrays: whole, and always the same bytes.

pyogrio writes, which takes arrays (about ten times the rate of fiona).
"""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

from builtup.errors import InputError, OutputError, one_line
from builtup.geo.columns import Columns
from builtup.geo.grid import Grid
from builtup.geo.vectors import open_layer
from builtup.jobs.files import SPACE_REMEDY, atomic_files, atomic_path

__all__ = [
    "SHAPEFILE_PARTS",
    "Features",
    "Writer",
    "geopackage",
    "has_classes",
    "left_out",
    "mapped_total",
    "shapefile",
    "write_geoparquet",
    "write_layer",
]

#: The files of a shapefile, the one that readers open last.
SHAPEFILE_PARTS = (".shx", ".dbf", ".prj", ".cpg", ".shp")

#: Files hold the date of writing unless they are told one.
_DATE = "2000-01-01"
_MOMENT = f"{_DATE}T00:00:00.000Z"
#: A shapefile counts its bytes in 31 bits.
_SHAPEFILE_BYTES = 2**31 - 1
#: Polygons wait until they would make this much of a shapefile: some 5,000, as many as a small
#: city has, so that memory does not grow with a larger one.
_WORTH_WRITING = 2_000_000
#: Features in a row group of GeoParquet, and in memory at once.
_ROW_GROUP = 16_384
Objects = NDArray[np.object_]

#: As QGIS makes it, but for the default of update_time.
_STYLE_TABLE = """
CREATE TABLE layer_styles (
  id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256),
  f_table_schema TEXT(256), f_table_name TEXT(256), f_geometry_column TEXT(256), styleName TEXT(30),
  styleQML TEXT, styleSLD TEXT, useAsDefault BOOLEAN, description TEXT, owner TEXT(30),
  ui TEXT(30), update_time DATETIME)
"""
_STYLE_ROW = """
INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column,
  styleName, styleQML, styleSLD, useAsDefault, description, owner, ui, update_time)
VALUES ('', '', ?, 'geom', 'builtup', ?, '', 1, 'filled by mean probability', '', NULL, ?)
"""
_STYLE_CONTENTS = """
INSERT INTO gpkg_contents (table_name, data_type, identifier, description, last_change, srs_id)
VALUES ('layer_styles', 'attributes', 'layer_styles', '', ?, 0)
"""


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
        self._class = ""
        self._begun = False
        self._bytes = 0
        self._waiting = Features.none()
        self._waiting_bytes = 0

    def of_class(self, name: str) -> None:
        """What is written from now on gets that name in the field `class`, which a file has whose
        first polygons are of one."""
        if self._begun or len(self._waiting):
            self._flush()
        self._class = name

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
        batch = self._waiting
        options: dict[str, Any] = {}
        if not self._begun and self._path.suffix == ".gpkg":
            options["layer_metadata"] = self._metadata or None
            options["dataset_options"] = {"VERSION": "1.2"}  # GDAL before 3.7 warns of newer ones
        write_layer(
            self._path,
            batch.polygons,
            {
                "id": batch.id,
                "city": np.full(len(batch), self._city, object),
                **({"class": np.full(len(batch), self._class, object)} if self._class else {}),
                "area_m2": batch.area_m2,
                "mean_prob": batch.mean_prob,
            },
            crs=self._crs,
            layer=self._final.stem,
            append=self._begun,
            final=self._final,
            **options,
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
    path: Path, *, city: str, crs: str, style: str, metadata: Mapping[str, str] | None = None
) -> Iterator[Writer]:
    """Write a GeoPackage whose layer bears the name of the file, the metadata, and a `style` (QML).

    The style stands in the table `layer_styles`, from which QGIS takes it on opening.
    """
    with atomic_path(path) as temporary:
        writer = Writer(temporary, path, city, crs, metadata)
        yield writer
        writer.finish()
        try:
            with closing(sqlite3.connect(temporary)) as database, database:
                database.execute(_STYLE_TABLE)
                database.execute(_STYLE_CONTENTS, (_MOMENT,))
                database.execute(_STYLE_ROW, (path.stem, style, _MOMENT))
        except sqlite3.Error as e:
            raise OutputError(path, f"cannot be written ({e})", SPACE_REMEDY) from e


def write_layer(
    path: Path,
    polygons: Objects,
    fields: Mapping[str, NDArray[Any]],
    *,
    crs: str,
    layer: str = "",
    append: bool = False,
    final: Path | None = None,
    geometry_type: str = "Polygon",
    **options: Any,
) -> None:
    """Write or append polygons (n) and their attributes (n each) to a .shp or .gpkg file.

    `crs` is WKT or a name, `layer` that of the file by default; further options are those of
    `pyogrio.raw.write`. Raises OutputError, for `final` where that is the file's later name.
    """
    import pyogrio  # takes long, as it imports pandas where that is installed
    import pyogrio.raw
    from pyogrio.errors import DataLayerError, DataSourceError

    is_shapefile = path.suffix == ".shp"
    if is_shapefile:
        options["encoding"] = "UTF-8"
        options["layer_options"] = {} if append else {"DBF_DATE_LAST_UPDATE": _DATE}
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": _MOMENT})
    try:
        pyogrio.raw.write(
            path,
            np.asarray(shapely.to_wkb(polygons)),
            list(fields.values()),
            list(fields),
            layer=layer or path.stem,
            driver="ESRI Shapefile" if is_shapefile else "GPKG",
            geometry_type=geometry_type,
            crs=crs,
            append=append,
            **options,
        )
    except (DataSourceError, DataLayerError, RuntimeError) as e:
        problem = f"cannot be written ({one_line(e, 160)})"
        raise OutputError(final or path, problem, SPACE_REMEDY) from e


def write_geoparquet(source: Path, final: Path) -> int:
    """Copy the layer of a GeoPackage to GeoParquet 1.0; return the number of features.

    Geometries are WKB in a column `geom`; the metadata holds the CRS as PROJJSON, the geometry
    types and the bounds. Raises InputError where the layer cannot be read, OutputError where the
    disk is full.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    remedy = "run polygonize again"
    with (
        open_layer(source, source.stem, remedy, batch_size=_ROW_GROUP) as (meta, batches),
        atomic_path(final) as temporary,
    ):
        # in the schema, not only in the file's metadata: there readers look for it
        fields = (field.remove_metadata() for field in batches.schema)
        schema = pa.schema(fields, _geoparquet_metadata(source, meta["crs"]))
        count = 0
        try:
            with pq.ParquetWriter(temporary, schema, compression="zstd") as out:
                for batch in batches:
                    out.write_batch(batch.cast(schema), row_group_size=_ROW_GROUP)
                    count += batch.num_rows
        except (OSError, pa.ArrowException) as e:
            problem = f"cannot be written ({one_line(e, 160)})"
            raise OutputError(final, problem, SPACE_REMEDY) from e
    return count


def left_out(shapefile: Path) -> int:
    """How many regions of a shapefile of ours are too small for the GeoPackage beside it, which
    may hold one in two parts. InputError where they cannot be read."""
    import pyogrio
    from pyogrio.errors import DataSourceError

    try:
        regions = int(pyogrio.read_info(shapefile)["features"])
    except DataSourceError as e:
        problem = f"cannot be read ({one_line(e, 160)})"
        raise InputError(shapefile, problem, "run polygonize again") from e
    kept = np.zeros(regions + 1, np.bool_)
    path, options = shapefile.with_suffix(".gpkg"), {"columns": ["id"], "batch_size": _ROW_GROUP}
    options["read_geometry"] = False
    with open_layer(path, path.stem, "run polygonize again", **options) as (_, reader):
        for part in reader:
            kept[part.column("id").to_numpy(zero_copy_only=False)] = True
    return regions - int(kept.sum())


def has_classes(path: Path) -> bool:
    """Whether the polygons of a GeoPackage of ours say their class."""
    with open_layer(path, path.stem, "run polygonize again", columns=["class"]) as (meta, _):
        return "class" in meta["fields"]


def _geoparquet_metadata(source: Path, crs: str) -> dict[str, str]:
    """File metadata by the GeoParquet specification 1.0.0."""
    import pyogrio

    info = pyogrio.read_info(source, layer=source.stem, force_total_bounds=True)
    present = info["features"] > 0
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": ["Polygon"] if present else [],
        "crs": pyproj.CRS.from_user_input(crs).to_json_dict(),
        "edges": "planar",
        **({"bbox": list(info["total_bounds"])} if present else {}),
    }
    columns = {"version": "1.0.0", "primary_column": "geom", "columns": {"geom": column}}
    return {"geo": json.dumps(columns)}


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


def mapped_total(path: Path, of_class: str = "") -> tuple[int, float]:
    """How many polygons a GeoPackage of ours holds, and their area in square metres: of one class
    where its polygons have a field `class`, and one is named.

    InputError where it cannot be read.
    """
    count, area = 0, 0.0
    options = {"columns": ["area_m2", "class"], "read_geometry": False, "batch_size": _ROW_GROUP}
    with open_layer(path, path.stem, "run polygonize again", **options) as (_, reader):
        for part in reader:
            if "area_m2" not in part.schema.names:
                raise InputError(path, "its polygons have no area_m2", "run polygonize again")
            areas = part.column("area_m2").to_numpy(zero_copy_only=False)
            if of_class and "class" in part.schema.names:
                names = part.column("class").to_numpy(zero_copy_only=False)
                areas = areas[names == of_class]
            count, area = count + len(areas), area + float(areas.sum())
    return count, area
