"""What a file of an input is: half of a scene, a scene, a layer beside scenes, or none, and why.

Names are judged first; a header is read only of files that name no polarisation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from builtup.errors import BuiltupError, InputError
from builtup.geo.locations import Location
from builtup.geo.open_raster import open_location
from builtup.geo.rasters import gdal_env
from builtup.sensors.radar.names import (
    POLARISATIONS,
    SceneName,
    date_in,
    polarisation_in,
    without_copy,
)
from builtup.sensors.radar.pairs import BOTH, Part, RadarFile
from builtup.sensors.radar.products import (
    crossed_in,
    is_border_mask,
    is_raw,
    is_side_layer,
)
from builtup.sensors.scene_files import is_raster

__all__ = ["Judged", "Layout", "is_document", "judge"]

#: "split": `<City>_<year>/**/s1a_….tif`, whose names say all; other files are no scenes, and a
#: scene id is unique in it. "any": files of other names are scenes too, also of several bands.
Layout = Literal["split", "any"]

_DOCUMENTS = (".json", ".geojson")
_SAYS = re.compile(r"(?<![A-Za-z])(?:v[vh]|h[vh])(?![A-Za-z])", re.IGNORECASE)
_TILE = re.compile(r"(?<![A-Za-z0-9])\d{2}[A-Z]{3}(?![A-Za-z0-9])", re.IGNORECASE)
_SATELLITE = re.compile(r"(?<![A-Za-z0-9])s1[a-d](?![A-Za-z0-9])", re.IGNORECASE)
#: How the names of products begin, which archives have too.
_BEGINS = re.compile(r"s1[a-d][-_]|s1tiling|opera_|subset_|sentinel-?1", re.IGNORECASE)
_PICTURES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".kmz"})
_ARCHIVES = frozenset({".zip", ".gz", ".tgz", ".tar", ".7z", ".rar", ".bz2", ".xz"})
_UNFINISHED = frozenset({".part", ".crdownload", ".download", ".tmp"})
_RASTERS = frozenset(
    {".img", ".jp2", ".vrt", ".dim", ".nc", ".h5", ".hdf", ".dat", ".bil", ".bsq", ".grd", ".asc"}
)
_NOTHING = "there is nothing to do"


@dataclass(frozen=True)
class Judged:
    """A file that is of a scene (`part`), or none; `why` where that is to be said.

    `beside`: a layer that stands beside scenes as processors write them.
    """

    part: Part | None = None
    why: InputError | None = None
    beside: bool = False


def is_document(entry: str) -> bool:
    """Whether a path or URL is that of a STAC document."""
    return Path(entry.partition("?")[0]).suffix.lower() in _DOCUMENTS


def judge(file: RadarFile, layout: Layout) -> Judged:
    """Say what a file is. Reads its header where a layout of any names leaves no other way."""
    shown, stem = file.location.shown, file.location.stem
    if not (is_raster(shown) or file.location.remote or file.location.any_format):
        why = _foreign(Path(shown))
        if why is not None or not file.named:
            return Judged(why=why)
    if is_side_layer(stem):
        said = file.named or (_SAYS.search(stem) and not is_border_mask(stem))
        problem = "by its name a layer beside scenes (noise, angle, mask, picture), and not read"
        remedy = "rename it if it is a scene"
        return Judged(why=InputError(shown, problem, remedy) if said else None, beside=True)
    if is_raw(stem, Path(shown).parts[:-1]):
        remedy = "calibrate and terrain-correct it first (SNAP, S1Tiling: docs/data.md)"
        return Judged(why=InputError(shown, "a product in radar geometry, not on a map", remedy))
    polarisation, rest = polarisation_in(stem)
    if not polarisation and crossed_in(stem) and not _says_both(stem):
        return Judged(why=_crossed(shown))
    name = SceneName.parse(f"{stem}.tif")
    if name is not None and name.kind in POLARISATIONS:
        return Judged(_part(file, name.kind, rest, name))
    if layout == "split":
        return Judged(why=_near_name(file, stem, polarisation) if name is None else None)
    if name is not None:
        return Judged(_part(file, BOTH, stem, name) if name.kind == "3b" else None)
    if polarisation:
        return Judged(_part(file, polarisation, rest, None))
    folders = [folder.lower() for folder in file.below if folder.lower() in POLARISATIONS]
    if folders and not _SAYS.search(stem):  # VV/20230101.tif
        return Judged(_part(file, folders[-1], stem, None))
    why = None if file.location.remote else _no_scene(file.location)
    return Judged(_part(file, BOTH, stem, None)) if why is None else Judged(why=why)


def _part(file: RadarFile, polarisation: str, rest: str, name: SceneName | None) -> Part:
    assert polarisation in {"vv", "vh", "both"}
    return Part(file, polarisation, rest, name)  # type: ignore[arg-type]


def _says_both(stem: str) -> bool:
    return {found.lower() for found in _SAYS.findall(stem)} >= set(POLARISATIONS)


def _crossed(shown: str) -> InputError:
    problem = "HH or HV, while networks are trained on VV and VH"
    return InputError(shown, problem, "give scenes of VV and VH")


# --- splits ---------------------------------------------------------------------------------------


def _near_name(file: RadarFile, stem: str, polarisation: str) -> InputError | None:
    """What is wrong with the name of a file that speaks of a scene; None of another."""
    shown, city = file.location.shown, re.escape(file.city)
    plain = without_copy(stem)
    if SceneName.parse(f"{plain}.tif") is not None:
        return InputError(
            shown, "the name of a second copy, and not read", f"rename it to {plain}.tif"
        )
    if _says_both(stem):
        remedy = (
            "split it into a file a polarisation (gdal_translate -b); predict takes both in one"
        )
        return InputError(shown, "VV and VH in one name, which the steps do not read", remedy)
    if _SAYS.search(stem):
        problem = "not named as scenes of a split are, and not read"
        return InputError(shown, problem, _named_as(stem, polarisation))
    if _BEGINS.match(stem) or re.match(rf"(?i)\d\d[A-Z]{{3}}_{city}", stem):
        problem = "named like a scene or its city, but says neither VV nor VH"
        remedy = "put vv or vh into its name; polygons are read as .shp (docs/data.md)"
        return InputError(shown, problem, remedy)
    return None


def _named_as(stem: str, polarisation: str) -> str:
    """How a file should be called in a split, as far as its name tells."""
    satellite, tile = _SATELLITE.search(stem), _TILE.search(stem)
    parts = (
        satellite[0].lower() if satellite else "s1a",
        tile[0].upper() if tile else "<TILE>",
        polarisation or "vv",
        date_in(stem) or "<YYYYMMDD>",
    )
    return f"name it {'_'.join(parts)}.tif for the steps; predict reads it as it is"


# --- files of other names -------------------------------------------------------------------------


def _no_scene(location: Location) -> InputError | None:
    """Why a file without a polarisation in its name is no scene, by its header; None if it may be.

    A file that cannot be opened may be one: its own line comes when it is opened as a scene.
    """
    try:
        with gdal_env(), open_location(location) as raster:
            count, kinds = raster.dataset.count, set(raster.dataset.dtypes)
            described = " ".join(text or "" for text in raster.dataset.descriptions)
    except BuiltupError:
        return None
    shown, says = location.shown, _SAYS.search(described)
    if kinds == {"uint8"} and (count > 2 or not says):
        return InputError(shown, "a picture (8 bit), and not read", _NOTHING)
    if count < 2:
        remedy = "put vv or vh into the names (scene_vv.tif), or give a file of both bands"
        return InputError(shown, "one band, and its name says neither vv nor vh", remedy)
    if crossed_in(described) and not _says_both(described):
        return _crossed(shown)
    return None


def _foreign(path: Path) -> InputError | None:
    """Why a file that is no GeoTIFF is not read, where its name speaks of a scene."""
    suffix, says = path.suffix.lower(), _SAYS.search(path.name)
    begins = _BEGINS.match(path.name) and (suffix in _ARCHIVES or suffix == ".dim")
    if not says and not begins:
        return None
    if suffix in _PICTURES:
        return InputError(path, "a picture, and not read", _NOTHING)
    if suffix in _ARCHIVES:
        return InputError(path, f"an archive ({suffix}), which is not looked into", "unpack it")
    if suffix in _UNFINISHED:
        return InputError(path, "a download that has not ended", "download it again")
    if suffix not in _RASTERS:
        return None  # a sidecar
    if path.parent.suffix.lower() == ".data" and path.parent.with_suffix(".dim").exists():
        return None  # its .dim is named
    remedy = "write it as GeoTIFF (SNAP: File, Export; or gdal_translate)"
    return InputError(path, f"no GeoTIFF ({suffix})", remedy)
