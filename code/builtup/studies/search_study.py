"""The file of a search: an Optuna study in SQLite, used by one search at a time.

What was running when a search was killed is marked as failed and asked again, with the same
parameters; what had ended stays.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.exceptions import OptunaError
from optuna.pruners import BasePruner
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from builtup.errors import InputError, one_line
from builtup.jobs.files import output_error

__all__ = ["OVERRIDES", "REASON", "RUNS", "STUDY_DB", "ended_trials", "killed_trials", "open_study"]

log = logging.getLogger(__name__)

STUDY_DB, _LOCK = "study.db", "study.lock"
#: What a trial says of itself in the study: a failed one without a reason was killed.
OVERRIDES, RUNS, REASON = "overrides", "runs", "reason"
#: The number of the trial that it repeats.
_REPEATS = "repeats"
_IDENTITY = "identity"
#: Seconds that another program may hold the file.
_PATIENCE = 20


@contextmanager
def open_study(
    folder: Path, name: str, identity: Mapping[str, str], pruner: BasePruner
) -> Iterator[optuna.Study]:
    """The study in `folder`, a new one where there is none; nobody else has it meanwhile.

    `identity` says by what (settings, data, …) its trials can be compared. Raises InputError, in
    one line, where another search has it, it is of another identity, or it cannot be used.
    """
    path = folder / STUDY_DB
    with _locked(folder), _storage(path) as storage:
        with _usable(path):
            study = optuna.create_study(
                study_name=name,
                storage=storage,
                direction="maximize",
                pruner=pruner,
                load_if_exists=True,
            )
            _require_same(study, identity, path)
            _ask_again(study)
        with _usable(path, (OptunaError,)):  # MLflow's database has errors of its own
            yield study


@contextmanager
def _storage(path: Path) -> Iterator[RDBStorage]:
    with _usable(path):
        options = {"connect_args": {"timeout": _PATIENCE}}
        storage = RDBStorage(f"sqlite:///{path.absolute()}", engine_kwargs=options)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder: the kernel lets it go when this process ends, however it does."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / _LOCK).open("a+", encoding="utf-8")
    except OSError as e:
        raise output_error(folder, e) from e
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            file.seek(0)
            raise InputError(
                folder / STUDY_DB,
                f"in use by another search (process {file.read().strip() or 'unknown'})",
                "wait for it, or give this one another output",
            ) from e
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


@contextmanager
def _usable(
    path: Path, errors: tuple[type[Exception], ...] = (SQLAlchemyError, OptunaError)
) -> Iterator[None]:
    """InputError for what SQLite or Optuna cannot do with the file."""
    try:
        yield
    except errors as e:
        text = one_line(e.__cause__ or e, 160).split(" [SQL: ")[0]
        remedy = "give this search another output"
        if "locked" in text:
            remedy = "close what else has it open (a dashboard), and run the same command again"
        raise InputError(path, f"the study cannot be used ({text})", remedy) from e


def _require_same(study: optuna.Study, identity: Mapping[str, str], path: Path) -> None:
    known = study.user_attrs.get(_IDENTITY)
    if known is None:
        study.set_user_attr(_IDENTITY, json.dumps(dict(identity)))
        return
    before = json.loads(known)
    differ = [what for what, value in identity.items() if before.get(what) != value]
    if differ:
        raise InputError(
            path,
            f"a search of the same name with other {' and '.join(differ)}: its trials cannot be "
            "compared with new ones",
            "give this search another output, or ask for what that one was asked for",
        )


def _ask_again(study: optuna.Study) -> None:
    """Mark what was running when the search was killed, and let it be asked again."""
    trials = study.get_trials(deepcopy=False)
    repeated = {trial.user_attrs.get(_REPEATS) for trial in trials}
    for trial in trials:
        if trial.state != TrialState.RUNNING:
            continue
        if REASON not in trial.user_attrs:
            log.info("trial %d was running when the search stopped: asked again", trial.number)
            if trial.number not in repeated:  # else killed right here before
                study.enqueue_trial(trial.params, user_attrs={_REPEATS: trial.number})
        study.tell(trial.number, state=TrialState.FAIL)


def ended_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Those that count: finished, pruned, or failed by themselves; in the order of numbers."""
    over = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    trials = study.get_trials(deepcopy=False, states=over)
    return [trial for trial in trials if not _was_killed(trial)]


def killed_trials(study: optuna.Study) -> int:
    """How many were running when the search was killed."""
    return sum(map(_was_killed, study.get_trials(deepcopy=False)))


def _was_killed(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.FAIL and REASON not in trial.user_attrs
