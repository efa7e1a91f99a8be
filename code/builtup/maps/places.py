"""Which scenes become one map, those of one city, place and year; and on which grid."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from builtup.errors import BuiltupError, InputError
from builtup.geo.grid import SAME_CITY_TOLERANCE, Grid, common_grid, joined_grid
from builtup.geo.target_grid import shared_ground, square_of
from builtup.runs.results import PredictionTags, Results, base_city, kind_of
from builtup.sensors.radar.headers import SceneHeaders
from builtup.sensors.radar.names import city_key, city_name, plain_id, safe_name, scene_years
from builtup.sensors.source import Headers

__all__ = [
    "YEARS",
    "MapName",
    "MapScenes",
    "check_years",
    "map_grid",
    "maps_of_tags",
    "one_each",
    "require_apart",
    "say_left",
    "say_maps",
    "say_span",
    "with_cities",
]

log = logging.getLogger(__name__)

#: What is made of the years of a city, by their folders: a map each, or one of all.
YEARS = ("apart", "mean")
#: Scenes of one name are dates of one place where they share this much of the smaller one.
SAME_PLACE = 0.5
#: Days that the dates of a map may span without a word.
A_YEAR = 366


class MapName(NamedTuple):
    """The key of a map, and its year where its city has a map for each, else empty."""

    key: str
    year: str


@dataclass(frozen=True)
class MapScenes:
    """The scenes of one map: its city's name, its key, its dates.

    `year` is empty unless the city has folders of several years, `parts` the number of places
    beside each other (bursts, frames) that it joins.
    """

    name: str
    key: str
    dates: tuple[Any, ...]
    year: str = ""
    parts: int = 1


def with_cities(scenes: Sequence[SceneHeaders], years: str = "apart") -> tuple[MapScenes, ...]:
    """The scenes of each map, by its key `<TILE>_<City>`.

    A UNOSAT name holds its tile. Other scenes of one city's name are sorted by the ground that they
    share, and those of neighbouring places whose grids join are of one map; the tile is the MGRS
    square of the first one's centre. Of several years (folders `<City>_<year>`) the first has that
    key, the others `<key>_<year>`, unless `years` is "mean".
    """
    named: dict[str, list[SceneHeaders]] = defaultdict(list)
    unnamed: dict[str, list[SceneHeaders]] = defaultdict(list)
    for headers in scenes:
        if headers.scene.tile:
            named[headers.scene.city_key].append(headers)
        else:
            unnamed[headers.scene.city].append(headers)
    maps: dict[str, MapScenes] = {
        key: MapScenes(some[0].scene.city, key, tuple(some)) for key, some in named.items()
    }
    own: set[str] = set()
    for name, some in unnamed.items():
        for place in _places(sorted(some, key=lambda h: (h.scene.date, h.scene.scene_id))):
            key = _free(city_key(square_of(place.dates[0].grid), name), own)
            own.add(key)
            same = maps.get(key)  # by the names of UNOSAT
            dates = (*(() if same is None else same.dates), *place.dates)
            maps[key] = MapScenes(name, key, dates, parts=place.parts)
    if years == "apart":
        maps = {of.key: of for one in maps.values() for of in _by_year(one, maps)}
    return tuple(
        replace(one, dates=tuple(_renamed(h, maps) for h in one.dates)) for one in maps.values()
    )


def one_each(scenes: Sequence[Headers]) -> tuple[MapScenes, ...]:
    """A map for each scene, by its own name: images from the air, of which one shows a place."""
    return tuple(MapScenes(of.scene.city, of.scene.plain_id, (of,)) for of in scenes)


def require_apart(key: str, outputs: Collection[Path], scenes: Iterable[Path]) -> None:
    """InputError where a map's raster would take the place of one of a scene, of another city."""
    for path in scenes:
        if path in outputs:
            raise InputError(
                path,
                f"the scene has the name of the city {key}, whose map would take its place",
                "rename the scene, or its city's folder, and predict again",
            )


