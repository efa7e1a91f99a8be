"""What a folder of pseudo-labels says of itself: whose they are, and what that network had seen.

A student that holds out ground from which the teacher learnt would be scored on what it was told:
training reads this record beside the tiles and refuses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from builtup.runs.records import Record
from builtup.training.learnt_ground import LearntGround

__all__ = ["PseudoRecord"]


@dataclass(frozen=True, kw_only=True)
class PseudoRecord(Record):
    """How pseudo-labels were made.

    `teacher` is the training run of the network that gave them and `inference` the run of its maps;
    `learnt` the ground that it has learnt from, None where that cannot be known. `mode` is soft,
    hard, tags or negatives, `source` scene or city; `low`, `high`, `max_std`, `keep` and
    `per_class` are probabilities. `threshold` is that
    of the teacher's maps, chosen on `tuned_on`. `kept` is the share of the valid pixels that have a
    label, `built_up` the mapped class's among them, `scenes` how many; in mode negatives `left_out`
    were not sure to be empty, by the probability `presence` of a presence head or by their pixels.
    `mean` is the teacher's mean probability over the valid pixels: of the mapped class, or of each
    of more than two. `quality` are scores of the
    labels against ground truth, by city and pooled, where that was given; in mode tags `stages` are
    those of what the maps say (raw), of what tags leave of it (tags), and of the labels (kept).
    """

    NAME: ClassVar[str] = "pseudo.json"
    PROBLEM: ClassVar[str] = "no record of pseudo-labels"
    REMEDY: ClassVar[str] = "run pseudo_labels again"

    teacher: str = ""
    inference: str = ""
    learnt: LearntGround | None = None
    mode: str = ""
    source: str = ""
    low: float | None = None
    high: float | None = None
    max_std: float | None = None
    presence: float | None = None
    keep: float | None = None
    per_class: Mapping[str, float] | None = None
    threshold: float | None = None
    tuned_on: tuple[str, ...] = ()
    scenes: int = 0
    left_out: int = 0
    kept: float = 0.0
    built_up: float = 0.0
    mean: tuple[float, ...] = ()
    quality: Mapping[str, Mapping[str, float | None]] | None = None
    stages: Mapping[str, Mapping[str, float | None]] | None = None

    @classmethod
    def _parsed(cls, key: str, value: Any) -> Any:
        return LearntGround.from_json(value) if key == "learnt" else super()._parsed(key, value)
