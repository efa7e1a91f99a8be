"""From folders, files and STAC documents to scenes: pairs of VV and VH, and files of both.

The steps of the chain take a split of the UNOSAT layout, `predict` takes whatever it is given; one
function says for both what is a scene.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from builtup.errors import BuiltupError, InputError
from builtup.geo.locations import Allow, Location, user_location
from builtup.geo.open_raster import open_location
from builtup.geo.rasters import gdal_env
from builtup.sensors.radar.names import (
    POLARISATIONS,
    SceneName,
    city_name,
    date_in,
    polarisation_in,
    safe_name,
)
from builtup.sensors.radar.scenes import Band, Scene
from builtup.sensors.radar.stac import read_items
from builtup.sensors.scene_files import list_rasters, require_folder

__all__ = ["Discovery", "find_scenes", "require_split", "scenes_of_split"]

log = logging.getLogger(__name__)

#: "split": `<City>_<year>/**/s1a_….tif`, whose names say all; other files are no scenes, and a
#: scene id is unique in it. "any": files of other names are scenes too, also of several bands.
Layout = Literal["split", "any"]

_CITY_YEAR = re.compile(r".+?_\d{4}")
#: Folders that are no cities: dates (`20190917_30SXH`) and tiles (`30SXH`).
_NO_CITY = re.compile(r"\d{8}.*|\d{2}[A-Za-z]{3}")
#: What stands beside scenes under their names, and is none.
_SIDE = re.compile(r"BorderMask|_(inc|incidence|ls|layover)_?(map|angle)?$", re.IGNORECASE)
_DOCUMENTS = (".json", ".geojson")


@dataclass
class Discovery:
    """The scenes of an input, a problem for each that is refused, and rasters that are none."""

    scenes: list[Scene] = field(default_factory=list)
    problems: list[BuiltupError] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether nothing of a scene was found, not even something to refuse."""
        return not self.scenes and not self.problems


def scenes_of_split(root: Path) -> Discovery:
    """The scenes of a split, sorted by the city's folder and scene id. Opens no file.

    Lone polarisations, scene ids that stand twice and scenes outside a city's folder are problems.
    Raises InputError where `root` is no folder.
    """
    files = [_file_of_split(root, path) for path in list_rasters(require_folder(root))]
    found = Discovery()
    _collect(files, "split", found)
    found.scenes.sort(key=lambda s: (s.folder, s.scene_id))
    return found


def require_split(root: Path) -> Discovery:
    """As `scenes_of_split`; raise InputError where nothing below `root` is of a scene."""
    found = scenes_of_split(root)
    if found.empty:
        raise InputError(
            root,
            "no VV–VH scene below it",
            "see docs/data.md for the names, and run inspect on the folder above",
        )
    return found


def find_scenes(input_path: str, allow: Allow) -> Discovery:
    """The scenes of `input_path` (several, separated by `;`), sorted by city, date and id.

    An entry is a folder in any layout, a raster here or elsewhere, or a STAC document. Opens
    nothing but documents, and the headers of files without a polarisation in their names. Raises
    InputError where there is no scene.
    """
    found = Discovery()
    files: list[_File] = []
    for entry in filter(None, (part.strip() for part in input_path.split(";"))):
        if Path(entry.partition("?")[0]).suffix.lower() in _DOCUMENTS:
            scenes, problems = read_items(entry, allow)
            found.scenes += scenes
            found.problems += problems
        else:
            files += _files(entry, allow)
    _collect(files, "any", found)
    if found.empty:
        raise InputError(
            input_path or "input_path",
            "no scene in it",
            "give VV and VH files (their names say vv and vh), 3-band files or STAC items",
        )
    found.scenes.sort(key=lambda s: (s.city, s.date, s.scene_id))
    return found


# --- files and their cities ---------------------------------------------------------------------


@dataclass(frozen=True)
class _File:
    """A raster, its city's name, and the city's folder where it lies in that of a split."""

    location: Location
    city: str
    folder: Path | None = None


def _file_of_split(root: Path, path: Path) -> _File:
    below = path.relative_to(root).parts
    folder = root / below[0] if below[1:] else None
    return _File(Location(str(path)), city_name(below[0]), folder)


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
    if not below or _CITY_YEAR.fullmatch(own) or _NO_CITY.fullmatch(below[0]):
        return safe_name(city_name(own))
    return safe_name(city_name(below[0]))


def _city_above(folders: Sequence[str]) -> str:
    """The city of a lone file: of the folders above it, `<City>_<year>`, or the nearest one that is
    no date and no tile."""
    near = [name for name in reversed(folders) if not _NO_CITY.fullmatch(name)]
    dated = [name for name in near[:3] if _CITY_YEAR.fullmatch(name)]
    return safe_name(city_name((dated or near or ["city"])[0]))


