"""Reading polygons: the one module behind which vector files stand.

pyogrio reads arrays of WKB, about 17 times the rate of fiona feature by feature (10,481 footprints
in 0.25 s instead of 4.3 s).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

from builtup.errors import InputError

__all__ = ["PolygonSet", "distance_to", "read_polygons", "reproject", "vector_files"]

#: What a shapefile cannot be read without, and what each holds.
SIDECARS = {".shx": "the index", ".dbf": "the attributes", ".prj": "the CRS"}
#: Read when present, so part of what a result depends on.
OPTIONAL = (".cpg",)


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


def vector_files(path: Path) -> tuple[Path, ...]:
    """The files that make up a vector file: a shapefile with its side files, or the file itself.

    Raises InputError where it is missing, empty (0 bytes), or a shapefile lacks .shx, .dbf or .prj.
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
    found += [side for suffix in OPTIONAL if (side := _sidecar(path, suffix)).exists()]
    return tuple(found)


def read_polygons(path: Path) -> PolygonSet:
    """Read the polygons of a vector file; invalid ones are repaired and counted.

    Multipolygons come as their parts, empty geometries are left out. Raises InputError where the
    file cannot be read, has no CRS, holds no geometry, or other geometries than polygons.
    """
    from pyogrio.errors import DataSourceError

    vector_files(path)
    try:
        meta, wkb = _read(path)
    except (DataSourceError, shapely.errors.GEOSException) as e:
        raise InputError(
            path, f"not a readable vector file ({_brief(e)})", "copy or export it again"
        ) from e
    geometries = shapely.from_wkb(wkb, on_invalid="fix")
    geometries = shapely.force_2d(geometries[~shapely.is_missing(geometries)])
    geometries = geometries[~shapely.is_empty(geometries)]
    if len(geometries) == 0:
        raise InputError(path, "empty: it holds no polygon", "add polygons or remove the city")
    others = set(np.unique(shapely.get_type_id(geometries))) - {3, 6}
    if others:
        name = shapely.GeometryType(min(others)).name.lower()
        raise InputError(path, f"holds a {name}, not polygons only", "export polygons only")
    crs = _crs(path, meta["crs"])
    parts, repaired = _repair(path, geometries)
    return PolygonSet(path, parts, crs, repaired)


def reproject(polygons: PolygonSet, crs: Any) -> PolygonSet:
    """The same polygons in another CRS (anything that pyproj takes, or a rasterio CRS).

    Vertices are moved, edges stay straight. Polygons that have no place in `crs` are left out.
    """
    target = pyproj.CRS.from_user_input(crs.to_wkt() if hasattr(crs, "to_wkt") else crs)
    if target == polygons.crs:
        return polygons
    transformer = pyproj.Transformer.from_crs(polygons.crs, target, always_xy=True)

    def move(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack(transformer.transform(xy[:, 0], xy[:, 1]), axis=1)

    moved = shapely.transform(polygons.geometries, move)
    finite = np.isfinite(shapely.bounds(moved)).all(axis=1)
    return replace(polygons, geometries=moved[finite], crs=target)


def distance_to(polygons: PolygonSet, corners: Sequence[tuple[float, float]]) -> float:
    """Least distance from any polygon to the area within `corners`, in units of the CRS.

    Infinite without polygons.
    """
    if len(polygons) == 0:
        return float("inf")
    return float(shapely.distance(polygons.geometries, shapely.Polygon(corners)).min())


def _read(path: Path) -> tuple[dict[str, Any], NDArray[Any]]:
    from pyogrio.raw import read

    meta, _, wkb, _ = read(path, columns=[])
    return meta, wkb


def _repair(path: Path, geometries: NDArray[Any]) -> tuple[NDArray[Any], int]:
    bad = ~shapely.is_valid(geometries)
    repaired = int(bad.sum())
    if repaired:
        fixed = shapely.make_valid(geometries[bad], method="structure", keep_collapsed=False)
        geometries = geometries.copy()
        geometries[bad] = fixed
    parts = shapely.get_parts(geometries)
    parts = parts[shapely.get_type_id(parts) == 3]
    parts = parts[~shapely.is_empty(parts)]
    if len(parts) == 0:
        raise InputError(path, "all its polygons have no area", "draw or export them again")
    return parts, repaired


def _crs(path: Path, text: str | None) -> pyproj.CRS:
    remedy = "say in which CRS its coordinates are (ogr2ogr -a_srs)"
    if not text:
        raise InputError(path, "no CRS", remedy)
    try:
        return pyproj.CRS.from_user_input(text)
    except pyproj.exceptions.CRSError as e:
        raise InputError(path, "a CRS that is not understood", remedy) from e


def _require(path: Path, remedy: str) -> None:
    if not path.exists():
        raise InputError(path, "no such file", remedy)
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(path, "empty file (0 bytes)", "copy or download it again")


def _sidecar(path: Path, suffix: str) -> Path:
    """The side file beside a shapefile, in whichever case it is written."""
    for candidate in (path.with_suffix(suffix), path.with_suffix(suffix.upper())):
        if candidate.exists():
            return candidate
    return path.with_suffix(suffix)


def _brief(e: Exception) -> str:
    return " ".join(str(e).split())[:160]
