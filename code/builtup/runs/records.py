"""What a run writes of itself, as frozen dataclasses: read, changed and written in one place.

Each record is a JSON file of a fixed name in the run's folder (or beside the predictions in raw/).
It holds the version of its form, which rises where a reader of the version before would take it
for something else; a file without one is older than versions and has the form of the first. What
another version says beyond that is kept, and written again where a record is changed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from builtup.errors import InputError
from builtup.jobs.files import write_text_atomically
from builtup.sensors.radar.names import current_key, same_city

__all__ = [
    "MARK",
    "TRANSDUCTIVE",
    "EnsembleMember",
    "EnsembleRecord",
    "InferenceRecord",
    "InheritedThreshold",
    "Part",
    "Record",
    "Summary",
    "Tuned",
    "member_runs",
    "prediction_record",
]


#: Of scores on ground that a network has seen, and of ground whose scenes it learnt from, but no
#: label of theirs.
MARK, TRANSDUCTIVE = "tuned on", "transductive"


class _Refused(ValueError):
    """What a record says makes no sense; the message is the problem as the user reads it."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A JSON object as a dataclass; `extra` is what it says that its class does not know.

    Lists are tuples here. A field that is None was not said, and is not written.
    """

    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """What `to_json` gave; raises TypeError, ValueError or AttributeError for other values."""
        names = {of.name for of in fields(cls)} - {"extra"}
        known = {key: cls._parsed(key, value) for key, value in values.items() if key in names}
        return cls(**known, extra={key: values[key] for key in values if key not in names})

    @classmethod
    def _parsed(cls, key: str, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    def to_json(self) -> dict[str, Any]:
        """As JSON values, in the order of the fields."""
        own = {of.name: getattr(self, of.name) for of in fields(self) if of.name != "extra"}
        said = {key: _plain(value) for key, value in own.items() if self._is_said(key, value)}
        return {**said, **self.extra}

    def _is_said(self, key: str, value: Any) -> bool:
        return value is not None


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.to_json() if isinstance(value, Part) else value


@dataclass(frozen=True, kw_only=True)
class Record(Part):
    """A JSON file of a fixed name in a run's folder, with the version of its form."""

    NAME: ClassVar[str]
    VERSION: ClassVar[int] = 1
    PROBLEM: ClassVar[str] = "malformed"
    REMEDY: ClassVar[str] = "run the inference again"

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The record in a folder; InputError where there is none, or it makes no sense."""
        path = folder / cls.NAME
        try:
            return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
        except _Refused as e:
            raise InputError(path, str(e), cls.REMEDY) from e
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as e:
            raise InputError(path, f"{cls.PROBLEM} ({e})", cls.REMEDY) from e

    @classmethod
    def find(cls, folder: Path) -> Self | None:
        """The record in a folder, None where there is no such file; InputError as `read`."""
        path = folder / cls.NAME
        return cls.read(folder) if os.path.isfile(path) else None  # noqa: PTH113, or a long name

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """As `Part.from_json`, of this version or one before."""
        version = int(values.get("version", 1))
        if version > cls.VERSION:
            raise _Refused(f"of version {version}, where {cls.VERSION} is the latest known here")
        return super().from_json({key: values[key] for key in values if key != "version"})

    def write(self, folder: Path) -> None:
        """Write the file, whole or not at all."""
        values = {"version": self.VERSION, **self.to_json()}
        write_text_atomically(folder / self.NAME, json.dumps(values, indent=1) + "\n")


# --- a training ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class InheritedThreshold(Part):
    """A threshold, the ground that chose it, and the run or folder of the cross-validation.

    `overrides` are those that its folds were trained with.
    """

    threshold: float
    tuned_on: tuple[str, ...]
    source: str
    overrides: str = ""


@dataclass(frozen=True, kw_only=True)
class Summary(Record):
    """What a training says of itself: its facts, its best validation, and what was chosen on what.

    `soup` is what it says of its last epochs' mean, with a threshold of its own. A threshold is one
    of the building probability, in [0, 1]; grounds are cities, or blocks of one (`<city>/r0c1`).
    `texture` is that of the tiles learnt from (`builtup.sensors.texture`), `share` that of the
    mapped class there, `metres` the side of their pixels where the sensor has none of its own.
    `settings_tuned_on` is the ground of the search that chose the settings. The last come after the
    training: a fitted temperature, the figures of a cross-validation.
    """

    NAME: ClassVar[str] = "summary.json"
    PROBLEM: ClassVar[str] = "no summary of a training"
    REMEDY: ClassVar[str] = "copy the run again"
    config: str | None = None
    val_fold: int | str | None = None
    val_cities: tuple[str, ...] | None = None
    trained_on: tuple[str, ...] | None = None
    transductive: tuple[str, ...] | None = None
    num_classes: int | None = None
    class_names: tuple[str, ...] | None = None
    class_roles: Mapping[str, Any] | None = None
    seed: int | None = None
    git_commit: str | None = None
    inherited_threshold: InheritedThreshold | None = None
    soup: Mapping[str, Any] | None = None
    finished: bool | None = None
    epochs: int | None = None
    iterations: int | None = None
    best_iteration: int | None = None
    threshold: float | None = None
    threshold_f1: float | None = None
    threshold_tuned_on: tuple[str, ...] | None = None
    settings_tuned_on: tuple[str, ...] | None = None
    metrics: Mapping[str, float | None] | None = None
    confusion: Mapping[str, Any] | None = None
    texture: tuple[float, ...] | None = None
    share: float | None = None
    metres: float | None = None
    threshold_ground: str | None = None
    temperature: float | None = None
    temperature_tuned_on: tuple[str, ...] | None = None
    held_out_scores: Mapping[str, float | None] | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """As `Record.from_json`; a threshold must be one."""
        if "threshold" in values and not 0 <= float(values["threshold"]) <= 1:
            raise _Refused(f"its threshold is {values['threshold']}, not from 0 to 1")
        return super().from_json(values)

    @classmethod
    def _parsed(cls, key: str, value: Any) -> Any:
        if key == "inherited_threshold":
            return InheritedThreshold.from_json(value)
        return super()._parsed(key, value)

    def _is_said(self, key: str, value: Any) -> bool:
        if key in {"val_fold", "threshold_f1"} and self.finished is not None:
            return True  # none was held out, or validated on: null
        if key == "temperature" and self.temperature_tuned_on is not None:
            return True  # none could be fitted
        return super()._is_said(key, value)

    @property
    def tuned_on(self) -> dict[str, tuple[str, ...]]:
        """The ground by what was chosen on it: threshold, temperature, settings."""
        grounds = {
            "threshold": self.threshold_tuned_on,
            "temperature": self.temperature_tuned_on,
            "settings": self.settings_tuned_on,
        }
        return {what: ground for what, ground in grounds.items() if ground is not None}

    @property
    def seen(self) -> tuple[str, ...]:
        """All ground that weights were learnt from, or threshold, settings, … chosen on."""
        grounds = (*self.tuned_on.values(), self.trained_on or (), self.val_cities or ())
        return tuple(sorted({name for ground in grounds for name in ground}))

    def of_soup(self) -> Self:
        """What holds for the weights of the soup: its threshold, where it has one."""
        own = (self.soup or {}).get("threshold")
        return self if own is None else replace(self, threshold=float(own))


@dataclass(frozen=True)
class Tuned:
    """Cities, or blocks of one (`<city>/r0c1`), that were tuned on; the fold that was predicted.

    Pixels that chose the weights (by training, or as the best checkpoint), the threshold or the
    temperature of a network say little of how it does elsewhere. Their scores carry the mark. So
    do those of `transductive` cities, whose scenes it has seen without their labels.
    """

    names: tuple[str, ...] = ()
    held_out: str = ""
    transductive: tuple[str, ...] = ()

    def mark(self, city: str) -> str:
        """What a score of the city's predictions is called: `MARK`, `TRANSDUCTIVE` or nothing."""
        if self.on(city):
            return MARK
        return TRANSDUCTIVE if any(same_city(city, name) for name in self.transductive) else ""

    def on(self, city: str) -> bool:
        """Whether a score of the city's predictions is one of ground tuned on.

        Where a block is held out, the other blocks of its city are not predicted.
        """
        held_out = current_key(self.held_out)
        held_city, _, held_block = held_out.partition("/")
        for name in map(current_key, self.names):
            place, _, block = name.partition("/")
            other_block = block and held_block and name != held_out and held_city == place
            if same_city(city, place) and not other_block:
                return True
        return False


