"""A city's ground truth: which files of its folder are its polygons and its labelled area.

`<City>_<year>/<TILE>_<City>.shp` and `…_labelled_area.shp`, also as GeoPackage or GeoJSON, in
capitals, in American spelling, or with the city as its folder spells it. What else begins with the
city's key is named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from builtup.errors import InputError
from builtup.geo.vector_files import vector_files
from builtup.logs import warn_once
from builtup.sensors.radar.names import city_name, current_key

__all__ = ["CityLabels", "city_labels", "find_labels", "labelled_area", "truths_below"]

#: Suffixes of files that are read: of two of one name the first.
READ = (".shp", ".gpkg", ".geojson", ".fgb", ".kml", ".gml")
#: Those of files that hold polygons too, and are named.
OTHERS = (".json", ".zip", ".kmz", ".7z", ".parquet", ".tab", ".mif", ".csv", ".dxf", ".sqlite")
#: What stands behind the key in the name of a labelled area, but for its letters' case.
AREAS = ("labelledarea", "labeledarea")
_REMEDY = "add them, or leave the city out of this folder"


@dataclass(frozen=True)
class CityLabels:
    """The files of a city's ground truth: polygons, and where they are complete (None: all)."""

    polygons: Path
    labelled_area: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that are read, side files too; InputError where one is missing."""
        areas = () if self.labelled_area is None else vector_files(self.labelled_area)
        return (*vector_files(self.polygons), *areas)


def city_labels(root: Path, city_folder: str, city: str) -> CityLabels:
    """The ground truth of the city of key `<TILE>_<City>` in `<root>/<City>_<year>`.

    Raises InputError where it has no polygons.
    """
    folder = root / city_folder
    found = find_labels(folder, city)
    if found is None:
        there = [path.name for path in _vectors(folder)]
        problem = "no such file: the city has no polygons"
        if there:
            problem += f" under its key (there are: {', '.join(there)})"
        raise InputError(folder / f"{city}.shp", problem, _REMEDY)
    return found


def find_labels(folder: Path, city: str) -> CityLabels | None:
    """As `city_labels`, of a city's own folder; None where it has no polygons there.

    A warning names files that begin with the city's key and are not read.
    """
    ends = {path: _end(path, city) for path in _vectors(folder)}
    polygons = [path for path, end in ends.items() if end == "" and _is_read(path)]
    areas = [path for path, end in ends.items() if end in AREAS and _is_read(path)]
    passed = [path.name for path, end in ends.items() if end is not None]
    for path in (*polygons[:1], *areas[:1]):
        passed.remove(path.name)
    if passed:
        warn_once(
            f"{folder}: not read: {', '.join(passed)}; polygons are read from {city}.shp (or .gpkg,"
            f" .geojson), the area where they are complete from {city}_labelled_area.shp"
        )
    if not polygons:
        return None
    return CityLabels(polygons[0], areas[0] if areas else None)


def labelled_area(polygons: Path) -> Path | None:
    """The labelled area beside a city's polygons; None where there is none."""
    found = find_labels(polygons.parent, current_key(polygons.stem))
    return None if found is None else found.labelled_area


def truths_below(root: Path, city: str, year: str = "") -> list[Path]:
    """The polygons of a city in the folders of a split, sorted; of a `year` in those of that year,
    or of none. InputError where a folder cannot be listed."""
    found = []
    for folder in sorted(_entries(root)):
        name = folder.name.removeprefix(city_name(folder.name))
        if folder.is_dir() and (not year or name in ("", f"_{year}")):
            labels = find_labels(folder, city)
            found += [] if labels is None else [labels.polygons]
    return found


def _vectors(folder: Path) -> list[Path]:
    """The files of a folder that may hold polygons, the first choice first."""
    suffixes = (*READ, *OTHERS)
    found = [
        path
        for path in _entries(folder)
        if path.suffix.lower() in suffixes and not path.name.startswith(".")
    ]
    # of two areas the one of the documented name, then that of the first suffix
    return sorted(
        found,
        key=lambda path: (
            "_labelled_area" not in path.stem,
            suffixes.index(path.suffix.lower()),
            path.name,
        ),
    )


def _entries(folder: Path) -> Iterator[Path]:
    try:
        yield from folder.iterdir()
    except FileNotFoundError:
        return
    except OSError as e:
        raise InputError(folder, f"cannot be listed ({e.strerror})", "check its rights") from e


def _is_read(path: Path) -> bool:
    return path.suffix.lower() in READ


def _end(path: Path, city: str) -> str | None:
    """What stands behind the city's key in a file's name, its letters and digits; None where the
    name does not begin with the key."""
    own, name = city.casefold(), current_key(path.stem).casefold()
    if not name.startswith(own):
        return None
    return re.sub(r"[^a-z0-9]", "", name[len(own) :])
