"""How much is mapped, and the files that it stands in: what a page without ground truth is for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from builtup.geo.vector_writers import mapped_total
from builtup.runs.results import CityRasters, read_tags

__all__ = ["MappedRow", "doubt_notes", "mapped_rows"]

#: Endings of the files that a page links to, and what they are called there.
_FILES = (
    (".gpkg", "polygons"),
    (".tif", "mask"),
    ("_prob.tif", "probability"),
    ("_confidence.tif", "confidence"),
    ("_preview.png", "preview"),
)


@dataclass(frozen=True)
class MappedRow:
    """A city's polygons, their area in hectares (None without polygons), and links to its files.

    `threshold` is NaN where pixels are of their likeliest class.
    A link is a name and an address relative to the folder of the page.
    """

    city: str
    threshold: float
    polygons: int | None
    hectares: float | None
    links: tuple[tuple[str, str], ...]


def mapped_rows(folder: Path, cities: Sequence[CityRasters]) -> tuple[MappedRow, ...]:
    """A row of each city whose files lie below `folder`; InputError where one cannot be read."""
    return tuple(_row(folder, rasters) for rasters in cities)


def _row(folder: Path, rasters: CityRasters) -> MappedRow:
    files = [(rasters.mask.with_name(f"{rasters.city}{end}"), name) for end, name in _FILES]
    links = [
        (name, quote(path.relative_to(folder).as_posix())) for path, name in files if path.is_file()
    ]
    gpkg = files[0][0]
    count, area = mapped_total(gpkg) if gpkg.is_file() else (None, None)
    tags = read_tags(rasters.mask)
    threshold = tags.threshold if tags.class_set.by_threshold else math.nan
    hectares = None if area is None else area / 1e4
    return MappedRow(rasters.city, threshold, count, hectares, tuple(links))


def doubt_notes(cities: Sequence[CityRasters]) -> tuple[str, ...]:
    """What speaks against the maps, each doubt once, with the cities that it is about."""
    about: dict[str, list[str]] = {}
    for rasters in cities:
        for doubt in read_tags(rasters.mask).doubts:
            about.setdefault(doubt, []).append(rasters.city)
    return tuple(f"Doubt about {', '.join(some)}: {doubt}." for doubt, some in about.items())
