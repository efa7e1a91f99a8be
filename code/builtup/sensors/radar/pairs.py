"""From files to scenes: which VV belongs to which VH, under which id, and which are read.

Ids come from names. Where a name says no date (`<product>/measurement/iw-vv.rtc.tiff`), the
product's folder stands before it; where names are equal, the folders in which they differ.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from builtup.errors import FileError, InputError
from builtup.geo.locations import Location
from builtup.sensors.radar.names import POLARISATIONS, SceneName, date_in, safe_name
from builtup.sensors.radar.products import Radiometry, preferred, radiometry_in
from builtup.sensors.radar.scenes import Band, Scene

__all__ = ["BOTH", "Paired", "Part", "RadarFile", "paired", "refuse_doubles", "twice"]

#: The polarisation of a file that holds VV and VH.
BOTH = "both"
_UNNAMED = "scene"


@dataclass(frozen=True)
class RadarFile:
    """A raster and where it lies.

    `city` is its city's name, `folder` the city's folder where it lies in that of a split, `below`
    the names of the folders between the city's and the file. `named`: by the user, not by its
    folder.
    """

    location: Location
    city: str
    folder: Path | None = None
    below: tuple[str, ...] = ()
    named: bool = False


@dataclass(frozen=True)
class Part:
    """A file of one polarisation, or of `BOTH`; `rest` is its stem without the polarisation.

    `name` is the name taken apart, where it is one of the UNOSAT layout.
    """

    file: RadarFile
    polarisation: Literal["vv", "vh", "both"]
    rest: str
    name: SceneName | None = None

    @property
    def own_id(self) -> str:
        """The id that its name gives, or its name and the folder that says its date."""
        if self.name is not None:
            return self.name.scene_id
        rest = safe_name(self.rest)
        if not date_in(rest):
            for folder in reversed(self.file.below):
                if date_in(folder):
                    return f"{_joined(folder, self.rest)}_{{}}"
        return f"{rest}_{{}}"

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that it lies in, but those of a polarisation."""
        return tuple(name for name in self.file.below if name.lower() not in POLARISATIONS)


@dataclass
class Paired:
    """The scenes, what is refused, what is passed over for another, and what was chosen."""

    scenes: list[Scene] = field(default_factory=list)
    problems: list[FileError] = field(default_factory=list)
    passed: list[InputError] = field(default_factory=list)
    notes: list[InputError] = field(default_factory=list)


#: A place that ids are of (a split, or a city of any folder), and an id.
_Key = tuple[str, str]


def paired(parts: Iterable[Part]) -> Paired:
    """The scenes of files; of several radiometries of one acquisition one is taken, and said."""
    result = Paired()
    together: dict[_Key, list[Part]] = defaultdict(list)
    for part in parts:
        place = part.file.city if part.file.folder is None else ""
        together[place, part.own_id].append(part)
    for some in together.values():
        _leave_out_stacks(some, result)
    cities = Counter(own for _, own in together)
    told_apart: dict[_Key, list[Part]] = {}
    for (place, own), some in together.items():
        for identity, same in _by_folders(own, some, result).items():
            if cities[own] > 1 and same[0].name is None:  # each city has its `20230101_vv.tif`
                identity = f"{_joined(place, identity.removesuffix('_{}'))}_{{}}"
            told_apart.setdefault((place, identity), []).extend(same)
    taken = _one_of_each(told_apart, result)
    for (_, identity), some in taken.items():
        scene = _scene(identity, some)
        if isinstance(scene, Scene):
            result.scenes.append(scene)
        else:
            result.problems.append(scene)
    return result


# --- ids ------------------------------------------------------------------------------------------


def _leave_out_stacks(parts: list[Part], result: Paired) -> None:
    """Of a pair and a file of both under one name the pair is read."""
    stacks = [part for part in parts if part.polarisation == BOTH]
    if len({part.polarisation for part in parts}) == 3:
        for stack in stacks:
            problem = "not read: VV and VH of its name are there"
            result.passed.append(InputError(stack.file.location.shown, problem, _READ_THIS))
            parts.remove(stack)


def _by_folders(own: str, parts: list[Part], result: Paired) -> Mapping[str, list[Part]]:
    """Files of one id: as they are, or of several products, told apart by their folders."""
    stands_twice = len({part.polarisation for part in parts}) < len(parts)
    if not stands_twice or parts[0].file.folder is not None:
        return {own: parts}
    differing = _differing([part.folders for part in parts])
    by_folder: dict[str, list[Part]] = defaultdict(list)
    for part, folders in zip(parts, differing, strict=True):
        by_folder["_".join(folders)].append(part)
    radiometries = {radiometry_in(folders)[1] for folders in by_folder}
    if date_in(parts[0].rest) and len(radiometries) < len(by_folder):
        return {own: parts}  # copies of one scene, it seems
    if not all(map(date_in, by_folder)) and len(radiometries) < len(by_folder):
        first, second = (some[0].file.location for some in list(by_folder.values())[:2])
        problem = f"bears the name of {second.shown}; they are read as {len(by_folder)} dates"
        result.notes.append(InputError(first.shown, problem, "remove one if they are the same"))
    stem = own.removesuffix("_{}")
    return {f"{_joined(folder, stem)}_{{}}": some for folder, some in by_folder.items()}


def _joined(folder: str, rest: str) -> str:
    """The id of a file whose name is not enough."""
    if not folder or rest == _UNNAMED:
        return safe_name(folder or rest)
    return safe_name(f"{folder}_{rest}")