def say_left(results: Results, known: Collection[str]) -> None:
    """Name the maps of an earlier call whose scenes are gone, or are of other maps now."""
    masks = [path for path in sorted(results.raw.glob("*.tif")) if kind_of(path) == "classes"]
    left = [mask.stem for mask in masks if mask.stem not in known]
    if left:
        log.warning(
            "%s: maps of earlier calls, of no scene there: %s; they stay as they are, remove them "
            "where they are not wanted",
            *(results.raw, ", ".join(left)),
        )


def say_maps(maps: Iterable[MapScenes]) -> None:
    """Log what was decided.

    A map for each year, one of several places, several of one city, and folders whose names differ
    in signs that keys do not have.
    """
    maps = tuple(maps)
    spelled: dict[str, set[str]] = defaultdict(set)
    for headers in (h for one in maps for h in one.dates if h.scene.city_folder):
        spelled[safe_name(headers.scene.city)].add(city_name(headers.scene.city_folder))
    for name, names in spelled.items():
        if len(names) > 1:
            log.warning(
                "%s: folders of one city by their names: %s", name, ", ".join(sorted(names))
            )
    by_name: dict[str, list[MapScenes]] = defaultdict(list)
    for one in maps:
        by_name[one.name].append(one)
        if one.parts > 1:
            log.warning(
                "%s: %d places beside each other, on one grid, are mapped as one",
                *(one.key, one.parts),
            )
    for name, some in by_name.items():
        _say_years(name, [MapName(one.key, one.year) for one in some])
        places = sorted({base_city(one.key, one.year) for one in some})
        if places[1:]:
            text = "%s: comes as %d places or tiles whose grids do not join, a map each: %s"
            log.warning(text, name, len(places), ", ".join(places))


def check_years(years: str) -> None:
    """BuiltupError where it is not one of YEARS."""
    if years not in YEARS:
        raise BuiltupError(f"years={years}: unknown; use {' or '.join(YEARS)}")


def maps_of_tags(
    scenes: Sequence[tuple[PredictionTags, str]], years: str, placed: Sequence[bool] = ()
) -> list[MapName]:
    """The map of each predicted scene, by its tags and its date; a choice of years is said.

    As `with_cities` has it: the first year of a city has its key, the others `<key>_<year>`, unless
    `years` is "mean" or no tag says a year. A key with its year, which `predict` gave, stays. Of
    several scenes of a site those that are not `placed`, without a CRS, are a map each, since what
    ground they have in common cannot be seen: `<key>_<scene>`, and this is said.
    """
    names = _by_tags(scenes, years)
    together = Counter(names)
    apart = [
        name
        if known or together[name] == 1
        else MapName(f"{name.key}_{plain_id(tags.scene)}", name.year)
        for name, known, (tags, _) in zip(names, placed or [True] * len(names), scenes, strict=True)
    ]
    for key in sorted({one.key for one, own in zip(names, apart, strict=True) if one != own}):
        log.warning("%s: its scenes have no CRS: each is a map of its own, not a date of one", key)
    return apart


def _by_tags(scenes: Sequence[tuple[PredictionTags, str]], years: str) -> list[MapName]:
    cities: dict[str, list[int]] = defaultdict(list)
    for number, (tags, _) in enumerate(scenes):
        cities[tags.base_city].append(number)
    names = [MapName(tags.base_city, "") for tags, _ in scenes]
    if years == "mean":
        return names
    for city, numbers in cities.items():
        own = _of_years(city, [(scenes[n][0].year, scenes[n][1]) for n in numbers], cities)
        for n, name in zip(numbers, own, strict=True):
            tags, _ = scenes[n]
            key = name.key if tags.city == city else tags.city
            names[n] = MapName(key, name.year or tags.year)
        if all(scenes[n][0].city == city for n in numbers):  # else `predict` has said it
            _say_years(city, sorted({names[n] for n in numbers}))
    of_key: dict[str, set[str]] = defaultdict(set)
    for key, year in names:
        of_key[key].add(year)
    return [MapName(key, year if len(of_key[key]) == 1 else "") for key, year in names]


def _of_years(key: str, scenes: Sequence[tuple[str, str]], taken: Collection[str]) -> list[MapName]:
    """The map of each scene of a city, given as to `scene_years`, of which years are apart.

    No key is one of those `taken`.
    """
    years = scene_years(scenes)
    first = min(years, default="")
    keys = {y: key if y == first else _free(f"{key}_{y}", taken) for y in set(years)}
    return [MapName(keys[year], year) for year in years]


