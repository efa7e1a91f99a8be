"""From `input_path` to scenes: files, folders of the UNOSAT layout and others, STAC documents."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from builtup.errors import BuiltupError, InputError
from builtup.geo.locations import Allow, Location, user_location
from builtup.geo.open_raster import open_location
from builtup.geo.rasters import gdal_env
from builtup.sensors.radar.names import SceneName, list_rasters, require_folder
from builtup.sensors.radar.scenes import Band, Scene, date_in, polarisation_in, safe_name
from builtup.sensors.radar.stac import read_items

__all__ = ["Found", "find_scenes"]

log = logging.getLogger(__name__)

_CITY = re.compile(r"(?P<name>.+?)_\d{4}")
#: Folders that are no cities: dates (`20190917_30SXH`) and tiles (`30SXH`).
_NO_CITY = re.compile(r"\d{8}.*|\d{2}[A-Za-z]{3}")
#: What stands beside scenes under their names, and is none.
_SIDE = re.compile(r"BorderMask|_(inc|incidence|ls|layover)_?(map|angle)?$", re.IGNORECASE)
_DOCUMENTS = (".json", ".geojson")


@dataclass
class Found:
    """The scenes of an input, and a problem for each that is refused."""

    scenes: list[Scene] = field(default_factory=list)
    problems: list[BuiltupError] = field(default_factory=list)


@dataclass(frozen=True)
class _File:
    location: Location
    city: str


def find_scenes(input_path: str, allow: Allow) -> Found:
    """Find the scenes of `input_path` (several separated by `;`), sorted by city, date and id.

    Opens nothing but documents, and the headers of files without a polarisation in their names.
    Raises InputError where there is none.
    """
    found = Found()
    files: list[_File] = []
    for entry in filter(None, (part.strip() for part in input_path.split(";"))):
        if Path(entry.partition("?")[0]).suffix.lower() in _DOCUMENTS:
            scenes, problems = read_items(entry, allow)
            found.scenes += scenes
            found.problems += problems
        else:
            files += _files(entry, allow)
    _pair(files, found)
    if not found.scenes and not found.problems:
        raise InputError(
            input_path or "input_path",
            "no scene in it",
            "give VV and VH files (their names say vv and vh), 3-band files or STAC items",
        )
    _refuse_doubles(found)
    found.scenes.sort(key=lambda s: (s.city, s.date, s.scene_id))
    return found


def _files(entry: str, allow: Allow) -> list[_File]:
    location = user_location(entry, allow)
    if location.remote:
        if Path(location.shown).suffix.lower() not in {".tif", ".tiff", ".vrt"}:
            raise InputError(
                location.shown, "folders elsewhere are not listed", "name its files, or STAC items"
            )
        return [_File(location, _city_above(location.shown.partition("://")[2].split("/")[1:-1]))]
    path = Path(entry)
    try:
        folder = path.is_dir()
    except OSError as e:  # a name that is too long, or folders that may not be read
        remedy = "check the path; separate several by ;"
        raise InputError(entry, f"cannot be read ({e.strerror})", remedy) from e
    if folder:
        return [
            _File(user_location(str(file), allow), _city_in(path, file))
            for file in list_rasters(path)
        ]
    if not path.is_file():
        require_folder(path)
    return [_File(location, _city_above(path.resolve().parts[1:-1]))]


def _city_in(root: Path, file: Path) -> str:
    """The city of a file below `root`: its first folder, or `root` itself."""
    below = file.relative_to(root).parts[:-1]
    own = root.resolve().name
    if not below or _CITY.fullmatch(own) or _NO_CITY.fullmatch(below[0]):
        return _city_name(own)
    return _city_name(below[0])


def _city_above(folders: Sequence[str]) -> str:
    """The city of a lone file: of the folders above it, `<City>_<year>`, or the nearest one that is
    no date and no tile."""
    near = [name for name in reversed(folders) if not _NO_CITY.fullmatch(name)]
    dated = [name for name in near[:3] if _CITY.fullmatch(name)]
    return _city_name((dated or near or ["city"])[0])


def _city_name(folder: str) -> str:
    match = _CITY.fullmatch(folder)
    return safe_name(match["name"] if match else folder)


def _pair(files: list[_File], found: Found) -> None:
    """Pair VV and VH by their names; take other files as scenes of several bands."""
    pairs: dict[tuple[str, str], dict[str, list[_File]]] = defaultdict(lambda: defaultdict(list))
    names: dict[tuple[str, str], Scene] = {}
    others: list[_File] = []
    for file in files:
        stem = file.location.stem
        name = SceneName.parse(f"{stem}.tif")
        polarisation, rest = polarisation_in(stem)
        if name is not None and name.kind not in {"vv", "vh", "3b"}:
            continue  # masks and results
        if _SIDE.search(stem):
            continue
        if (name is None and not polarisation) or (name is not None and name.kind == "3b"):
            others.append(file)
            continue
        empty = Band(file.location)
        scene = _scene(name, rest, file, empty, empty)
        key = (scene.city, scene.scene_id)
        pairs[key][polarisation].append(file)
        names[key] = scene
    for key, both in pairs.items():
        problem = _pair_problem(both)
        if problem is not None:
            found.problems.append(problem)
            continue
        vv, vh = (Band(both[p][0].location) for p in ("vv", "vh"))
        found.scenes.append(replace(names[key], vv=vv, vh=vh))
    _add_stacked(others, found)


def _scene(name: SceneName | None, rest: str, file: _File, vv: Band, vh: Band) -> Scene:
    if name is not None:
        return Scene(name.scene_id, file.city, name.date, vv, vh, name.tile)
    return Scene(f"{safe_name(rest)}_{{}}", file.city, date_in(rest), vv, vh)


def _pair_problem(both: dict[str, list[_File]]) -> InputError | None:
    for polarisation, other in (("vv", "vh"), ("vh", "vv")):
        found = both.get(polarisation, [])
        if len(found) > 1:
            second = found[1].location.shown
            return InputError(
                found[0].location.shown, f"the scene stands twice, also in {second}", "remove one"
            )
        if not found:
            lone = both[other][0].location.shown
            return InputError(
                lone,
                f"{other.upper()} without {polarisation.upper()}",
                f"add the file of the same name with {polarisation}",
            )
    return None


def _add_stacked(files: list[_File], found: Found) -> None:
    """Files of several bands are scenes; others (a BorderMask) are left out, and named."""
    ignored: list[str] = []
    for file in files:
        location, name = file.location, SceneName.parse(f"{file.location.stem}.tif")
        if name is None and not location.remote and _bands(location) < 2:
            ignored.append(location.shown)
            continue
        band = Band(location)
        found.scenes.append(_scene(name, location.stem, file, band, band))
    if ignored and not found.scenes and not found.problems:
        found.problems.append(
            InputError(
                ignored[0],
                "one band, and its name says neither vv nor vh",
                "put vv or vh into the names (scene_vv.tif), or give a file of both bands",
            )
        )
    elif ignored:
        more = f" and {len(ignored) - 1} more" if len(ignored) > 1 else ""
        log.info("not read: %s%s (one band, no polarisation in the name)", ignored[0], more)


def _bands(location: Location) -> int:
    try:
        with gdal_env(), open_location(location) as raster:
            return int(raster.dataset.count)
    except BuiltupError:
        return 2  # its own line comes when it is opened as a scene


def _refuse_doubles(found: Found) -> None:
    """Refuse a scene id that stands twice: the second would overwrite the first."""
    seen: dict[str, Scene] = {}
    for scene in found.scenes:
        first = seen.setdefault(scene.scene_id, scene)
        if first is not scene:
            found.problems.append(
                InputError(
                    scene.vv.location.shown,
                    f"the scene {scene.plain_id} stands twice, also in {first.vv.location.shown}",
                    "remove or rename one of them",
                )
            )
    found.scenes = list(seen.values())
