"""How pseudo-labels are made of 8-bit probabilities, pixel by pixel and scene by scene."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from builtup.errors import BuiltupError, InputError
from builtup.geo.probability import IGNORE, NODATA, SCALE, level_of
from builtup.runs.prediction_tags import PredictionTags
from builtup.sensors.classes import Classes

__all__ = ["HARD", "MODES", "NEGATIVES", "SOFT", "SOURCES", "LabelRule", "largest_mapped"]

#: Probabilities as they are; classes where these are sure; scenes that are sure to be empty.
SOFT, HARD, NEGATIVES = "soft", "hard", "negatives"
MODES = (SOFT, HARD, NEGATIVES)
#: Each scene's own map, or that of its city.
SOURCES = ("scene", "city")

Levels = NDArray[np.uint8]


@dataclass(frozen=True)
class LabelRule:
    """How labels are made of probabilities.

    `low` and `high` are probabilities of the mapped class below and above which mode hard is sure;
    of more than two classes the largest must reach `high`. Mode negatives keeps a scene whose
    presence (`PredictionTags.presence`) is below `presence` and of which no pixel is above `low`.
    `max_std` None: dates may disagree. Raises BuiltupError for settings that make no sense.
    """

    mode: str
    source: str
    low: float
    high: float
    max_std: float | None
    presence: float = 0.2

    def __post_init__(self) -> None:
        for name, known in (("mode", MODES), ("source", SOURCES)):
            if getattr(self, name) not in known:
                raise BuiltupError(
                    f"{name}={getattr(self, name)}: unknown; use {', '.join(known[:-1])} or "
                    f"{known[-1]}"
                )
        if not 0 <= self.low < self.high <= 1:
            raise BuiltupError(
                f"low={self.low:g}, high={self.high:g}: expected probabilities, low below high"
            )
        if not 0 < self.presence <= 1:
            raise BuiltupError(f"presence={self.presence:g}: expected a probability above 0")
        if self.max_std is not None and self.source != "city":
            raise BuiltupError(
                "max_std: is of the dates of a city; give source=city, or no max_std"
            )
        if self.mode == NEGATIVES and self.source != "scene":
            raise BuiltupError(
                "mode=negatives: what a presence head says is of scenes; give source=scene"
            )

    def require(self, raster: Path, tags: PredictionTags) -> None:
        """InputError where such labels cannot be made of a raster with these tags."""
        if self.mode != NEGATIVES:
            return
        if tags.presence is None:
            raise InputError(
                raster,
                "says nothing of whether there is a building: its network has no presence head",
                "predict with one that has (heads = presence), or use mode=hard",
            )
        if not tags.class_set.by_threshold:
            problem = f"of {len(tags.class_set)} classes: what is no building need not be the first"
            raise InputError(raster, problem, "use mode=negatives with maps of two classes")

    def masks(self, levels: Levels, classes: Classes, threshold: float) -> Levels:
        """The classes (H, W) of 8-bit probabilities (bands, H, W), 255 where there is no label.

        In mode soft as maps have them; in mode negatives the class that is not mapped, everywhere.
        """
        if self.mode == SOFT:
            return classes.decide(levels, threshold)
        unknown = (levels == NODATA).any(axis=0)
        mask = np.full(levels.shape[1:], IGNORE, np.uint8)
        if self.mode == NEGATIVES:
            mask[:] = 1 - classes.mapped_index
        elif classes.by_threshold:
            level, mapped = _mapped(levels, classes), classes.mapped_index
            mask[level <= self.low * SCALE] = 1 - mapped
            mask[level >= level_of(self.high)] = mapped
        else:
            sure = levels.max(axis=0) >= level_of(self.high)
            mask[sure] = levels.argmax(axis=0).astype(np.uint8)[sure]
        mask[unknown] = IGNORE
        return mask

    def is_empty(self, largest: int, presence: float) -> bool:
        """Whether a scene is a negative: both by its largest 8-bit value and by its presence."""
        return largest <= self.low * SCALE and presence < self.presence


def _mapped(levels: Levels, classes: Classes) -> Levels:
    """The mapped class's probabilities (H, W) of two classes, in one band or two."""
    band: Levels = levels[0 if len(levels) == 1 else classes.mapped_index]
    return band


def largest_mapped(levels: Levels, classes: Classes) -> int:
    """The largest 8-bit probability of the mapped class where it is known; −1 where nowhere is."""
    level = _mapped(levels, classes)
    known = level[level != NODATA]
    return int(known.max()) if known.size else -1