def _say_years(city: str, maps: Iterable[MapName]) -> None:
    years = [f"{key} ({year})" for key, year in maps if year]
    if years[1:]:
        text = "%s: a map for each year of its folders: %s; years=mean averages them"
        log.warning(text, city, ", ".join(years))


def map_grid(city: str, grids: Sequence[Grid]) -> tuple[Grid, bool]:
    """The grid of a city's map: of `grids`, in the order of dates, the one that most dates have,
    or, where some lie beside it on the same pixels, one of all their ground; the second says that
    it is that."""
    common = common_grid(grids)
    others = [g for g in grids if not g.matches(common, SAME_CITY_TOLERANCE)]
    beside = sum(shared_ground(g, common) < SAME_PLACE for g in others)
    if not beside:
        return common, False
    whole = joined_grid(grids)
    if whole is not None:
        return whole, True
    log.warning(
        "%s: %d of its rasters lie mostly beside the grid of most dates, on other pixels, and are "
        "cut there; warp them to one grid, or map them as cities of their own",
        *(city, beside),
    )
    return common, False


def say_span(city: str, days: Iterable[str]) -> None:
    """Warn of a map that averages dates (YYYYMMDD) which lie more than a year apart."""
    known = sorted(filter(_days, days))
    if not known or _days(known[-1]) - _days(known[0]) <= A_YEAR:
        return
    log.warning(
        "%s: one map of dates from %s to %s, which are averaged; for a map of each year put each "
        "year's into a folder <City>_<year>, and make tiles and predictions anew (years=apart)",
        *(city, known[0], known[-1]),
    )


def _days(text: str) -> int:
    """The number of a day; 0 of what is none, which names may hold."""
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8])).toordinal()
    except ValueError:
        return 0


@dataclass
class _Place:
    """Scenes on common ground, the grid of the first of each part, and how many parts."""

    dates: list[SceneHeaders]
    grids: list[Grid]

    @property
    def parts(self) -> int:
        return len(self.grids)


def _places(scenes: Iterable[SceneHeaders]) -> list[_Place]:
    """The places of scenes of one name; places whose grids join are one."""
    places: list[_Place] = []
    for headers in scenes:
        for place in places:
            if shared_ground(headers.grid, place.grids[0]) >= SAME_PLACE:
                place.dates.append(headers)
                break
        else:
            places.append(_Place([headers], [headers.grid]))
    joined: list[_Place] = []
    for place in places:
        beside = [
            other for other in joined if any(_touch(place.grids[0], grid) for grid in other.grids)
        ]
        for other in beside[1:]:  # it joins two that did not touch
            beside[0].dates += other.dates
            beside[0].grids += other.grids
            joined.remove(other)
        if beside:
            beside[0].dates += place.dates
            beside[0].grids += place.grids
        else:
            joined.append(place)
    return joined


def _touch(one: Grid, other: Grid) -> bool:
    """Whether two grids are parts of one and have common pixels, or none between them."""
    both = joined_grid((one, other))
    if both is None:
        return False
    return both.width <= one.width + other.width and both.height <= one.height + other.height


def _free(base: str, taken: Collection[str]) -> str:
    key, number = base, 2
    while key in taken:
        key, number = f"{base}_{number}", number + 1
    return key


def _by_year(one: MapScenes, taken: Collection[str]) -> list[MapScenes]:
    """A map for each year."""
    names = _of_years(one.key, [(h.scene.year, h.scene.date) for h in one.dates], taken)
    dates: dict[MapName, list[SceneHeaders]] = defaultdict(list)
    for name, headers in zip(names, one.dates, strict=True):
        dates[name].append(headers)
    return [
        replace(one, key=key, dates=tuple(some), year=year)
        for (key, year), some in sorted(dates.items(), key=lambda of: of[0].year)
    ]


def _renamed(headers: SceneHeaders, cities: Collection[str]) -> SceneHeaders:
    """The scene under another id where a city has its name: their rasters would be one file."""
    plain = headers.scene.plain_id
    if plain not in cities:
        return headers
    return replace(headers, scene=replace(headers.scene, scene_id=f"{plain}_scene_{{}}"))