def _differing(paths: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Paths without the folders that all begin or end with."""
    start, shortest = 0, min(map(len, paths))
    while start < shortest and len({path[start] for path in paths}) == 1:
        start += 1
    end = 0
    while end < shortest - start and len({path[-1 - end] for path in paths}) == 1:
        end += 1
    return [path[start : len(path) - end] for path in paths]


# --- one of each acquisition ----------------------------------------------------------------------


def _one_of_each(by_id: Mapping[_Key, list[Part]], result: Paired) -> dict[_Key, list[Part]]:
    """The files that are read of each acquisition; those of other radiometries are passed over."""
    radiometries: dict[_Key, Radiometry] = {}
    acquisitions: dict[tuple[str, str], list[_Key]] = defaultdict(list)
    for key, parts in by_id.items():
        identity, radiometries[key] = radiometry_in(key[1].replace("_{}", ""))
        acquisitions[str(parts[0].file.folder or parts[0].file.city), identity].append(key)
    groups = list(acquisitions.values())
    whole = [[key for key in keys if _is_whole(by_id[key])] for keys in groups]
    several = [some or keys for some, keys in zip(whole, groups, strict=True)]
    choices = preferred([[radiometries[key] for key in keys] for keys in several])
    taken: dict[_Key, list[Part]] = {}
    for keys, some, candidates, choice in zip(groups, whole, several, choices, strict=True):
        chosen = candidates[choice]
        for key in keys:
            if key == chosen or not some:
                taken[key] = by_id[key]
            else:
                first, other = by_id[chosen][0].file.location, by_id[key][0].file.location
                problem = (
                    f"not read: the acquisition of {Path(first.shown).name}, {radiometries[key]}"
                )
                result.passed.append(InputError(other.shown, problem, _READ_THIS))
    _note_mixtures({key: radiometries[key] for key in taken}, taken, result)
    return taken


_READ_THIS = "take that away to read this in its place"


def _is_whole(parts: Sequence[Part]) -> bool:
    return sorted(part.polarisation for part in parts) in ([BOTH], ["vh", "vv"])


def _note_mixtures(
    radiometries: Mapping[_Key, Radiometry], taken: Mapping[_Key, list[Part]], result: Paired
) -> None:
    """Say where scenes do not fit together, or are not what networks are trained on."""
    quantities = Counter(r.quantity for r in radiometries.values() if r.quantity)
    (usual, _), *others = quantities.most_common() or [("", 0)]
    for key, radiometry in radiometries.items():
        shown = taken[key][0].file.location.shown
        if radiometry.quantity in dict(others):
            problem = f"{radiometry.quantity}, while other scenes are {usual}"
            result.notes.append(InputError(shown, problem, "give scenes of one radiometry"))
        if radiometry.filtered:
            problem = "its name says that speckle was filtered"
            remedy = "give what was not filtered, as networks are trained on"
            result.notes.append(InputError(shown, problem, remedy))


# --- scenes ---------------------------------------------------------------------------------------


def _scene(scene_id: str, parts: Sequence[Part]) -> Scene | InputError:
    """The scene of its files, or why they are none."""
    for polarisation in (*POLARISATIONS, BOTH):
        some = [part for part in parts if part.polarisation == polarisation]
        if some[1:]:
            return twice(scene_id, some[0].file.location, some[1].file.location)
    by_polarisation = {part.polarisation: part for part in parts}
    if BOTH in by_polarisation:
        both = by_polarisation.pop(BOTH)
        if by_polarisation:
            (lone, *_) = by_polarisation.values()
            return twice(scene_id, both.file.location, lone.file.location)
        return _of(scene_id, both, both)
    if len(by_polarisation) < len(POLARISATIONS):
        return _lone(parts[0])
    vv, vh = (by_polarisation[polarisation] for polarisation in ("vv", "vh"))
    scene, folder = _of(scene_id, vv, vh), vv.file.folder
    if folder != vh.file.folder:
        problem = f"its VH is in another city: {scene.vh.location.shown}"
        return InputError(scene.shown, problem, "put both into one city's folder")
    if folder is not None and re.search(r"[;\\]", folder.name):
        problem = "a city's name with ; or \\, which GDAL misreads"
        return InputError(folder, problem, "rename the folder")
    return scene


def _of(scene_id: str, vv: Part, vh: Part) -> Scene:
    file, name = vv.file, vv.name
    bands = Band(file.location), Band(vh.file.location)
    if name is None:
        return Scene(scene_id, file.city, date_in(scene_id), *bands)
    folder = "" if file.folder is None else file.folder.name
    return Scene(scene_id, file.city, name.date, *bands, name.tile, name.orbit, folder)


def _lone(lone: Part) -> InputError:
    """The problem of a polarisation without the other."""
    other = "vh" if lone.polarisation == "vv" else "vv"
    name = lone.name.scene_id.replace("{}", other) + ".tif" if lone.name is not None else ""
    return InputError(
        lone.file.location.shown,
        f"{lone.polarisation.upper()} without {other.upper()}",
        f"add {name or f'the file of the same name with {other}'} to the same city",
    )


def twice(scene_id: str, first: Location, second: Location) -> InputError:
    """The problem of two scenes of one id: the second would overwrite the first."""
    return InputError(
        first.shown,
        f"the scene {scene_id} stands twice, here and in {second.shown}",
        "remove one of them, or rename it where it is another (…_1.tif)",
    )


def refuse_doubles(scenes: Iterable[Scene]) -> tuple[list[Scene], list[InputError]]:
    """The scenes, each id once, and a problem for each that stands twice."""
    seen: dict[str, Scene] = {}
    problems = []
    for scene in scenes:
        first = seen.setdefault(scene.scene_id, scene)
        if first is not scene:
            problems.append(twice(scene.scene_id, scene.vv.location, first.vv.location))
    return list(seen.values()), problems
