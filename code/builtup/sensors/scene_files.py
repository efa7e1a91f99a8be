"""Folders of scenes: their files, and the rasters that a step of the chain wrote."""

from __future__ import annotations

import os
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from builtup.errors import InputError, alike
from builtup.logs import warn_once
from builtup.sensors.radar.names import (
    SceneName,
    city_key,
    city_name,
    city_year,
    date_in,
    safe_name,
    scene_years,
    site_key,
)

__all__ = [
    "SIMULATED",
    "Listing",
    "SceneFile",
    "find_rasters",
    "is_raster",
    "is_simulated",
    "list_files",
    "require_folder",
]

#: Stands in every city's folder that the simulator wrote.
SIMULATED = "simulation.json"
#: The kind of merged radar scenes, whose names say what they are.
RADAR_KIND = "3b"
#: Folders between a scene's file and its city's: the product, the tile, and what may come.
_DEPTH = 4


@dataclass(frozen=True)
class SceneFile:
    """One raster of a scene (of several bands, or a mask) in its city's folder.

    `scene_id` holds braces for the kind; `city` is the key `<TILE>_<City>`. Of a city with folders
    of several years `year` says which; else it is empty.
    """

    path: Path
    scene_id: str
    city: str
    date: str
    year: str = ""

    @property
    def of_radar(self) -> bool:
        """Whether its name is that of a radar scene; scenes of cameras have any name."""
        return SceneName.parse(self.path) is not None

    def output_name(self, kind: str) -> str:
        """The file name of a raster made of this one: the id with the kind for the braces."""
        return f"{self.scene_id.replace('{}', kind)}.tif"


@dataclass
class Listing:
    """The files below a folder in a fixed order, and folders and links that are passed over."""

    files: list[Path] = field(default_factory=list)
    passed: list[InputError] = field(default_factory=list)


def require_folder(path: Path) -> Path:
    """Return `path`, or raise InputError where it is not a folder."""
    try:
        if path.is_dir():
            return path
    except OSError as e:  # in a folder that may not be entered
        raise _unlisted(path, e) from e
    if path.parts[:1] == ("..",):
        remedy = (
            "paths are relative to the folder of the MLproject; `../input` works with "
            "`mlflow run experiments/` only, `input/…` with both"
        )
    else:
        remedy = "check the path, or link the data there (ln -s /data/unosat/train input/train)"
    raise InputError(path, "no such folder", remedy)


def is_simulated(path: Path) -> bool:
    """Whether a file lies in a city's folder that the simulator wrote."""
    return any((folder / SIMULATED).is_file() for folder in list(path.parents)[:_DEPTH])


def list_files(root: Path) -> Listing:
    """All files below `root` but hidden ones, links followed.

    A folder is walked once however many links lead to it, under its own name where it has one
    below `root`. What cannot be listed, and links to nothing or to where we have been, are passed
    over.
    """
    listing = Listing()
    walked: dict[str, Path] = {}
    links = deque([root])
    while links:
        start = links.popleft()
        real = os.path.realpath(start)
        if real in walked:
            problem = f"a link to a folder that is read as {walked[real]}"
            listing.passed.append(InputError(start, problem, "remove the link"))
        else:
            links += sorted(_walk(start, real, walked, listing))
    listing.files.sort()
    listing.passed.sort(key=lambda e: e.path)
    return listing


def _walk(start: Path, real: str, walked: dict[str, Path], listing: Listing) -> list[Path]:
    """Put what lies in a folder and in those below it into `listing`; return links to others."""
    links = []
    folders = [(start, real)]
    while folders:
        folder, real = folders.pop()
        if real in walked:
            continue  # a link led above it
        walked[real] = folder
        try:
            with os.scandir(folder) as entries:
                found = list(entries)
        except OSError as e:
            listing.passed.append(_unlisted(folder, e))
            continue
        for entry in found:
            path = folder / entry.name
            if entry.is_dir(follow_symlinks=False):
                folders.append((path, f"{real.rstrip('/')}/{entry.name}"))
            elif entry.name.startswith("."):
                continue
            elif entry.is_symlink() and not os.path.exists(path):  # noqa: PTH110, raises nothing
                problem = "a link to nothing, or to where you may not look"
                listing.passed.append(InputError(path, problem, "mend or remove the link"))
            elif entry.is_symlink() and path.is_dir():
                links.append(path)
            else:
                listing.files.append(path)
    return links


def _unlisted(folder: Path, e: OSError) -> InputError:
    remedy = "give yourself the right to read it (chmod), or take it away"
    return InputError(folder, f"cannot be listed ({e.strerror}), nothing in it is read", remedy)


def is_raster(path: Path | str) -> bool:
    """Whether a file's name is that of a GeoTIFF."""
    return Path(path).suffix.lower() in {".tif", ".tiff"}


def find_rasters(root: Path, kind: str) -> tuple[SceneFile, ...]:
    """The files of one kind (`3b`, `image`, `mask`, `height`, `soft`) that a step wrote below
    `root`, by city and scene.

    Scenes of radar have the names of `SceneName`; others may have any, `<name>_<kind>.tif`, and
    their site is the folder below `root`. Warns of folders that cannot be listed, and of those
    whose names differ and give one key. Raises InputError where two hold the same scene.
    """
    files: dict[str, tuple[str, SceneFile]] = {}
    spelled: dict[str, set[str]] = defaultdict(set)
    listing = list_files(require_folder(root))
    for first, count in alike(listing.passed):
        warn_once(str(first.of_many(count)))
    for path in filter(is_raster, listing.files):
        if path.parent == root:
            continue
        folder = path.relative_to(root).parts[0]
        file, city = _of_radar(path, folder, kind) or _of_any_name(path, folder, kind)
        if file is None:
            continue
        spelled[file.city].add(city)
        if file.scene_id in files:
            raise InputError(
                path,
                f"the scene {file.scene_id} stands twice, "
                f"here and in {files[file.scene_id][1].path}",
                "remove one of them",
            )
        files[file.scene_id] = (folder, file)
    for key, names in spelled.items():
        if len(names) > 1:
            warn_once(f"{key}: folders of one city by their names: {', '.join(sorted(names))}")
    return _with_years(sorted(files.values(), key=lambda f: (f[0], f[1].scene_id)))


def _of_radar(path: Path, folder: str, kind: str) -> tuple[SceneFile | None, str] | None:
    """The file where it is of that kind, and the city of its folder; None for other names."""
    name = SceneName.parse(path)
    if name is None:
        return None
    if name.kind != kind:
        return None, ""
    city = city_name(folder)
    return SceneFile(path, name.scene_id, city_key(name.tile, city), name.date), city


def _of_any_name(path: Path, folder: str, kind: str) -> tuple[SceneFile | None, str]:
    """The file where its name ends with the kind, and its site."""
    name, _, end = path.stem.rpartition("_")
    if kind == RADAR_KIND or end != kind or not name:
        return None, ""
    scene = f"{safe_name(name)}_{{}}"
    return SceneFile(path, scene, site_key(folder), date_in(name)), folder


def _with_years(files: Sequence[tuple[str, SceneFile]]) -> tuple[SceneFile, ...]:
    """The files, which stand beside the names of their cities' folders, with their years."""
    of_city: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for folder, file in files:
        of_city[file.city].append((city_year(folder), file.date))
    years = {city: iter(scene_years(scenes)) for city, scenes in of_city.items()}
    return tuple(replace(file, year=next(years[file.city])) for _, file in files)
