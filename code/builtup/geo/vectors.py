"""Reading polygons: what stands before fiona and pyogrio.

fiona reads what users hand in: it is imported in no time. Where there are many polygons pyogrio
does, at seven times the rate (10,481 footprints: 0.07 s of CPU, not 0.5): its import takes 0.4 s
and 100 MB, for pandas and Arrow. Each has a GDAL of its own.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import fiona
import numpy as np
import pyproj
import shapely
from fiona._err import CPLE_BaseError
from fiona.errors import FionaError
from numpy.typing import NDArray

from builtup.errors import InputError, one_line
from builtup.geo.vector_files import vector_files
from builtup.logs import warn_once

__all__ = [
    "BATCH",
    "PolygonFile",
    "PolygonSet",
    "layer_metadata",
    "open_layer",
    "polygons_near",
    "polygons_with_number",
    "read_polygons",
    "stream_polygons",
]


#: Features that are looked at at once.
BATCH = 1000
#: Bytes of a file from which it is worth to import pyogrio: some 5,000 footprints.
MANY = 1_000_000
#: Points of the shortest ring, its first point twice.
LEAST_RING = 4
#: What fiona raises: GDAL's own errors pass through it and are no FionaError.
UNREADABLE = (FionaError, CPLE_BaseError)
CRS_REMEDY = "say in which CRS its coordinates are (ogr2ogr -a_srs)"
#: What programs call the pixels' value in polygons made of a raster: those of 0 are background.
LEVELS = ("dn", "gridcode", "raster_val")
#: How fiona is asked to read KML and GML too: what is not "supported" is only never written.
_READ: dict[str, Any] = {"allow_unsupported_drivers": True}

Objects = NDArray[np.object_]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class PolygonSet:
    """Polygons of one file: `geometries`, an object array of valid shapely polygons (no multi-
    polygons) in `crs`; `repaired` counts the features whose geometry was invalid."""

    path: Path
    geometries: NDArray[Any]
    crs: pyproj.CRS
    repaired: int = 0

    def __len__(self) -> int:
        return len(self.geometries)

    def parts(self) -> Generator[PolygonSet, None, None]:
        """The same, some polygons at a time: what is made of them need not be held at once."""
        for start in range(0, len(self), BATCH):
            yield replace(self, geometries=self.geometries[start : start + BATCH])


class PolygonFile:
    """The polygons of a file, read anew, some at a time, whenever they are asked for.

    `repaired` counts those of the last reading. InputError as in `read_polygons`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.repaired = 0

    def parts(self) -> Generator[PolygonSet, None, None]:
        """The polygons in their order."""
        count = self.repaired = 0
        with closing(stream_polygons(self.path)) as parts:
            for part in parts:
                count += len(part)
                self.repaired += part.repaired
                yield part
        if count == 0:
            raise _empty(self.path)


def read_polygons(path: Path) -> PolygonSet:
    """Read the polygons of a vector file; invalid ones are repaired and counted.

    Of several layers the only one of polygons is read. Background (DN 0, as gdal_polygonize writes
    it) is left out, with a warning. Multipolygons come as their parts, empty geometries are left
    out. Raises InputError where the file cannot be read, has no CRS, holds no geometry, other
    geometries than polygons, or several layers of polygons.
    """
    parts = list(stream_polygons(path))
    if not any(map(len, parts)):
        raise _empty(path)
    geometries = np.concatenate([part.geometries for part in parts])
    return PolygonSet(path, geometries, parts[0].crs, sum(part.repaired for part in parts))


def stream_polygons(path: Path) -> Generator[PolygonSet, None, None]:
    """As `read_polygons`, some features at a time, so that a file may be of any size.

    A file without polygons gives none. Close what is not read to its end: fiona's environment is
    the thread's, and one that ends late takes another reader's with it.
    """
    vector_files(path)
    try:
        layer = _layer(path)
        # attributes cost a fifth of the time; not every driver can leave them
        fields = {"include_fields": [layer.level] if layer.level else []}
        options: dict[str, Any] = fields if path.suffix.lower() == ".shp" else {}
        count = background = 0
        with fiona.open(path, layer=layer.name, **_READ, **options) as source:
            crs = _crs(path, source)
            batches = _many if path.stat().st_size >= MANY else _few
            for made, broken, left_out in batches(path, source, layer.level):
                parts, repaired = _repair(made)
                count += len(parts)
                background += left_out
                yield PolygonSet(path, parts, crs, repaired + broken)
    except UNREADABLE as e:
        raise InputError(
            path, f"not a readable vector file ({one_line(e, 160)})", "copy or export it again"
        ) from e
    if not background:
        return
    what = f"{layer.level} = 0, the background of a raster that was polygonised"
    if not count:
        remedy = f"give the polygons of buildings, or remove the attribute {layer.level}"
        raise InputError(path, f"all its polygons have {what}", remedy)
    warn_once(f"{path}: {background} of its features are left out: {what}")


