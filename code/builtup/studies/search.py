"""Searching settings: trainings that a study proposes, watches, and ends where they promise little.

Each trial is what `main` trains, in a process of its own: the same network, loss and schedule. It
is judged by a validation score of held-out folds, which are *tuned on* from then on.
"""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from optuna.trial import TrialState
from tqdm import tqdm

from builtup.errors import ConfigError, NoSuchRunError, RunError
from builtup.logs import no_bars
from builtup.runs import tracking
from builtup.runs.manifest import git_commit
from builtup.runs.recorder import Recorder, mlflow_errors, recording
from builtup.runs.study_records import SearchRecord
from builtup.studies.launch_runs import (
    FoldTask,
    TrainingFailed,
    history_of,
    parameter_of,
    train_fold,
)
from builtup.studies.search_board import Board, sentence_of
from builtup.studies.search_plan import Plan, plan
from builtup.studies.search_space import (
    as_overrides,
    asked,
    make_pruner,
    make_sampler,
    without,
)
from builtup.studies.search_study import OVERRIDES, REASON, RUNS, ended_trials, open_study

__all__ = ["search"]

log = logging.getLogger(__name__)

#: Trials that may fail one after the other before the search stops.
MOST_FAILURES = 3


def search(
    *,
    config_path: Path,
    trials: int | None = None,
    minutes: float | None = None,
    folds: str = "",
    seed: int = 0,
    overrides: str = "",
    num_gpus: int = 1,
    output: str = "",
) -> str:
    """Search the settings that a config's space(trial) names; return what to print.

    `trials` is the number of the whole study (the config's own by default), which goes on where it
    was: what had ended is kept. No trial begins that would not end within `minutes` by the mean of
    those before. `folds`, separated by `;`, are held out in turn, and a trial's value is their mean
    (the config's val_fold by default). `seed` is that of the proposals, `num_gpus` processes train
    each. Writes the study, search.json and trials.csv into `output` (output/search/<config>) and
    the latter two into its run. Raises BuiltupError, in one line, for a space that names no
    setting, a metric that does not come, a study that is in use, or a training that fails first.
    """
    asked_for = plan(config_path, folds, seed, overrides, trials)
    name = asked_for.config.name
    target = Path(output) if output else Path("output") / SearchRecord.FOLDER / name
    pruner = make_pruner(asked_for.pruner, asked_for.startup, asked_for.most)
    with open_study(target, name, asked_for.identity(), pruner) as study:
        known = _known_run(study)
        with recording("Trainings", f"search {name}", run_id=known) as recorder:
            study.set_user_attr("run_id", recorder.run_id)
            tracking.link(search_run=recorder.run_id)
            _describe(asked_for, recorder, new=not known)
            board = Board(_record(asked_for), study, recorder.run_id, recorder.folder)
            board.write()
            _go_through(asked_for, study, board, recorder, num_gpus, minutes)
            record = board.write()
        shutil.copytree(recorder.folder / SearchRecord.FOLDER, target, dirs_exist_ok=True)
    return f"{board.text(record)}\nwritten to {target} and run {recorder.run_id}"


def _record(of: Plan) -> SearchRecord:
    return SearchRecord(
        config=of.config.name,
        train=str(of.train),
        lengths=of.lengths or None,
        overrides=without(of.overrides, ["log_model", "log_predictions"]),
        metric=of.metric,
        ground=of.ground,
        pruner=of.pruner,
        startup=of.startup,
        seed=of.seed,
        wanted=of.wanted,
    )


def _known_run(study: optuna.Study) -> str:
    """The run of a study that goes on; nothing where it has none, or no longer."""
    run_id = str(study.user_attrs.get("run_id", ""))
    try:
        gone = not run_id or tracking.find_run(run_id).info.lifecycle_stage == "deleted"
    except NoSuchRunError:
        gone = True
    return "" if gone else run_id


def _describe(of: Plan, recorder: Recorder, *, new: bool) -> None:
    if new:
        settings = {**of.config.read_settings(), "overrides": of.overrides}
        recorder.params({**settings, "pruner": of.pruner, "search_seed": of.seed})
    recorder.tags(
        {
            "search_of": of.config.name,
            "git_commit": git_commit(),
            "folds": ", ".join(name for name, _ in of.folds),
            "settings_tuned_on": ", ".join(of.ground),
        }
    )


# --- trials -------------------------------------------------------------------------------------


