"""What a file or folder of results says of itself: the runs behind it, its city and threshold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from builtup.errors import InputError
from builtup.jobs.digests import sha256_of
from builtup.runs.records import member_runs
from builtup.runs.results import RAW, read_tags

__all__ = ["ResultFile", "result_of"]


@dataclass(frozen=True)
class ResultFile:
    """A file of results, or a folder: the inference runs behind it, and what it says of itself.

    `city` and `sha256` are empty of a folder, `threshold` where it names none.
    """

    path: Path
    runs: tuple[str, ...]
    city: str
    threshold: str
    sha256: str


def result_of(path: Path) -> ResultFile:
    """What a GeoPackage, shapefile, raster or folder of results says of itself.

    Raises InputError where it cannot be read, or names no run.
    """
    if not path.exists():
        raise InputError(path, "does not exist", "give a GeoPackage, a raster or a folder")
    tags = _tags(path)
    own = tags.get("BUILTUP_RUN_ID")
    runs = member_runs(_results_folder(path)) or ((own,) if own else ())
    if not runs:
        raise InputError(path, "names no run that it comes from", "give run_id")
    is_file = path.is_file()
    return ResultFile(
        path,
        runs,
        city=tags.get("BUILTUP_CITY", "") if is_file else "",
        threshold=tags.get("BUILTUP_THRESHOLD", ""),
        sha256=sha256_of(path) if is_file else "",
    )


def _results_folder(path: Path) -> Path:
    parents = [path, *path.absolute().parents[:3]]
    return next((p.parent for p in parents if p.name == RAW), path)


def _tags(path: Path) -> Mapping[str, str]:
    """What a result says of itself; a shapefile has its mask say it."""
    if path.is_dir():
        raw = path if path.name == RAW else path / RAW
        rasters = sorted(raw.rglob("*.tif"))
        if not rasters:
            raise InputError(path, "holds no raster of results", "give a folder of predictions")
        return read_tags(rasters[0]).as_gdal()
    if path.suffix == ".gpkg":
        from builtup.geo.vectors import layer_metadata  # late: with it comes another GDAL

        own = layer_metadata(path)
        if own:
            return own
    if path.suffix in {".gpkg", ".shp"}:
        mask = path.with_suffix(".tif")
        if not mask.is_file():
            raise InputError(path, "has no mask of its name beside it", "give run_id")
        return read_tags(mask).as_gdal()
    return read_tags(path).as_gdal()
