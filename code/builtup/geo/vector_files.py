"""The files that make up a vector file, and whether they are whole."""

from __future__ import annotations

import struct
from pathlib import Path

from builtup.errors import InputError

__all__ = ["vector_files"]

#: What a shapefile cannot be read without, and what each holds.
SIDECARS = {".shx": "the index", ".dbf": "the attributes", ".prj": "the CRS"}
#: Files that hold others.
ARCHIVES = {".zip", ".kmz", ".shz", ".gz", ".tar", ".7z"}
#: Read when present, so part of what a result depends on.
OPTIONAL = (".cpg",)


def vector_files(path: Path) -> tuple[Path, ...]:
    """The files that make up a vector file: a shapefile with its side files, or the file itself.

    Raises InputError where it is missing, empty (0 bytes), truncated or an archive, or where a
    shapefile lacks .shx, .dbf or .prj.
    """
    _require(path, "check the path")
    if path.suffix.lower() in ARCHIVES:
        remedy = "unzip it, and give the file of polygons in it"
        raise InputError(path, "an archive, which is not read", remedy)
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