def _go_through(
    of: Plan,
    study: optuna.Study,
    board: Board,
    recorder: Recorder,
    num_gpus: int,
    minutes: float | None,
) -> None:
    """Ask for trials until the study has as many as are wanted, or time is up."""
    began, seconds, failures = time.monotonic(), list[float](), 0
    done = len(ended_trials(study))
    if done:
        log.info("%d of %d trials have ended before", done, of.wanted)
    with tqdm(total=of.wanted, initial=done, unit="trial", disable=no_bars()) as bar:
        while done < of.wanted:
            mean = sum(seconds) / len(seconds) if seconds else 0.0
            if minutes is not None and time.monotonic() - began + mean > minutes * 60:
                log.info("minutes = %g: no further trial begins", minutes)
                return
            started = time.monotonic()
            study.sampler = make_sampler(of.seed, done, of.startup)
            problem = _Trial(of, study, study.ask(), recorder.run_id, num_gpus).run()
            seconds.append(time.monotonic() - started)
            failures = failures + 1 if problem else 0
            done = len(ended_trials(study))
            record = board.write()
            line, best = record.trials[-1], record.best
            log.info("%s", sentence_of(line, of.metric))
            reached = {
                "search/value": line.value,
                "search/best": None if best is None else best.value,
            }
            recorder.metrics({k: v for k, v in reached.items() if v is not None}, done)
            bar.set_postfix_str("" if best is None else f"best {best.value:.3f}", refresh=False)
            bar.update()
            if problem and (failures == MOST_FAILURES or done == failures):
                raise RunError(problem)


@dataclass
class _Trial:
    """One trial: what it tries, its trainings, one a fold, and what they have reached."""

    of: Plan
    study: optuna.Study
    trial: optuna.Trial
    parent_id: str
    num_gpus: int
    values: list[float] = field(default_factory=list)

    def run(self) -> str:
        """Train, and tell the study how it ended; why it failed, or nothing."""
        runs: list[str] = []
        for task in self._tasks():
            gauge = _Gauge(self, task)
            try:
                run = train_fold(task, self.parent_id, self.num_gpus, gauge.look)
            except TrainingFailed as e:
                return self._fail(str(e))
            runs.append(run.run_id)
            self.trial.set_user_attr(RUNS, runs)
            if run.pruned:
                self.study.tell(self.trial, state=TrialState.PRUNED)
                return ""
            gauge.conclude(run.run_id)
            if not gauge.reached:
                return self._fail(self._undefined(run.run_id))
            self.values.append(max(gauge.reached))
        self.study.tell(self.trial, sum(self.values) / len(self.values))
        return ""

    def _tasks(self) -> list[FoldTask]:
        """The trainings of what the space proposes; ConfigError where that makes no sense."""
        of, number = self.of, self.trial.number
        try:
            text = as_overrides(asked(of.config, self.trial))
            self.trial.set_user_attr(OVERRIDES, text)
            return [of.task(number, fold, text, self.parent_id) for fold in of.folds]
        except ConfigError as e:
            self._fail(str(e))
            raise

    def _fail(self, reason: str) -> str:
        self.trial.set_user_attr(REASON, reason)
        self.study.tell(self.trial, state=TrialState.FAIL)
        return reason

    def _undefined(self, run_id: str) -> str:
        logged = tracking.find_run(run_id).data.metrics
        known = sorted(name for name in logged if name.startswith("val/"))
        return (
            f"{self.of.config.path}: metric = {self.of.metric!r} never came in run {run_id}, which "
            f"logged {', '.join(known) or 'no validation'}: it is undefined there, or has another "
            "name; correct metric, or train longer"
        )


@dataclass
class _Gauge:
    """Reports to a study what a training has reached after each of its validations.

    What is reported of several folds is the sum of the best so far, by the number of folds: it
    never falls, and is of the same folds for all trials at the same step.
    """

    trial: _Trial
    task: FoldTask
    reached: list[float] = field(default_factory=list)  # after each validation
    _interval: int = 0  # iterations between validations
    _before: dict[int, float] | None = None  # of runs that are gone on with

    def look(self, run_id: str) -> bool:
        """Report what has come; whether the training shall end."""
        try:
            if self._before is None:
                self._before = history_of(run_id, self.trial.of.metric)
            points = tracking.client().get_metric_history(run_id, self.trial.of.metric)
            history = self._before | {p.step: p.value for p in points}
            if not history or not self._knows_interval(run_id):
                return False
            return any(self._reports(history))
        except mlflow_errors() as e:  # the database was busy: asked again soon
            log.debug("run %s is not looked at: %s", run_id, e)
            return False

    def conclude(self, run_id: str) -> None:
        """Report all validations of a training that has finished."""
        history = history_of(run_id, self.trial.of.metric)
        if history and self._knows_interval(run_id):
            list(self._reports(history))

    def _reports(self, history: dict[int, float]) -> Iterator[bool]:
        """Report each new validation, in their order: whether the training shall end there."""
        of = self.trial.of
        for iteration, value in sorted(history.items()):
            number = math.ceil(iteration / self._interval)
            if number <= len(self.reached):  # known, or before the first iteration
                continue
            best = max([value, *self.reached[-1:]])
            self.reached += [best] * (number - len(self.reached))
            step = len(self.trial.values) * of.validations + number
            self.trial.trial.report((sum(self.trial.values) + best) / len(of.folds), step)
            yield step < of.most and self.trial.trial.should_prune()

    def _knows_interval(self, run_id: str) -> bool:
        if not self._interval:
            batches = parameter_of(run_id, "cfg/batches_per_epoch") or 0
            self._interval = int(batches) * self.task.config.val_interval
        return self._interval > 0
