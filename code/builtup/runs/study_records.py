"""What studies say of themselves: a cross-validation, a search for settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any, ClassVar

from builtup.errors import BuiltupError, ConfigError, InputError
from builtup.runs import tracking
from builtup.runs.records import Part, Record, Tuned

__all__ = [
    "FAILED",
    "FINISHED",
    "PRUNED",
    "Axis",
    "CrossValidation",
    "SearchRecord",
    "TrialLine",
    "ground_of_search",
]

#: How a trial ended: by its own last epoch, by a pruner, by an error.
FINISHED, PRUNED, FAILED = "finished", "pruned", "failed"


@dataclass(frozen=True, kw_only=True)
class CrossValidation(Record):
    """What a cross-validation says of itself; `folds` are its lines of folds.csv.

    It lies in the folder FOLDER of its run's artifacts. `ground` are the folds held out, `weights`
    which of each fold's were scored, `figures` and `calibration` the scores over all folds.
    `settings_tuned_on` is the ground of the search that chose the settings.
    """

    NAME: ClassVar[str] = "cross_validation.json"
    PROBLEM: ClassVar[str] = "no cross-validation"
    REMEDY: ClassVar[str] = "give what cross_validate wrote, or its run"
    FOLDER: ClassVar[str] = "cross_validation"

    config: str = ""
    overrides: str | None = None
    kind: str | None = None
    ground: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None
    weights: tuple[str, ...] | None = None
    folds: tuple[Mapping[str, Any], ...] | None = None
    figures: tuple[Mapping[str, Any], ...] | None = None
    calibration: Mapping[str, float] | None = None
    settings_tuned_on: tuple[str, ...] | None = None
    notes: tuple[str, ...] | None = None

    @property
    def tuned_folds(self) -> tuple[str, ...]:
        """The folds held out that chose the settings: scores there are not of unseen ground."""
        ground = self.settings_tuned_on or ()
        lines = {(line["fold"], line["city"]) for line in self.folds or ()}
        return tuple(sorted(fold for fold, city in lines if Tuned(ground, fold).on(city)))

    def thresholds(self) -> dict[str, float]:
        """The threshold of each fold, the mean over its seeds."""
        found: dict[str, list[float]] = {}
        for fold in self.folds or ():
            found.setdefault(fold["fold"], []).append(float(fold["threshold"]))
        return {name: fmean(values) for name, values in found.items()}


@dataclass(frozen=True, kw_only=True)
class Axis(Part):
    """What a search chose a parameter from: numbers from `low` to `high`, or `choices`."""

    name: str = ""
    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Any, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class TrialLine(Part):
    """One trial: how it ended, its value, what it tried, as parameters and as overrides.

    `value` is the greatest of its validations, over several folds their mean; of a pruned trial
    what it had reached. `validations` are what was reached after each, `runs` its trainings,
    `reason` why it failed.
    """

    number: int = 0
    state: str = ""
    value: float | None = None
    overrides: str = ""
    params: Mapping[str, Any] | None = None
    validations: tuple[float, ...] = ()
    runs: tuple[str, ...] = ()
    minutes: float | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class SearchRecord(Record):
    """What a search says of itself, rewritten after each trial.

    It lies in the folder FOLDER of its run's artifacts. `ground` are the folds whose validation
    chose: what is trained with its settings is tuned on them. `train` is the config that its
    settings are for, `lengths` overrides of how long it trains, `trials` what has ended, in the
    order of their numbers, `killed` how many were asked again because the search was stopped,
    `importance` each parameter's share of what makes a trial good.
    """

    NAME: ClassVar[str] = "search.json"
    PROBLEM: ClassVar[str] = "no search"
    REMEDY: ClassVar[str] = "give what search wrote, or its run"
    FOLDER: ClassVar[str] = "search"

    config: str = ""
    train: str | None = None
    lengths: str | None = None
    overrides: str | None = None
    metric: str = ""
    ground: tuple[str, ...] = ()
    pruner: str | None = None
    startup: int | None = None
    seed: int | None = None
    wanted: int | None = None
    axes: tuple[Axis, ...] = ()
    trials: tuple[TrialLine, ...] = ()
    killed: int = 0
    importance: Mapping[str, float] | None = None

    @classmethod
    def _parsed(cls, key: str, value: Any) -> Any:
        if key == "axes":
            return tuple(Axis.from_json(axis) for axis in value)
        if key == "trials":
            return tuple(TrialLine.from_json(line) for line in value)
        return super()._parsed(key, value)

    @property
    def best(self) -> TrialLine | None:
        """The finished trial of the greatest value, the first of equals; None where none is."""
        finished = [t for t in self.trials if t.state == FINISHED and t.value is not None]
        return max(
            finished,
            key=lambda line: line.value if line.value is not None else -math.inf,
            default=None,
        )


def ground_of_search(tuned_by: str) -> tuple[str, ...]:
    """The folds that a search chose settings on; `tuned_by` is its run. ConfigError else."""
    try:
        folder = tracking.run_artifacts(tuned_by) / SearchRecord.FOLDER
        return SearchRecord.read(folder).ground
    except BuiltupError as e:
        problem = e.problem if isinstance(e, InputError) else str(e)
        raise ConfigError(
            f"tuned_by = {tuned_by}: no search can be read ({problem}); give the run of the "
            "search that chose these settings, or leave it out if none did"
        ) from e
