"""The polygons of a GeoPackage as GeoParquet and FlatGeobuf: a batch of features at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyproj

from builtup.errors import InputError, OutputError, one_line
from builtup.jobs.files import SPACE_REMEDY, atomic_files, atomic_path

__all__ = ["write_flatgeobuf", "write_geoparquet"]

#: Features in memory at once, and in a row group of GeoParquet.
BATCH = 16_384
GEOMETRY = "geom"


@dataclass(frozen=True)
class _Layer:
    """The CRS of a layer and its bounds (left, bottom, right, top), None where it is empty."""

    crs: pyproj.CRS
    bounds: tuple[float, float, float, float] | None

    def geo(self) -> dict[str, str]:
        """File metadata by the GeoParquet specification 1.0.0."""
        column: dict[str, Any] = {
            "encoding": "WKB",
            "geometry_types": ["Polygon"] if self.bounds else [],
            "crs": self.crs.to_json_dict(),
            "edges": "planar",
            **({"bbox": list(self.bounds)} if self.bounds else {}),
        }
        return {
            "geo": json.dumps(
                {"version": "1.0.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}
            )
        }


def write_geoparquet(source: Path, final: Path) -> int:
    """Copy the layer of a GeoPackage to GeoParquet 1.0; return the number of features.

    Geometries are WKB in a column `geom`; the metadata holds the CRS as PROJJSON, the geometry
    types and the bounds. Raises OutputError where the disk is full.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _batches(source) as (layer, batches), atomic_path(final) as temporary:
        # in the schema, not only in the file's metadata: there readers look for it
        schema = pa.schema((field.remove_metadata() for field in batches.schema), layer.geo())
        count = 0
        try:
            with pq.ParquetWriter(temporary, schema, compression="zstd") as out:
                for batch in batches:
                    out.write_batch(batch.cast(schema), row_group_size=BATCH)
                    count += batch.num_rows
        except (OSError, pa.ArrowException) as e:
            raise _output_error(final, e) from e
    return count


def write_flatgeobuf(source: Path, final: Path) -> None:
    """Copy the layer of a GeoPackage to FlatGeobuf with its spatial index.

    Raises OutputError where the disk is full.
    """
    import pyogrio.raw
    from pyogrio.errors import DataLayerError, DataSourceError

    # GDAL puts the features into a second file until the index is made: in a folder of our own
    with _batches(source) as (layer, batches), atomic_files(final.parent, [final.name]) as folder:
        try:
            pyogrio.raw.write_arrow(
                batches,
                folder / final.name,
                layer=final.stem,
                driver="FlatGeobuf",
                geometry_name=GEOMETRY,
                geometry_type="Polygon",
                crs=layer.crs.to_wkt(),
                layer_options={"TEMPORARY_DIR": str(folder)},
            )
        except (DataSourceError, DataLayerError, RuntimeError) as e:
            raise _output_error(final, e) from e


@contextmanager
def _batches(source: Path) -> Iterator[tuple[_Layer, Any]]:
    """What a layer is and a pyarrow reader of its record batches; InputError if not readable."""
    import pyogrio.raw
    from pyogrio.errors import DataLayerError, DataSourceError

    try:
        info = pyogrio.read_info(source, layer=source.stem, force_total_bounds=True)
        stream = pyogrio.raw.open_arrow(
            source, layer=source.stem, batch_size=BATCH, use_pyarrow=True
        )
        with stream as (_, reader):
            crs = pyproj.CRS.from_user_input(info["crs"])
            yield _Layer(crs, info["total_bounds"] if info["features"] else None), reader
    except (DataSourceError, DataLayerError) as e:
        raise InputError(
            source, f"cannot be read ({one_line(e, 160)})", "run polygonize again"
        ) from e


def _output_error(final: Path, e: Exception) -> OutputError:
    return OutputError(final, f"cannot be written ({one_line(e, 160)})", SPACE_REMEDY)
