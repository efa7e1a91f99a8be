"""What a set of predictions was tuned on: ground whose scores are no test.

Pixels that chose the weights (by training, or as the best checkpoint), the threshold or the
temperature of a network say little of how it does elsewhere. Their scores carry the mark.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builtup.errors import BuiltupError, InputError
from builtup.runs.results import RECORD

__all__ = ["MARK", "Tuned", "tuned_ground"]

log = logging.getLogger(__name__)

MARK = "tuned on"
#: What an inference and an ensemble write beside raw/.
INFERENCE_JSON, ENSEMBLE_JSON = RECORD, "ensemble.json"
#: Keys of a training's summary.json that name cities or blocks.
_KEYS = ("threshold_tuned_on", "temperature_tuned_on", "trained_on", "val_cities")


@dataclass(frozen=True)
class Tuned:
    """Cities, or blocks of one (`<city>/r0c1`), that were tuned on; the fold that was predicted."""

    names: tuple[str, ...] = ()
    held_out: str = ""

    def on(self, city: str) -> bool:
        """Whether a score of the city's predictions is one of ground tuned on.

        Where a block is held out, the other blocks of its city are not predicted.
        """
        for name in self.names:
            place, _, block = name.partition("/")
            other_block = block and name != self.held_out and self.held_out.startswith(f"{city}/")
            if place == city and not other_block:
                return True
        return False


def tuned_ground(folder: Path, run_id: str | None = None) -> Tuned:
    """What the predictions in `folder` were tuned on, by its own record or its training's summary.

    Nothing is known of predictions that no inference of ours wrote; where there was one, `run_id`,
    and its record is gone, a warning says so.
    """
    said = read_record(folder)
    if not said and run_id:
        log.warning(
            "what run %s was tuned on cannot be known: no %s in %s", run_id, INFERENCE_JSON, folder
        )
    if "tuned_on" in said:
        return Tuned(tuple(said["tuned_on"]), said.get("held_out", ""))
    run = said.get("training_run")
    if not run:
        return Tuned()
    summary = _summary(str(run))
    names = {name for key in _KEYS for name in summary.get(key) or ()}
    return Tuned(tuple(sorted(names)), said.get("held_out", ""))


def read_record(folder: Path) -> Mapping[str, Any]:
    """What the inference (or an ensemble) wrote beside raw/; empty where there is nothing."""
    for name in (ENSEMBLE_JSON, INFERENCE_JSON):
        path = folder / name
        if path.is_file():
            try:
                said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as e:
                raise InputError(path, f"malformed ({e})", "run the inference again") from e
            return said
    return {}


def _summary(run: str) -> Mapping[str, Any]:
    from builtup.training.checkpoints import find_artifacts

    try:
        path = find_artifacts(run)[0] / "summary.json"
        found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (BuiltupError, OSError, ValueError) as e:
        log.warning("what training run %s was tuned on cannot be known (%s)", run, e)
        return {}
    return found
