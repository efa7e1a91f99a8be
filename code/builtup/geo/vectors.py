"""Reading polygons: the one module behind which vector files stand.

Plain shapefiles go straight into arrays. All others are read by fiona (10,481 footprints in 0.9 s
of CPU when the geometries are made from arrays, 2.0 s one by one). pyogrio reads in 0.15 s, but
its import brings pandas and Arrow: 0.8 s and 100 MB.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
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
from builtup.geo.shapefile import LEAST_RING, RaggedPolygons, plain_polygons

__all__ = [
    "PolygonFile",
    "PolygonSet",
    "distance_to",
    "read_polygons",
    "reproject",
    "stream_polygons",
    "vector_files",
]

#: What a shapefile cannot be read without, and what each holds.
SIDECARS = {".shx": "the index", ".dbf": "the attributes", ".prj": "the CRS"}
#: Read when present, so part of what a result depends on.
OPTIONAL = (".cpg",)
BATCH = 1000
#: What fiona raises: GDAL's own errors pass through it and are no FionaError.
UNREADABLE = (FionaError, CPLE_BaseError)
_CRS_REMEDY = "say in which CRS its coordinates are (ogr2ogr -a_srs)"


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


def vector_files(path: Path) -> tuple[Path, ...]:
    """The files that make up a vector file: a shapefile with its side files, or the file itself.

    Raises InputError where it is missing, empty (0 bytes) or truncated, or where a shapefile lacks
    .shx, .dbf or .prj.
    """
    _require(path, "check the path")
    if path.suffix.lower() != ".shp":
        return (path,)
    found = [path]
    for suffix, what in SIDECARS.items():
        side = _sidecar(path, suffix)
        if not side.exists():
            raise InputError(path, f"its {suffix} file is missing ({what})", f"add {side.name}")
        _require(side, "copy the shapefile again, with all its files")
        found.append(side)
    for file in found[:3]:
        _require_whole(path, file)
    found += [side for suffix in OPTIONAL if (side := _sidecar(path, suffix)).exists()]
    return tuple(found)


def read_polygons(path: Path) -> PolygonSet:
    """Read the polygons of a vector file; invalid ones are repaired and counted.

    Multipolygons come as their parts, empty geometries are left out. Raises InputError where the
    file cannot be read, has no CRS, holds no geometry, or other geometries than polygons.
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
    files = vector_files(path)
    try:
        with fiona.open(path, **_without_fields(path)) as source:
            crs = _crs(path, source)
            plain = _plain(files) if path.suffix.lower() == ".shp" else None
            if plain is None:
                for made, broken in _batches(path, source):
                    yield _as_set(path, crs, made, broken)
    except UNREADABLE as e:
        raise InputError(
            path, f"not a readable vector file ({one_line(e, 160)})", "copy or export it again"
        ) from e
    if plain is not None:
        for start in range(0, len(plain), BATCH):
            yield _as_set(path, crs, plain.geometries(start, min(start + BATCH, len(plain))), 0)


def _as_set(path: Path, crs: pyproj.CRS, made: NDArray[Any], broken: int) -> PolygonSet:
    parts, repaired = _repair(made)
    return PolygonSet(path, parts, crs, repaired + broken)


