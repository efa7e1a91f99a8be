"""Which city each scene belongs to: its dates are averaged."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from builtup.geo.target_grid import shared_ground, square_of
from builtup.sensors.radar.headers import SceneHeaders

__all__ = ["with_cities"]

#: Scenes of one name are dates of one city where they share this much of the smaller one.
SAME_PLACE = 0.5
#: Endings that our rasters of a city have.
_OURS = re.compile(r"_(prob|std|count)$")


def with_cities(surveys: Sequence[SceneHeaders]) -> dict[str, tuple[SceneHeaders, ...]]:
    """The scenes of each city, by its key `<TILE>_<City>`.

    A UNOSAT name holds its tile. Other scenes of one city's name are sorted by the ground that they
    share; the tile is the MGRS square of the first one's centre.
    """
    cities: dict[str, list[SceneHeaders]] = defaultdict(list)
    unnamed: dict[str, list[SceneHeaders]] = defaultdict(list)
    for found in surveys:
        name = _OURS.sub(r"-\1", found.scene.city)
        if found.scene.tile:
            cities[f"{found.scene.tile}_{name}"].append(found)
        else:
            unnamed[name].append(found)
    for name, some in unnamed.items():
        places: dict[str, SceneHeaders] = {}
        for found in sorted(some, key=lambda s: (s.scene.date, s.scene.scene_id)):
            cities[_place_of(found, name, places)].append(found)
    return {key: tuple(_renamed(s, cities.keys()) for s in some) for key, some in cities.items()}


def _place_of(found: SceneHeaders, name: str, places: dict[str, SceneHeaders]) -> str:
    """The key of the place of that name that a scene lies at, a new one where it is at none."""
    for key, first in places.items():
        if shared_ground(found.grid, first.grid) >= SAME_PLACE:
            return key
    base = f"{square_of(found.grid)}_{name}"
    key, number = base, 2
    while key in places:
        key, number = f"{base}_{number}", number + 1
    places[key] = found
    return key


def _renamed(found: SceneHeaders, keys: object) -> SceneHeaders:
    """The scene under another id where a city has its name: their rasters would be one file."""
    if found.scene.plain_id not in keys:  # type: ignore[operator]
        return found
    return replace(found, scene=replace(found.scene, scene_id=f"{found.scene.plain_id}_scene_{{}}"))
