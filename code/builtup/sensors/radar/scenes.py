"""A scene to predict: its id, its city, and where its VV and VH lie."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from builtup.geo.locations import Location
from builtup.sensors.radar.names import SceneName, plain_id

__all__ = ["Band", "Scene", "date_in", "polarisation_in", "safe_name"]

_POLARISATION = re.compile(r"(?<![A-Za-z])(vv|vh)(?![A-Za-z])", re.IGNORECASE)
_DATE = re.compile(r"(?<!\d)((?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))(?!\d)")
_LONGEST = 150  # bytes


@dataclass(frozen=True)
class Band:
    """Where one polarisation lies, and what its catalogue says of its unit.

    In a file of several bands it is found by their descriptions, or is `number` (from 1).
    """

    location: Location
    said: tuple[str, ...] = ()
    number: int = 0


@dataclass(frozen=True)
class Scene:
    """One date of one place.

    `scene_id` holds braces for the kind; `city` is a name without the tile. `tile` is empty where
    the name has none; it is then that of the scene's centre.
    """

    scene_id: str
    city: str
    date: str
    vv: Band
    vh: Band
    tile: str = ""

    @property
    def plain_id(self) -> str:
        """The id without braces."""
        return plain_id(self.scene_id)

    @property
    def locations(self) -> tuple[Location, ...]:
        """Where the scene lies: two files, or one of several bands."""
        both = (self.vv.location, self.vh.location)
        return both[:1] if both[0] == both[1] else both

    def output_name(self, kind: str) -> str:
        """The name of a raster of this scene."""
        return f"{self.scene_id.replace('{}', kind)}.tif"


def polarisation_in(stem: str) -> tuple[str, str]:
    """(`vv` or `vh`, the stem without it); the first is empty where it says none, or several."""
    found = list(_POLARISATION.finditer(stem))
    if len(found) != 1:
        return "", stem
    match = found[0]
    before, after = stem[: match.start()].rstrip("_-. "), stem[match.end() :].lstrip("_-. ")
    return match[1].lower(), "_".join(filter(None, (before, after))) or "scene"


def date_in(text: str) -> str:
    """The first date (YYYYMMDD) in a text, or nothing."""
    match = _DATE.search(text.replace("-", ""))
    return match[1] if match else ""


def safe_name(text: str) -> str:
    """A name for files from any text: letters and digits of any script, `.`, `_` and `-`."""
    composed = unicodedata.normalize("NFC", text)  # file systems differ in how they spell an umlaut
    kept = "".join(c if _in_names(c) else " " for c in composed)
    name = re.sub(r"\s+", "_", kept).strip("._-")
    short = name.encode()[:_LONGEST].decode(errors="ignore")  # of which file systems take 255
    return short.rstrip("._-") or "unnamed"


def _in_names(character: str) -> bool:
    # marks are the vowels of many scripts
    return character in "._-" or unicodedata.category(character)[0] in "LMN"


def unosat_name(stem: str) -> SceneName | None:
    """A UNOSAT name taken apart, or None."""
    return SceneName.parse(f"{stem}.tif")
