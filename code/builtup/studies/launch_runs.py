"""The trainings of a study: one process and one MLflow run each, nested where there is a parent.

A training is known by its key: settings, config text, data and the version of the training
code. A finished run of that key is kept; an unfinished one goes on from its last checkpoint. Who
watches a training may end it early: its run is KILLED then, with the tag `pruned`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shlex
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builtup.config.load import Config
from builtup.config.settings import KNOWN
from builtup.config.shipped import PROJECT
from builtup.errors import BuiltupError, RunError
from builtup.logs import QUIET, VERBOSE
from builtup.runs import tracking
from builtup.runs.manifest import DataManifest
from builtup.runs.records import Summary
from builtup.runs.study_records import ground_of_search
from builtup.studies.training_process import run_command
from builtup.tiles.folds import FOLDS_JSON
from builtup.tiles.normalisation import STATS_JSON
from builtup.tiles.table import TILE_STATS_CSV, read_tile_stats
from builtup.training.before_training import TRAINING_VERSION
from builtup.training.checkpoints import load_state

if TYPE_CHECKING:
    from mlflow.entities import Run

__all__ = [
    "PARENT",
    "PRUNED",
    "FoldRun",
    "FoldTask",
    "TrainingFailed",
    "Watch",
    "data_digest",
    "history_of",
    "parameter_of",
    "train_fold",
    "training_key",
]

log = logging.getLogger(__name__)

EXPERIMENT = "Trainings"
PARENT, KEY, PRUNED = "mlflow.parentRunId", tracking.FOLD_KEY, "pruned"
RESUMED = "resumed_from"
#: Exit status of a training that was ended before it began.
_ENDED = -signal.SIGTERM
#: Asked about a run while it trains: whether it shall end now.
Watch = Callable[[str], bool]
SCRIPT = PROJECT / "code" / "scripts" / "training.py"
#: Settings that change neither weights nor what they are learnt from.
_WITHOUT_EFFECT = frozenset(
    {"num_workers", "resume_from", "log_predictions", "log_interval", "val_metrics", "val_interval"}
    | {"start_by_validation", "run_id", "has_targets", "save_raw_predictions", "save_overlays"}
    | {"log_model", "register", "of", "tuned_by"}
)
#: Settings of the scoring that follows.
SCORING_SETTINGS = frozenset(
    {"tta", "window", "overlap", "blend", "weights", "threshold", "threshold_tiles", "temperature"}
    | {"backend"}
)


class TrainingFailed(RunError):
    """A training that ended with an error of its own."""


@dataclass(frozen=True)
class FoldTask:
    """What to train: `config` is resolved with `overrides`, `key` names what comes of it.

    `fold` is what is held out, empty for nothing; `city` is then all that is learnt from. `trial`
    is its number in a search.
    """

    fold: str
    city: str
    seed: int
    config_path: Path
    overrides: str
    config: Config
    key: str
    trial: int | None = None

    @property
    def name(self) -> str:
        """For runs and messages."""
        if self.trial is not None:
            return f"trial {self.trial} of {self.config.name} without {self.fold}"
        if not self.fold:
            return f"{self.config.name} on {self.city}"
        return f"{self.config.name} without {self.fold}, seed {self.seed}"


@dataclass(frozen=True)
class FoldRun:
    """A training that has ended: its run, whether it was there before, or was ended early."""

    run_id: str
    folder: Path
    kept: bool
    pruned: bool = False


def training_key(config: Config, data: str) -> str:
    """A digest of all that a training's weights depend on; `data` is that of the data."""
    ignored = _WITHOUT_EFFECT | SCORING_SETTINGS
    # a default leaves no trace: settings may be added to the contract
    settings = {
        k: v
        for k, v in sorted(config.settings.items())
        if k not in ignored and not (k in KNOWN and KNOWN[k].default == v)
    }
    texts = [*config.sources, *(text for _, text in config.modules.texts)]
    parts = [TRAINING_VERSION, settings, texts, data]
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:32]


def data_digest(data_path: Path) -> str:
    """A digest of the data as the data steps recorded them, wherever they lie and however old."""
    digest = hashlib.sha256()
    for name in (TILE_STATS_CSV, FOLDS_JSON, STATS_JSON):
        path = data_path / name
        if path.is_file():
            digest.update(path.read_bytes())
    manifest = DataManifest.of(data_path, read_tile_stats(data_path / TILE_STATS_CSV))
    digest.update(json.dumps(list(manifest.digests())).encode())
    return digest.hexdigest()


