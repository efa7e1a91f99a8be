"""How pseudo-labels are made of 8-bit probabilities, pixel by pixel and scene by scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builtup.errors import BuiltupError, ConfigError, InputError
from builtup.geo.probability import IGNORE, NODATA, SCALE, level_of
from builtup.runs.prediction_tags import PredictionTags
from builtup.sensors.classes import Classes

__all__ = [
    "HARD",
    "MODES",
    "NEGATIVES",
    "SOFT",
    "SOURCES",
    "TAGS",
    "LabelRule",
    "by_tags",
    "largest_mapped",
    "least_by_class",
]

#: Probabilities as they are; classes where these are sure; the same of those that tags allow;
#: scenes that are sure to be empty.
SOFT, HARD, TAGS, NEGATIVES = "soft", "hard", "tags", "negatives"
MODES = (SOFT, HARD, TAGS, NEGATIVES)
#: Each scene's own map, or that of its city.
SOURCES = ("scene", "city")

Levels = NDArray[np.uint8]


@dataclass(frozen=True)
class LabelRule:
    """How labels are made of probabilities.

    `low` and `high` are probabilities of the mapped class below and above which mode hard is sure;
    of more than two classes the largest must reach `high`. Mode negatives keeps a scene whose
    presence (`PredictionTags.presence`) is below `presence` and of which no pixel is above `low`.
    Mode tags takes the class that is the most probable of those that the tags of a pixel's cell
    allow, where its probability among these is at least `keep`, or as `per_class` says of it.
    `max_std` None: dates may disagree. Raises BuiltupError for settings that make no sense.
    """

    mode: str
    source: str
    low: float
    high: float
    max_std: float | None
    presence: float = 0.2
    keep: float = 0.9
    per_class: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, known in (("mode", MODES), ("source", SOURCES)):
            if getattr(self, name) not in known:
                raise BuiltupError(
                    f"{name}={getattr(self, name)}: unknown; use {', '.join(known[:-1])} or "
                    f"{known[-1]}"
                )
        if not (0 <= self.low <= 1 and 0 <= self.high <= 1):
            raise BuiltupError(f"low={self.low:g}, high={self.high:g}: expected probabilities")
        if self.mode == HARD and self.low >= self.high:
            raise BuiltupError(
                f"low={self.low:g}, high={self.high:g}: expected probabilities, low below high"
            )
        if not 0 < self.presence <= 1:
            raise BuiltupError(f"presence={self.presence:g}: expected a probability above 0")
        if not 0 <= self.keep <= 1:
            raise BuiltupError(f"keep={self.keep:g}: expected a probability")
        if self.per_class and self.mode != TAGS:
            raise BuiltupError(f"per_class: is of mode={TAGS}; give that, or no per_class")
        if self.max_std is not None and self.source != "city":
            raise BuiltupError(
                "max_std: is of the dates of a city; give source=city, or no max_std"
            )
        if self.mode == NEGATIVES and self.source != "scene":
            raise BuiltupError(
                "mode=negatives: what a presence head says is of scenes; give source=scene"
            )

    @property
    def settings(self) -> dict[str, Any]:
        """What labels of this mode depend on, as JSON values."""
        of_tags = {"keep": self.keep, "per_class": dict(self.per_class)}
        others = {name: value for name, value in vars(self).items() if name not in of_tags}
        return others | of_tags if self.mode == TAGS else others

    def least(self, classes: Classes) -> NDArray[np.float64]:
        """The probability (K,) from which mode tags believes each class; ConfigError for names
        that are none of them."""
        if strangers := [name for name in self.per_class if name not in classes.names]:
            raise ConfigError(
                f"per_class: no class {', '.join(strangers)}; choose from "
                f"{', '.join(classes.names)}"
            )
        return np.array([self.per_class.get(name, self.keep) for name in classes.names])

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
        Those of mode tags are `by_tags`, from `least` on.
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


def by_tags(
    levels: Levels, classes: Classes, allowed: NDArray[np.bool_]
) -> tuple[Levels, NDArray[np.float64]]:
    """The most probable class (H, W) of those that are allowed (K, H, W), and its probability.

    Probabilities are those of the allowed classes alone, which sum to 1, as a softmax has them
    where the others' logits are −∞. 255 where none is allowed, or no map.
    """
    each = levels
    if classes.by_threshold:
        mapped = _mapped(levels, classes)
        each = np.stack(
            (mapped, SCALE - mapped) if classes.mapped_index == 0 else (SCALE - mapped, mapped)
        )
    left = np.where(allowed, each, np.uint8(0))
    total = left.sum(axis=0, dtype=np.int64)
    label = left.argmax(axis=0).astype(np.uint8)
    share = left.max(axis=0) / np.maximum(total, 1)
    alone = allowed.sum(axis=0) == 1  # certain, even where 8 bits say that it is not there
    label[alone] = allowed.argmax(axis=0)[alone]
    share[alone] = 1.0
    label[(levels == NODATA).any(axis=0) | ((total == 0) & ~alone)] = IGNORE
    return label, share


def least_by_class(text: str) -> dict[str, float]:
    """Probabilities by class, such as "car=0.8;tree=0.7"; ConfigError for other texts."""
    found = {}
    for part in filter(None, (word.strip() for word in text.split(";"))):
        name, _, value = part.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not name or not 0 <= number <= 1:
            raise ConfigError(
                f"per_class={text}: expected classes and probabilities, such as car=0.8;tree=0.7"
            )
        found[name.strip()] = number
    return found


def _mapped(levels: Levels, classes: Classes) -> Levels:
    """The mapped class's probabilities (H, W) of two classes, in one band or two."""
    band: Levels = levels[0 if len(levels) == 1 else classes.mapped_index]
    return band


def largest_mapped(levels: Levels, classes: Classes) -> int:
    """The largest 8-bit probability of the mapped class where it is known; −1 where nowhere is."""
    level = _mapped(levels, classes)
    known = level[level != NODATA]
    return int(known.max()) if known.size else -1
