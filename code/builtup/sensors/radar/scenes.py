"""A radar scene: one date of one place, and where its VV and VH lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from builtup.errors import InputError
from builtup.geo.locations import Location
from builtup.sensors.radar.names import city_key, city_name, city_year, plain_id, safe_name

__all__ = ["Band", "Scene"]


@dataclass(frozen=True)
class Band:
    """Where one polarisation lies, and what its catalogue declares of its values.

    In a file of several bands it is found by their descriptions, or is `number` (from 1).
    `declared` are texts about its unit, `nodata`, `scale` and `offset` None where nothing is said.
    """

    location: Location
    declared: tuple[str, ...] = ()
    number: int = 0
    nodata: float | None = None
    scale: float | None = None
    offset: float | None = None


@dataclass(frozen=True)
class Scene:
    """One date of one place.

    `scene_id` holds braces for the kind; `city` is a name without the tile. `tile` is empty where
    the name has none; it is then that of the scene's centre. `folder` is the city's folder of a
    split, `<City>_<year>`, and empty for scenes that were found elsewhere.
    """

    scene_id: str
    city: str
    date: str
    vv: Band
    vh: Band
    tile: str = ""
    orbit: str = ""
    folder: str = ""

    @property
    def plain_id(self) -> str:
        """The id without braces."""
        return plain_id(self.scene_id)

    @property
    def city_key(self) -> str:
        """The key of its city, `<TILE>_<City>`, where its name holds the tile."""
        return city_key(self.tile, self.city)

    @property
    def city_folder(self) -> str:
        """The name of its city's folder, `<City>_<year>`; empty where it lies in none."""
        if self.folder:
            return self.folder
        place = self.vv.location
        folders = Path(place.shown).parts if place.remote else place.path.absolute().parts
        for name in reversed(folders[:-1]):
            if city_year(name) and safe_name(city_name(name)) == safe_name(self.city):
                return name
        return ""

    @property
    def year(self) -> str:
        """The year of its city's folder; empty where it has none."""
        return city_year(self.city_folder)

    @property
    def locations(self) -> tuple[Location, ...]:
        """Where the scene lies: two files, or one of several bands."""
        both = (self.vv.location, self.vh.location)
        return both[:1] if both[0] == both[1] else both

    @property
    def files(self) -> tuple[Path, ...]:
        """Those of its locations that are plain files."""
        return tuple(location.path for location in self.locations if not location.remote)

    @property
    def shown(self) -> str:
        """What messages call it: its first file."""
        return self.vv.location.shown

    def output_name(self, kind: str) -> str:
        """The file name of a raster made of this scene: the id with the kind for the braces."""
        return f"{self.scene_id.replace('{}', kind)}.tif"

    def output(self, root: Path, kind: str) -> Path:
        """Where a step of the chain puts it: `<root>/<City>_<year>/<scene, of that kind>.tif`."""
        return root / self.folder / self.output_name(kind)

    def all_invalid(self) -> InputError:
        """The problem of a scene without one valid pixel."""
        return InputError(
            self.shown,
            f"no valid pixel together with {Path(self.vh.location.shown).name}: all no-data",
            "remove the scene or download it again",
        )