def train_fold(
    task: FoldTask, parent_id: str, num_gpus: int, watch: Watch | None = None
) -> FoldRun:
    """Train, or keep what was trained, under a parent or on its own ("").

    With an unfinished run of the same key it goes on from its last checkpoint. Raises
    TrainingFailed, in one line. `watch` is asked every second whether the training shall end early,
    and before one that goes on; one that has ended meanwhile is finished.
    """
    own = tracking.client()
    earlier = _earlier(task.key)
    _end_killed(earlier, parent_id)
    for run in earlier:
        folder = _trained_folder(run, task)
        if folder is not None:
            log.info(
                "%s: kept, run %s of commit %s",
                task.name,
                run.info.run_id,
                run.data.tags.get("git_commit", "unknown")[:10],
            )
            _adopt(run, parent_id)
            _mark_ground(folder, str(task.config.tuned_by))
            return FoldRun(run.info.run_id, folder, kept=True)
    resume_from = next((r.info.run_id for r in earlier if _can_go_on(r, task)), "")
    tags = _tags(task, parent_id) | ({RESUMED: resume_from} if resume_from else {})
    run = own.create_run(_experiment(own), run_name=task.name, tags=tags)
    run_id = str(run.info.run_id)
    log.info("%s: %s", task.name, f"going on from run {resume_from}" if resume_from else "training")
    overrides = task.overrides + (f" resume_from={resume_from}" if resume_from else "")
    watched = None if watch is None else _Watched(watch, run_id)
    if resume_from and watched is not None and watched.shall_end():  # by what it had reached
        status = _ENDED
    else:
        status = _run(_arguments(task, overrides, num_gpus), run_id, watched)
    run = own.get_run(run_id)
    if status != 0 and watched is not None and watched.ended:
        own.set_terminated(run_id, "KILLED")
        own.set_tag(run_id, PRUNED, "true")
        return FoldRun(run_id, tracking.run_artifacts(run_id), kept=False, pruned=True)
    if status != 0:
        if run.info.status == "RUNNING":
            own.set_terminated(run_id, "KILLED")
        reason = run.data.tags.get("error", f"exit status {status}")
        raise TrainingFailed(
            f"{f'fold {task.fold}' if task.fold else task.name}: its training failed ({reason}); "
            "correct that and run the same command again: what is finished is kept"
        )
    for key, value in _tags(task, parent_id).items():
        own.set_tag(run_id, key, value)
    return FoldRun(run_id, tracking.run_artifacts(run_id), kept=False)


@dataclass
class _Watched:
    """Whether a run shall end, and whether it was told so."""

    watch: Watch
    run_id: str
    ended: bool = False

    def shall_end(self) -> bool:
        self.ended = self.watch(self.run_id)
        return self.ended


def history_of(run_id: str, metric: str) -> dict[int, float]:
    """A metric of a run and of those that it goes on from, by iteration."""
    own = tracking.client()
    found: dict[int, float] = {}
    while run_id:
        points = {p.step: p.value for p in own.get_metric_history(run_id, metric)}
        found = points | found
        run_id = own.get_run(run_id).data.tags.get(RESUMED, "")
    return dict(sorted(found.items()))


def parameter_of(run_id: str, name: str) -> str:
    """A parameter of a run, or of the one that it goes on from where it has not begun; or ""."""
    own = tracking.client()
    while run_id:
        data = own.get_run(run_id).data
        if name in data.params:
            return str(data.params[name])
        run_id = data.tags.get(RESUMED, "")
    return ""


def _tags(task: FoldTask, parent_id: str) -> dict[str, str]:
    tags = {
        PARENT: parent_id,
        KEY: task.key,
        "fold": task.fold,
        "city": task.city,
        "seed": str(task.seed),
        "held_out": task.fold,
        "trial": "" if task.trial is None else str(task.trial),
    }
    return {name: value for name, value in tags.items() if value or name not in {PARENT, "trial"}}


