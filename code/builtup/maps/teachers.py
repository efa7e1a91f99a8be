"""Whose predictions a set is: the trainings behind it, and the ground that these learnt from."""

from __future__ import annotations

import logging
from dataclasses import replace

from builtup.errors import BuiltupError
from builtup.runs.lineage import Training, chain_of
from builtup.runs.records import EnsembleRecord, InferenceRecord, prediction_record
from builtup.runs.results import Results
from builtup.training.learnt_ground import LearntGround

__all__ = ["inference_of", "teacher_of"]

log = logging.getLogger(__name__)


def inference_of(results: Results) -> str:
    """The inference run of a set of predictions; of a mean those, by commas."""
    if results.run_id:
        return results.run_id
    record = prediction_record(results.folder)
    if isinstance(record, EnsembleRecord):
        return ",".join(record.runs)
    return "" if record is None else record.run_id or ""


def teacher_of(results: Results) -> tuple[str, LearntGround | None]:
    """The training run behind a set of predictions (of a mean: those), and what it learnt from.

    None where that cannot be known of any; `LearntGround.unknown` where it can of some.
    """
    record = prediction_record(results.folder)
    trainings: list[Training | None] = []
    if isinstance(record, InferenceRecord):
        trainings = [Training.named(record.training_run)] if record.training_run else []
    elif record is not None:
        trainings = [_training_of(run) for run in record.runs]
    learnt = [None if one is None else _learnt(one) for one in trainings]
    names = ",".join(one.name for one in trainings if one is not None)
    known = [ground for ground in learnt if ground is not None]
    if not learnt or len(known) < len(learnt):
        log.warning(
            "%s: what its network (%s) has learnt from is not %sknown: no training can be kept "
            "from holding out that ground",
            *(results.folder, names or "unknown", "all " if known else ""),
        )
    if not known:
        return names, None
    first, *others = known
    for ground in others:
        first = first.and_of(ground)
    return names, first if len(known) == len(learnt) else replace(first, unknown=True)


def _training_of(run_id: str) -> Training | None:
    """The training behind a member of a mean; None where its run is not to be found."""
    try:
        return chain_of(run_id).training
    except BuiltupError as e:
        log.warning("%s", e)
        return None


def _learnt(training: Training) -> LearntGround | None:
    if training.description is not None:  # one file: of simulated ground, which nobody holds out
        return LearntGround()
    return None if training.folder is None else LearntGround.behind(training.folder)
