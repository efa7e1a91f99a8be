"""Fitted weights of the scales of a cascade: the file that `cascade_fit` writes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from builtup.errors import ConfigError, InputError
from builtup.runs.records import Record
from builtup.runs.results import resolve_results

__all__ = ["ScaleWeights"]


@dataclass(frozen=True, kw_only=True)
class ScaleWeights(Record):
    """How much each scale says of each class.

    `weights` has a row for each of `scales`, from the coarsest, and in it a number for each of
    `classes`. They were fitted on `pixels` of the sites `tuned_on`, of predictions with the network
    `network` (the sha256 of its weights); `miou` is the mean IoU there of what they map,
    `plain_miou` that of the finest scale alone.
    """

    NAME: ClassVar[str] = "scale_weights.json"
    REMEDY: ClassVar[str] = "run cascade_fit again"

    scales: tuple[float, ...] = ()
    classes: tuple[str, ...] = ()
    weights: tuple[tuple[float, ...], ...] = ()
    network: str = ""
    tuned_on: tuple[str, ...] = ()
    pixels: int | None = None
    miou: float | None = None
    plain_miou: float | None = None

    @classmethod
    def _parsed(cls, key: str, value: Any) -> Any:
        if key == "weights":
            return tuple(tuple(float(weight) for weight in row) for row in value)
        return super()._parsed(key, value)

    @property
    def digest(self) -> str:
        """What tells one set of weights from another: the first digits of a sha256."""
        text = json.dumps([self.scales, self.weights])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @classmethod
    def named(cls, where: str) -> ScaleWeights:
        """Those of a file, of the folder that holds it, or of an inference run.

        Raises InputError or RunError where there are none, ConfigError where they make no sense.
        """
        path = Path(where)
        if path.is_file():
            folder = path.parent
            if path.name != cls.NAME:
                raise ConfigError(f"fold=logits:{where}: no {cls.NAME}; {cls.REMEDY}")
        else:
            folder = path if path.is_dir() else resolve_results("", where).folder
        if not (folder / cls.NAME).is_file():
            raise InputError(folder, f"no {cls.NAME} in it", "fit its scales by cascade_fit")
        found = cls.read(folder)
        shape = {len(row) for row in found.weights}
        if len(found.weights) != len(found.scales) or shape != {len(found.classes)}:
            raise ConfigError(
                f"fold=logits:{where}: {len(found.weights)} rows of weights for "
                f"{len(found.scales)} scales and {len(found.classes)} classes; {cls.REMEDY}"
            )
        return found