@contextmanager
def open_layer(
    path: Path, layer: str, remedy: str, **options: Any
) -> Iterator[tuple[Mapping[str, Any], Any]]:
    """What a layer is, and a pyarrow reader of its record batches, by `pyogrio.raw.open_arrow`.

    Raises InputError, with the `remedy`, where it cannot be read.
    """
    import pyogrio.raw
    from pyogrio.errors import DataLayerError, DataSourceError

    try:
        with pyogrio.raw.open_arrow(path, layer=layer, use_pyarrow=True, **options) as stream:
            yield stream
    except (DataSourceError, DataLayerError) as e:
        raise InputError(path, f"cannot be read ({one_line(e, 160)})", remedy) from e


def polygons_near(path: Path, box: Box, batch: int, of_class: str = "") -> Iterator[Objects]:
    """The polygons of a GeoPackage of ours that meet `box` (left, bottom, right, top), a batch at a
    time: of one class where they have a field `class`, and one is named."""
    options = {"columns": ["class"], "bbox": box, "batch_size": batch}
    with open_layer(path, path.stem, "run polygonize again", **options) as (meta, reader):
        for part in reader:
            if of_class and "class" in part.schema.names:
                names = part.column("class").to_numpy(zero_copy_only=False)
                kept = names == of_class
            else:
                kept = np.ones(part.num_rows, np.bool_)
            wkb = part.column(meta["geometry_name"]).to_numpy(zero_copy_only=False)
            yield np.asarray(shapely.from_wkb(wkb[kept]))


def layer_metadata(path: Path) -> Mapping[str, str]:
    """The metadata of the first layer of a GeoPackage; InputError where it cannot be read."""
    import pyogrio
    from pyogrio.errors import DataSourceError

    try:
        layer = str(pyogrio.list_layers(path)[0][0])
        return pyogrio.read_info(path, layer=layer)["layer_metadata"] or {}
    except (DataSourceError, IndexError) as e:
        raise InputError(path, f"cannot be read ({e})", "give a GeoPackage of polygonize") from e


def polygons_with_number(
    path: Path, names: Sequence[str]
) -> tuple[Objects, NDArray[np.float32], pyproj.CRS]:
    """Polygons (n), parts of multipolygons by themselves, a number of each (n), and their CRS.

    The number is the first attribute of `names` that the file has, in any case, NaN where it has
    none. Other geometries are left out. Raises InputError for a file that is no vector file, has no
    CRS or no polygon, or several layers of polygons.
    """
    import pyogrio
    import pyogrio.raw
    from pyogrio.errors import DataSourceError, FieldError

    try:
        layer = _layer(path).name
        info = pyogrio.read_info(path, layer=layer)
        fields = {str(name).lower(): str(name) for name in info["fields"]}
        column = next((fields[name] for name in names if name in fields), None)
        columns = [column] if column else []
        meta, _, wkb, values = pyogrio.raw.read(path, layer=layer, columns=columns, force_2d=True)
    except (DataSourceError, FieldError, OSError, *UNREADABLE) as e:
        problem = f"not a readable vector file ({one_line(e, 120)})"
        raise InputError(path, problem, "export it again") from e
    if meta["crs"] is None:
        raise InputError(path, "has no CRS", "add the .prj file, or export it with its CRS")
    geometries = shapely.from_wkb(wkb)
    number = (values[0] if column else np.full(len(geometries), np.nan)).astype(np.float32)
    kept = np.isin(shapely.get_type_id(geometries), (3, 6)) & ~shapely.is_empty(geometries)
    single, index = shapely.get_parts(geometries[kept], return_index=True)
    if not len(single):
        raise InputError(path, "holds no polygon", "give a file of building polygons")
    return single, number[kept][index], pyproj.CRS.from_user_input(meta["crs"])


@dataclass(frozen=True)
class _Layer:
    """The layer that is read, and its attribute of `LEVELS`, empty where it has none."""

    name: str
    level: str


def _layer(path: Path) -> _Layer:
    """The only layer of polygons of a file, or its only layer; InputError where several have some.

    A warning names the layers that are passed over.
    """
    names = [path.stem] if path.suffix.lower() == ".shp" else fiona.listlayers(path)
    if not names:
        raise _empty(path)
    kinds = {name: _kind(path, name) for name in names} if names[1:] else {}
    own = [name for name, kind in kinds.items() if kind.endswith("Polygon")]
    if own[1:]:
        remedy = f'choose one, and give that: ogr2ogr -f GPKG one.gpkg "{path.name}" "{own[0]}"'
        raise InputError(path, f"holds several layers of polygons ({', '.join(own)})", remedy)
    others = [f"{name} ({kind})" for name, kind in kinds.items() if kind and name not in own]
    if own and others:
        warn_once(f"{path}: its layer {own[0]} is read; passed over: {', '.join(others)}")
    name = (own or names)[0]
    with fiona.open(path, layer=name, **_READ) as source:
        fields: Mapping[str, str] = source.schema["properties"]
        levels = [
            field
            for field, kind in fields.items()
            if field.lower() in LEVELS and kind.startswith(("int", "float"))
        ]
    return _Layer(name, (levels or [""])[0])