# --- predictions --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class InferenceRecord(Record):
    """What the pixels of an inference depend on, and the run that began it (None: not said).

    `weights` is the sha256 of the network's state, `window` and `overlap` are pixels, `held_out`
    names the fold that was predicted (empty: everything), `temperature` divided the logits.
    `adapt` says what the network's normalisation was fitted to, where that was looked at (with its
    weight, `auto:0.8`), `fold` how several scales became one, with weights from `fold_tuned_on`.
    `reference_pixel` is that of pixels, in metres, in which tiles were seen that have far others.
    `doubts` are what speaks against the model, in words for whoever uses its maps.
    """

    NAME: ClassVar[str] = "inference.json"

    run_id: str | None = None
    training_run: str = ""
    weights: str = ""
    classes: tuple[str, ...] = ()
    tta: str = ""
    window: int | None = None
    overlap: int | None = None
    blend: str = ""
    held_out: str = ""
    temperature: float | None = None
    backend: str = "torch"  # once there was no other
    adapt: str | None = None
    fold: str | None = None
    fold_tuned_on: tuple[str, ...] | None = None
    reference_pixel: float | None = None
    doubts: tuple[str, ...] | None = None

    def _is_said(self, key: str, value: Any) -> bool:
        return key == "temperature" or super()._is_said(key, value)

    def settings(self) -> dict[str, Any]:
        """What the pixels depend on, as JSON values: all but the run and the doubts."""
        beside = {"run_id", "doubts"}
        return {key: value for key, value in self.to_json().items() if key not in beside}

    def differences(self, other: InferenceRecord) -> dict[str, tuple[Any, Any]]:
        """Ours and the other's value of each setting in which they differ."""
        own, its = self.settings(), other.settings()
        keys = [*own, *(key for key in its if key not in own)]
        return {key: (own.get(key), its.get(key)) for key in keys if own.get(key) != its.get(key)}


