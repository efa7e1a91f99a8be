"""From folders, files and STAC documents to scenes: pairs of VV and VH, and files of both.

The steps of the chain take a split of the UNOSAT layout, `predict` takes whatever it is given; one
function says for both what is a scene. What looks like one and is not read is named, with a remedy.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal

from builtup.errors import BuiltupError, FileError, InputError, alike
from builtup.geo.locations import Allow, Location, user_location
from builtup.logs import warn_once
from builtup.sensors.radar.candidates import Judged, is_document, judge
from builtup.sensors.radar.names import city_name, safe_name
from builtup.sensors.radar.pairs import Part, RadarFile, paired, refuse_doubles
from builtup.sensors.radar.products import is_product
from builtup.sensors.radar.scenes import Scene
from builtup.sensors.radar.stac import read_items
from builtup.sensors.scene_files import is_raster, list_files, require_folder

__all__ = ["Discovery", "find_scenes", "require_split", "scenes_of_split"]

_CITY_YEAR = re.compile(r".+?_\d{4}")
#: Folders that are no cities: dates (`20190917_30SXH`), tiles (`30SXH`), what is in them (`VV`).
_NO_CITY = re.compile(r"\d{8}.*|\d{2}[A-Z]{3}|v[vh]|(?:sigma|gamma|beta)0|filtered", re.IGNORECASE)
#: Folders of cities, not of a city's scenes.
_SPLITS = frozenset({"train", "test", "val", "validation"})


@dataclass
class Discovery:
    """The scenes of an input, and what became of all else that looks like one.

    `problems` are refused; `passed` is what is passed over though it speaks of a scene, and why;
    `notes` are choices that were made; `ignored` are rasters that are none, whatever their names.
    """

    scenes: list[Scene] = field(default_factory=list)
    problems: list[BuiltupError] = field(default_factory=list)
    passed: list[FileError] = field(default_factory=list)
    notes: list[FileError] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether nothing of a scene was found, not even something to refuse."""
        return not self.scenes and not self.problems

    def said(self, otherwise: InputError) -> Discovery:
        """Warn of what was passed over and chosen, a line for each kind.

        Raises, where nothing of a scene was found, the first reason, or `otherwise`.
        """
        lines = [first.of_many(count) for first, count in alike(self.passed)]
        if self.empty and lines:
            for line in lines[1:]:
                warn_once(str(line))
            raise lines[0]
        if self.empty and self.ignored:
            problem = f"{otherwise.problem}, but others ({Path(self.ignored[0]).name})"
            raise InputError(otherwise.path, problem, otherwise.remedy)
        if self.empty:
            raise otherwise
        lines += [first.of_many(count) for first, count in alike(self.notes)]
        for line in lines:
            warn_once(str(line))
        return self


def scenes_of_split(root: Path) -> Discovery:
    """The scenes of a split, sorted by the city's folder and scene id. Opens no file, says nothing.

    Lone polarisations, scene ids that stand twice and scenes outside a city's folder are problems.
    Raises InputError where `root` is no folder, or holds splits.
    """
    listing = list_files(require_folder(root))
    _refuse_splits(root, listing.files)
    found = Discovery(passed=list(listing.passed))
    _collect([_file_of_split(root, path) for path in listing.files], "split", found)
    found.notes += _cities_in_cities(root, found.scenes)
    found.scenes.sort(key=lambda s: (s.folder, s.scene_id))
    return found


def require_split(root: Path) -> Discovery:
    """As `scenes_of_split`, and say what is passed over; raise InputError where there is none."""
    return scenes_of_split(root).said(
        InputError(
            root,
            "no VV–VH scene below it",
            "see docs/data.md for the names, and run inspect on the folder above",
        )
    )


def find_scenes(input_path: str, allow: Allow) -> Discovery:
    """The scenes of `input_path` (several, separated by `;`), sorted by city, date and id.

    An entry is a folder in any layout, a raster here or elsewhere, or a STAC document. Opens
    nothing but documents, and the headers of files without a polarisation in their names. Says what
    is passed over; raises InputError where there is no scene.
    """
    found = Discovery()
    files: dict[str, RadarFile] = {}
    for entry in filter(None, (part.strip() for part in input_path.split(";"))):
        if is_document(entry):
            scenes, problems = read_items(entry, allow)
            found.scenes += scenes
            found.problems += problems
        else:
            for file in _files(entry, allow, found):
                files.setdefault(_place(file.location), file)  # named twice: itself, and its folder
    _collect(files.values(), "any", found)
    found.scenes.sort(key=lambda s: (s.city, s.date, s.scene_id))
    return found.said(
        InputError(
            input_path or "input_path",
            "no scene in it",
            "give VV and VH files (their names say vv and vh), 3-band files or STAC items",
        )
    )