def reproject(polygons: PolygonSet, crs: Any) -> PolygonSet:
    """The same polygons in another CRS (anything that pyproj takes, or a rasterio CRS).

    Vertices are moved, edges stay straight. Polygons that have no place in `crs` are left out.
    Raises InputError where no way leads from the one CRS to the other.
    """
    target = pyproj.CRS.from_user_input(crs.to_wkt() if hasattr(crs, "to_wkt") else crs)
    if target == polygons.crs:
        return polygons
    try:
        transformer = pyproj.Transformer.from_crs(polygons.crs, target, always_xy=True)
    except pyproj.exceptions.ProjError as e:
        raise InputError(
            polygons.path,
            f"its CRS ({polygons.crs.name}) cannot be brought to that of the scene ({target.name})",
            _CRS_REMEDY,
        ) from e

    def move(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack(transformer.transform(xy[:, 0], xy[:, 1]), axis=1)

    moved = shapely.transform(polygons.geometries, move)
    finite = np.isfinite(shapely.bounds(moved)).all(axis=1)
    return replace(polygons, geometries=moved[finite], crs=target)


def distance_to(polygons: PolygonSet, corners: Sequence[tuple[float, float]]) -> float:
    """Least distance in metres from any polygon to the area within `corners`, in CRS units.

    On the ellipsoid where the CRS has degrees. Infinite without polygons.
    """
    if len(polygons) == 0:
        return float("inf")
    area, shapes = shapely.Polygon(corners), polygons.geometries
    if not polygons.crs.is_geographic:
        metres = polygons.crs.axis_info[0].unit_conversion_factor
        return float(shapely.distance(shapes, area).min()) * metres
    # the nearest is found in the plane, where a degree of longitude is as short as it is there
    scale = np.array([math.cos(math.radians(area.centroid.y)), 1.0])
    plane = shapely.transform(shapes, lambda xy: xy * scale)
    target = shapely.transform(area, lambda xy: xy * scale)
    nearest = plane[shapely.distance(plane, target).argmin()]
    line = shapely.get_coordinates(shapely.shortest_line(nearest, target)) / scale
    geod = polygons.crs.get_geod() or pyproj.Geod(ellps="WGS84")
    return float(geod.line_length(line[:, 0], line[:, 1]))


def _without_fields(path: Path) -> dict[str, Any]:
    """Attributes are not needed and cost a fifth of the time; not every driver can leave them."""
    return {"include_fields": []} if path.suffix.lower() == ".shp" else {}


def _plain(files: Sequence[Path]) -> RaggedPolygons | None:
    """The polygons of a shapefile that needs no interpretation, else None."""
    shp, shx, dbf = files[:3]
    try:
        return plain_polygons(shp, shx, dbf)
    except (ValueError, struct.error):
        return None  # damaged: GDAL says how


def _batches(path: Path, source: Iterable[Any]) -> Iterator[tuple[NDArray[Any], int]]:
    """Polygons of a few features at a time, and rings left out: as Python objects features are
    large."""
    features = iter(source)
    while batch := [feature.geometry for feature in islice(features, BATCH)]:
        yield _polygons(path, batch)


def _polygons(path: Path, geometries: Sequence[Any]) -> tuple[NDArray[Any], int]:
    """Shapely polygons from fiona's geometries, by arrays; the second counts rings left out."""
    rings, starts, broken = [], [0], 0
    for geometry in geometries:
        if geometry is None:
            continue
        if geometry.type not in {"Polygon", "MultiPolygon"}:
            raise InputError(path, f"holds a {geometry.type}", "export polygons only")
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
    finite = np.isfinite(shapely.bounds(made)).all(axis=1)
    return made[finite], broken + int((~finite).sum())


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
        raise InputError(path, "its CRS is not understood", _CRS_REMEDY) from e
    raise InputError(path, "no CRS", _CRS_REMEDY)


def _require(path: Path, remedy: str) -> None:
    if not path.exists():
        raise InputError(path, "no such file", remedy)
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(path, "empty file (0 bytes)", "copy or download it again")


def _require_whole(path: Path, file: Path) -> None:
    """Raise InputError where a .shp, .shx or .dbf is shorter than its header says: GDAL reads a
    truncated shapefile as one with fewer polygons.

    Lengths as in the ESRI Shapefile Technical Description (1998) and in dBASE III.
    """
    with file.open("rb") as f:
        header = f.read(100)
    expected = 0
    if file.suffix.lower() == ".dbf" and len(header) >= 12:
        records, start, length = struct.unpack("<IHH", header[4:12])
        expected = start + records * length
    elif len(header) == 100:
        (words,) = struct.unpack(">I", header[24:28])
        expected = 2 * words
    if not 0 < expected <= file.stat().st_size:
        raise InputError(path, f"{file.name} is cut off (truncated)", "copy or download it again")


def _sidecar(path: Path, suffix: str) -> Path:
    """The side file beside a shapefile, in whichever case it is written."""
    for candidate in (path.with_suffix(suffix), path.with_suffix(suffix.upper())):
        if candidate.exists():
            return candidate
    return path.with_suffix(suffix)
