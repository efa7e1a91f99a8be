"""Each side's own best setting: a small search that is recorded beside the result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import Side, SideFailed, measure_clean

__all__ = ["BATCHES", "THREADS", "Trial", "best"]

BATCHES = (1, 4, 16)
THREADS = (1, 2)


@dataclass(frozen=True)
class Trial:
    """One run of a side: its rate (0 where it failed) and why it failed."""

    side: Side
    rate: float
    failure: str

    def as_json(self) -> dict[str, Any]:
        """What is recorded of it."""
        found: dict[str, Any] = {"setting": self.side.setting, "rate": self.rate}
        return {**found, "failure": self.failure} if self.failure else found


def best(sides: Iterable[Side], inputs: Sequence[Path] = ()) -> tuple[Trial, list[Trial]]:
    """Run every side once; the fastest and all of them. SideFailed when none ran.

    Sides may be made while the search goes on: the next is asked for when the last has run.
    """
    trials = [_tried(side, inputs) for side in sides]
    fastest = max(trials, key=lambda trial: trial.rate)
    if not fastest.rate:
        raise SideFailed(fastest.failure)
    return fastest, trials


def _tried(side: Side, inputs: Sequence[Path]) -> Trial:
    try:
        return Trial(side, measure_clean(side, inputs).rate, "")
    except SideFailed as e:
        return Trial(side, 0.0, str(e).splitlines()[0])