def _collect(files: Iterable[RadarFile], layout: Literal["split", "any"], found: Discovery) -> None:
    """Put each file into `found`: as a scene or half of one, refused, passed over, or as none.

    Of ids that stand twice the second is refused.
    """
    parts: list[Part] = []
    beside: list[FileError] = []
    for file in files:
        judged: Judged = judge(file, layout)
        if judged.part is not None and layout == "split" and file.folder is None:
            remedy = "put it into <City>_<year>/"
            problem = InputError(file.location.shown, "outside a city's folder", remedy)
            found.problems.append(problem)
        elif judged.part is not None:
            parts.append(judged.part)
        elif judged.why is None:
            found.ignored += [file.location.shown] if is_raster(file.location.shown) else []
        else:
            (beside if judged.beside else found.passed).append(judged.why)
    result = paired(parts)
    found.scenes, doubles = refuse_doubles([*found.scenes, *result.scenes])
    found.problems += [*result.problems, *doubles]
    found.passed += [*result.passed, *beside]
    found.notes += result.notes


# --- files and their cities ---------------------------------------------------------------------


def _file_of_split(root: Path, path: Path) -> RadarFile:
    below = path.relative_to(root).parts
    folder = root / below[0] if below[1:] else None
    return RadarFile(Location(str(path)), city_name(below[0]), folder, below[1:-1])


def _refuse_splits(root: Path, files: Iterable[Path]) -> None:
    """InputError where `root` holds splits: `train` would be taken for a city."""
    for path in files:
        folders = path.relative_to(root).parts[:-1]
        for depth, (folder, inside) in enumerate(pairwise(folders), 1):
            if folder.lower() in _SPLITS and _CITY_YEAR.fullmatch(inside):
                split = root.joinpath(*folders[:depth])
                problem = f"holds splits, {split.name} among them, and is none"
                raise InputError(root, problem, f"give {split}, or link it to where the step looks")


def _cities_in_cities(root: Path, scenes: Iterable[Scene]) -> list[InputError]:
    """A note for each city whose scenes lie in what looks like the folders of other cities."""
    inside: dict[str, set[str]] = defaultdict(set)
    for scene in scenes:
        below = scene.files[0].relative_to(root).parts[1:-1]
        if below and _CITY_YEAR.fullmatch(below[0]) and not is_product(below[0]):
            inside[scene.folder].add(below[0])
    notes = []
    for folder, cities in inside.items():
        if not _CITY_YEAR.fullmatch(folder) and {city_name(city) for city in cities} != {folder}:
            problem = f"taken as one city, though it holds {', '.join(sorted(cities)[:3])}"
            notes.append(InputError(root / folder, problem, "move these up if they are cities"))
    return notes


def _place(location: Location) -> str:
    """The same for a file that is named in two ways, but not for a link to it."""
    if location.remote:
        return location.name
    return str(location.path.parent.resolve() / location.path.name)


def _files(entry: str, allow: Allow, found: Discovery) -> list[RadarFile]:
    location = user_location(entry, allow)
    if location.remote:
        if Path(location.shown).suffix.lower() not in {".tif", ".tiff", ".vrt"}:
            raise InputError(
                location.shown, "folders elsewhere are not listed", "name its files, or STAC items"
            )
        folders = location.shown.partition("://")[2].split("/")[1:-1]
        return [_file_below(location, folders, named=True)]
    path = Path(entry)
    try:
        folder = path.is_dir()
    except OSError as e:  # a name that is too long, or folders that may not be read
        remedy = "check the path; separate several by ;"
        raise InputError(entry, f"cannot be read ({e.strerror})", remedy) from e
    if not folder:
        if not path.is_file():
            require_folder(path)
        return [_file_below(location, path.resolve().parts[1:-1], named=True)]
    listing = list_files(path)
    found.passed += listing.passed
    return [_file_in(path, file, allow) for file in listing.files]


def _file_in(root: Path, path: Path, allow: Allow) -> RadarFile:
    """A file below the folder `root`: its city is the first folder there, or `root` itself."""
    location, below = user_location(str(path), allow), path.relative_to(root).parts[:-1]
    own = root.resolve()
    if is_product(own.name):
        return _file_below(location, (*own.parts[1:], *below), named=False)
    splits = [i for i, name in enumerate(below[:-1]) if name.lower() in _SPLITS]
    if splits and not _CITY_YEAR.fullmatch(own.name):
        below = below[splits[0] + 1 :]
    first = below[0] if below else ""
    if not first or _CITY_YEAR.fullmatch(own.name) or _NO_CITY.fullmatch(first):
        return RadarFile(location, safe_name(city_name(own.name)), None, below)
    if is_product(first):
        return RadarFile(location, safe_name(city_name(own.name)), None, below)
    return RadarFile(location, safe_name(city_name(first)), None, below[1:])


def _file_below(location: Location, folders: Sequence[str], *, named: bool) -> RadarFile:
    """A file without a city's folder: its city is that of the folders above it, `<City>_<year>`,
    or the nearest one that is no date, tile or product."""
    near = [
        i
        for i in reversed(range(len(folders)))
        if not _NO_CITY.fullmatch(folders[i]) and not is_product(folders[i])
    ]
    dated = [i for i in near[:3] if _CITY_YEAR.fullmatch(folders[i])]
    if not near:
        return RadarFile(location, "city", None, tuple(folders), named)
    chosen = (dated or near)[0]
    city = safe_name(city_name(folders[chosen]))
    return RadarFile(location, city, None, tuple(folders[chosen + 1 :]), named)