@dataclass(frozen=True, kw_only=True)
class EnsembleMember(Part):
    """One of the sets of predictions of a mean; `run_id` names several, by commas, of a mean."""

    name: str = ""
    run_id: str = ""
    weight: float | None = None
    threshold: float | None = None
    temperature: float | None = None

    @classmethod
    def _parsed(cls, key: str, value: Any) -> Any:
        return "" if key == "run_id" and value is None else value

    def _is_said(self, key: str, value: Any) -> bool:
        return True

    @property
    def runs(self) -> tuple[str, ...]:
        """The inference runs behind it."""
        return tuple(filter(None, self.run_id.split(",")))


@dataclass(frozen=True, kw_only=True)
class EnsembleRecord(Record):
    """What a mean of several sets of predictions is made of, and the ground it was tuned on.

    `left_out` are the runs that had no part in a scene, by scene, since they were blank there.
    """

    NAME: ClassVar[str] = "ensemble.json"

    members: tuple[EnsembleMember, ...] = ()
    threshold: float | None = None
    temperature: float | None = None
    weights_tuned_on: tuple[str, ...] = ()
    threshold_tuned_on: tuple[str, ...] | None = None
    left_out: Mapping[str, Sequence[str]] | None = None
    tuned_on: tuple[str, ...] = ()

    @classmethod
    def _parsed(cls, key: str, value: Any) -> Any:
        if key == "members":
            return tuple(EnsembleMember.from_json(member) for member in value)
        return super()._parsed(key, value)

    def _is_said(self, key: str, value: Any) -> bool:
        return key not in {"threshold_tuned_on", "left_out"} or value is not None

    @property
    def runs(self) -> tuple[str, ...]:
        """The inference runs that it is the mean of, each once."""
        return tuple(dict.fromkeys(run for member in self.members for run in member.runs))


def prediction_record(folder: Path) -> EnsembleRecord | InferenceRecord | None:
    """What an ensemble or an inference wrote beside raw/; None where there is nothing.

    InputError where it is damaged.
    """
    return EnsembleRecord.find(folder) or InferenceRecord.find(folder)


def member_runs(folder: Path) -> tuple[str, ...]:
    """The runs that the predictions in `folder` are the mean of; none where they are no mean."""
    record = EnsembleRecord.find(folder)
    return () if record is None else record.runs