def _kind(path: Path, layer: str) -> str:
    """The type of geometry in a layer; empty where it holds none (styles, and other tables)."""
    with fiona.open(path, layer=layer, **_READ) as source:
        if source.schema["geometry"] == "None":
            return ""
        shapes = (feature.geometry for feature in islice(source, BATCH))
        kinds = {shape.type for shape in shapes if shape is not None}
    return next((k for k in sorted(kinds) if k.endswith("Polygon")), ", ".join(sorted(kinds)))


def _few(path: Path, source: fiona.Collection, level: str) -> Iterator[tuple[Objects, int, int]]:
    """Polygons of a few features at a time: as Python objects features are large. How many rings or
    polygons were broken, and how many features background by the attribute `level`."""
    features = iter(source)
    while batch := list(islice(features, BATCH)):
        kept = [f.geometry for f in batch if not level or f.properties[level] != 0]
        yield *_polygons(path, kept), len(batch) - len(kept)


def _many(path: Path, source: fiona.Collection, level: str) -> Iterator[tuple[Objects, int, int]]:
    """The same through Arrow; features that GEOS makes no geometry of are read as by `_few`."""
    columns = [level] if level else []
    options = {"columns": columns, "batch_size": BATCH, "return_fids": True}
    with open_layer(path, source.name, "copy or export it again", **options) as (meta, reader):
        for batch in reader:
            kept = np.ones(len(batch), bool)
            if level:
                kept = batch.column(level).to_numpy(zero_copy_only=False) != 0
            left_out = len(batch) - int(kept.sum())
            wkb = batch.column(meta["geometry_name"] or "wkb_geometry")
            wkb = wkb.to_numpy(zero_copy_only=False)[kept]
            made = shapely.from_wkb(wkb, on_invalid="ignore")
            made = made[~shapely.is_missing(made)]
            if len(made) < sum(one is not None for one in wkb):
                fids = batch.column(meta["fid_column"]).to_numpy()[kept].tolist()
                yield *_polygons(path, [source[fid].geometry for fid in fids]), left_out
                continue
            for geometry in made[~np.isin(shapely.get_type_id(made), (3, 6))]:
                raise _no_polygon(path, geometry.geom_type)
            parts = shapely.get_parts(shapely.force_2d(made))
            yield *_finite(parts[~shapely.is_empty(parts)]), left_out


def _polygons(path: Path, geometries: Sequence[Any]) -> tuple[NDArray[Any], int]:
    """Shapely polygons from fiona's geometries, by arrays; the second counts rings left out."""
    rings, starts, broken = [], [0], 0
    for geometry in geometries:
        if geometry is None:
            continue
        if geometry.type not in {"Polygon", "MultiPolygon"}:
            raise _no_polygon(path, geometry.type)
        single = geometry.type == "Polygon"
        for part in [geometry.coordinates] if single else geometry.coordinates:
            whole = [ring for ring in part if len(ring) >= LEAST_RING]
            broken += len(part) - len(whole)
            if whole and whole[0] is part[0]:
                rings += whole
                starts.append(len(rings))
    if not rings:
        return np.empty(0, dtype=object), broken
    points = np.concatenate([np.array(ring, dtype=float)[:, :2] for ring in rings])
    ring_starts = np.cumsum([0] + [len(ring) for ring in rings])
    made = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, points, (ring_starts, np.array(starts))
    )
    return _finite(np.asarray(made), broken)


def _finite(polygons: Objects, broken: int = 0) -> tuple[Objects, int]:
    """Those without infinite coordinates, the others added to what is `broken`."""
    finite = np.isfinite(shapely.bounds(polygons)).all(axis=1)
    return polygons[finite], broken + int((~finite).sum())


def _no_polygon(path: Path, kind: str) -> InputError:
    return InputError(path, f"holds a {kind}", "export polygons only")


def _repair(polygons: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Valid polygons of the same area, and how many were not valid before."""
    bad = ~shapely.is_valid(polygons)
    repaired = int(bad.sum())
    if repaired:
        polygons = polygons.copy()
        polygons[bad] = shapely.make_valid(polygons[bad], method="structure", keep_collapsed=False)
        polygons = shapely.get_parts(polygons)
        polygons = polygons[shapely.get_type_id(polygons) == shapely.GeometryType.POLYGON]
    return polygons[~shapely.is_empty(polygons)], repaired


def _empty(path: Path) -> InputError:
    return InputError(path, "empty: it holds no polygon", "add polygons or remove the city")


def _crs(path: Path, source: fiona.Collection) -> pyproj.CRS:
    try:
        text = source.crs_wkt
        if text:
            return pyproj.CRS.from_user_input(text)
    except (CPLE_BaseError, pyproj.exceptions.CRSError) as e:
        raise InputError(path, "its CRS is not understood", CRS_REMEDY) from e
    raise InputError(path, "no CRS", CRS_REMEDY)