# --- files to scenes ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Half:
    """A file of one polarisation, and its scene as far as the file's name and place tell it."""

    polarisation: str
    file: _File
    scene: Scene


def _collect(files: Iterable[_File], layout: Layout, found: Discovery) -> None:
    """Put each file into `found`: as half of a scene, as a scene, or as none.

    Of ids that stand twice the second is refused.
    """
    halves: dict[tuple[str, str], list[_Half]] = defaultdict(list)
    stacked: list[_File] = []
    for file in files:
        stem = file.location.stem
        name, (polarisation, rest) = SceneName.parse(f"{stem}.tif"), polarisation_in(stem)
        if name is not None:
            polarisation = name.kind if name.kind in POLARISATIONS else ""
        several = not polarisation and (name is None or name.kind == "3b")
        named = name is not None and not several
        if _SIDE.search(stem) or not (polarisation or several) or not (named or layout == "any"):
            found.ignored.append(file.location.shown)
        elif layout == "split" and file.folder is None:
            remedy = "put it into <City>_<year>/"
            found.problems.append(
                InputError(file.location.shown, "outside a city's folder", remedy)
            )
        elif several:
            stacked.append(file)
        else:
            scene = _scene(file, name, rest)
            place = "" if layout == "split" else scene.city
            halves[place, scene.scene_id].append(_Half(polarisation, file, scene))
    for both in halves.values():
        pair = _paired(both)
        if isinstance(pair, Scene):
            found.scenes.append(pair)
        else:
            found.problems.append(pair)
    _add_stacked(stacked, found)
    _refuse_doubles(found)


def _scene(file: _File, name: SceneName | None, rest: str) -> Scene:
    """The scene of a file, which stands for both bands; `rest` is its name but for that."""
    band = Band(file.location)
    if name is None:
        return Scene(f"{safe_name(rest)}_{{}}", file.city, date_in(rest), band, band)
    folder = "" if file.folder is None else file.folder.name
    return Scene(name.scene_id, file.city, name.date, band, band, name.tile, name.orbit, folder)


def _paired(halves: Sequence[_Half]) -> Scene | InputError:
    """The scene of its two files, or why they are none."""
    vv, vh = ([half for half in halves if half.polarisation == p] for p in POLARISATIONS)
    for some in (vv, vh):
        if some[1:]:
            return _twice(some[0].scene, some[1].scene)
    if not vv or not vh:
        (lone,) = halves
        other = "vh" if vv else "vv"
        return InputError(
            lone.scene.shown,
            f"{lone.polarisation.upper()} without {other.upper()}",
            f"add {_other_name(lone, other)} to the same city",
        )
    scene, folder = replace(vv[0].scene, vh=vh[0].scene.vh), vv[0].file.folder
    if folder != vh[0].file.folder:
        problem = f"its VH is in another city: {scene.vh.location.shown}"
        return InputError(scene.shown, problem, "put both into one city's folder")
    if folder is not None and re.search(r"[;\\]", folder.name):
        problem = "a city's name with ; or \\, which GDAL misreads"
        return InputError(folder, problem, "rename the folder")
    return scene


def _other_name(lone: _Half, other: str) -> str:
    """The name that the file of the other polarisation should have."""
    if lone.scene.tile:
        return lone.scene.output_name(other)
    return f"the file of the same name with {other}"


def _twice(first: Scene, second: Scene) -> InputError:
    return InputError(
        first.shown,
        f"the scene {first.scene_id} stands twice, here and in {second.shown}",
        "remove or rename one of them (…_1.tif)",
    )


def _add_stacked(files: Sequence[_File], found: Discovery) -> None:
    """Files of several bands are scenes; others (a BorderMask) are left out, and named."""
    ignored: list[str] = []
    for file in files:
        location, name = file.location, SceneName.parse(f"{file.location.stem}.tif")
        if name is None and not location.remote and _band_count(location) < 2:
            ignored.append(location.shown)
        else:
            found.scenes.append(_scene(file, name, location.stem))
    found.ignored += ignored
    if ignored and found.empty:
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


def _band_count(location: Location) -> int:
    try:
        with gdal_env(), open_location(location) as raster:
            return int(raster.dataset.count)
    except BuiltupError:
        return 2  # its own line comes when it is opened as a scene


def _refuse_doubles(found: Discovery) -> None:
    """Refuse a scene id that stands twice: the second would overwrite the first."""
    seen: dict[str, Scene] = {}
    for scene in found.scenes:
        first = seen.setdefault(scene.scene_id, scene)
        if first is not scene:
            found.problems.append(_twice(scene, first))
    found.scenes = list(seen.values())