def _earlier(key: str) -> list[Run]:
    """Runs of that key, the newest first."""
    own = tracking.client()
    return list(
        own.search_runs(
            [_experiment(own)],
            filter_string=f"tags.{KEY} = '{key}'",
            order_by=["attributes.start_time DESC"],
        )
    )


def _end_killed(earlier: Sequence[Run], parent_id: str) -> None:
    """Mark as KILLED what a killed process left RUNNING: runs, and their parents.

    One that still runs after all sets its own status when it ends.
    """
    own = tracking.client()
    parents = {run.data.tags.get(PARENT, "") for run in earlier} - {"", parent_id}
    for run in (*earlier, *map(tracking.find_run, sorted(parents))):
        if run.info.status == "RUNNING":
            own.set_terminated(run.info.run_id, "KILLED")


def _experiment(own: Any) -> str:
    return tracking.experiment_id(own, EXPERIMENT)


def _trained_folder(run: Run, task: FoldTask) -> Path | None:
    """The artifacts of a run that has nothing left to learn, else None."""
    folder = _artifacts(run)
    if folder is None or not (folder / "weights" / "last.pt").is_file():
        return None
    if run.info.status == "FINISHED":
        return folder
    if PRUNED in run.data.tags:
        return None
    checkpoint = _last_checkpoint(run)
    if checkpoint is None:
        return None
    if not _has_learnt_all(checkpoint, task):  # else killed between its last epoch and its end
        return None
    if task.config.soup and not (folder / "weights" / "soup.pt").is_file():
        return None
    tracking.client().set_terminated(run.info.run_id, "FINISHED")
    return folder


def _has_learnt_all(checkpoint: Path, task: FoldTask) -> bool:
    return bool(load_state(checkpoint)["progress"]["epoch"] >= task.config.num_epochs)


def _can_go_on(run: Run, task: FoldTask) -> bool:
    """Whether a run left something to learn: one that was pruned in its last second did not."""
    checkpoint = _last_checkpoint(run)
    if checkpoint is None:
        return False
    return PRUNED not in run.data.tags or not _has_learnt_all(checkpoint, task)


def _last_checkpoint(run: Run) -> Path | None:
    folder = _artifacts(run)
    path = None if folder is None else folder / "checkpoints" / "last.pt"
    try:
        if path is None or not path.is_file():
            return None
        load_state(path)
    except BuiltupError as e:
        log.warning("not gone on with: %s", e)
        return None
    return path


def _artifacts(run: Run) -> Path | None:
    try:
        return tracking.run_artifacts(run.info.run_id)
    except (RunError, OSError):
        return None


def _adopt(run: Run, parent_id: str) -> None:
    """Show a kept fold under the new parent, unless its own parent was finished."""
    if not parent_id:
        return
    own = tracking.client()
    parent = run.data.tags.get(PARENT, "")
    finished = bool(parent) and tracking.find_run(parent).info.status == "FINISHED"
    if not finished:
        own.set_tag(run.info.run_id, PARENT, parent_id)


def _mark_ground(folder: Path, tuned_by: str) -> None:
    """Into the summary of a kept training: the ground of the search that chose its settings."""
    summary = Summary.find(folder) if tuned_by else None
    if summary is not None:
        ground = {*ground_of_search(tuned_by), *(summary.settings_tuned_on or ())}
        replace(summary, settings_tuned_on=tuple(sorted(ground))).write(folder)


def _arguments(task: FoldTask, overrides: str, num_gpus: int) -> list[str]:
    return [
        *("main", "--script_path", str(SCRIPT)),
        *("--config_path", str(task.config_path)),
        *("--num_gpus", str(num_gpus)),
        *("--overrides", overrides),
    ]


def _run(arguments: list[str], run_id: str, watched: _Watched | None = None) -> int:
    """Run a training as a process that ends when this one does, or when who watches it says so."""
    environment = {
        **{k: v for k, v in os.environ.items() if k != "MLFLOW_EXPERIMENT_ID"},
        "MLFLOW_RUN_ID": run_id,
        "MLFLOW_TRACKING_URI": tracking.client().tracking_uri,
    }
    if watched is not None and not os.environ.get(VERBOSE):
        environment[QUIET] = "1"  # who watches says what matters
    log.debug("builtup %s", shlex.join(arguments))
    return run_command(arguments, environment, None if watched is None else watched.shall_end)
