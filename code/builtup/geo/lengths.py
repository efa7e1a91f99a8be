"""Lengths that a user gives in pixels or in metres, and how large a raster's pixels are."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Self

from rasterio.io import DatasetReader

from builtup.errors import ConfigError, InputError
from builtup.geo.grid import Grid

__all__ = ["METRES_TAG", "Length", "alike", "pixel_metres"]

#: The tag of a raster without a CRS that says how many metres a side of its pixels has.
METRES_TAG = "BUILTUP_METRES"
#: By how much pixels may differ from those of training before they are resampled.
MOST_APART = 1.5
_TEXT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(m|px)?\s*")


@dataclass(frozen=True)
class Length:
    """So many pixels, or so many metres on the ground."""

    value: float
    metres: bool = False

    @classmethod
    def parse(cls, text: str | int, name: str) -> Self:
        """Of `64`, `64px` or `100m`; ConfigError naming the option for anything else."""
        found = _TEXT.fullmatch(str(text))
        if found is None or (found[2] != "m" and float(found[1]) % 1):
            raise ConfigError(f"{name}={text}: expected whole pixels (64) or metres (100m)")
        return cls(float(found[1]), found[2] == "m")

    def pixels(self, metres: float | None, path: object = "") -> int:
        """Whole pixels of `metres` a side, rounded to the nearest, of metres 1 at least.

        InputError naming `path` where the length is in metres and the pixels' size is unknown.
        """
        if not self.metres:
            return round(self.value)
        if metres is None:
            raise InputError(
                str(path),
                f"{self} asked for, but no CRS and no {METRES_TAG} says how large its pixels are",
                "give the length in pixels",
            )
        return max(1, math.floor(self.value / metres + 0.5)) if self.value else 0

    def __str__(self) -> str:
        return f"{self.value:g} {'m' if self.metres else 'pixels'}"


def pixel_metres(dataset: DatasetReader) -> float | None:
    """The side of a pixel in metres, of oblong ones that of a square as large; None if unknown.

    By the CRS, and of a raster without one by its tag.
    """
    if dataset.crs:
        return math.sqrt(math.prod(Grid.of(dataset).metres_per_pixel))
    try:
        metres = float(dataset.tags().get(METRES_TAG, "nan"))
    except ValueError:
        return None
    return metres if 0 < metres < math.inf else None


def alike(one: float, other: float) -> bool:
    """Whether two sides of pixels are so near that a network takes the one for the other: neither
    more than half as large again."""
    return max(one / other, other / one) <= MOST_APART
