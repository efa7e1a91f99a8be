"""What MLflow knows of runs, asked late: its import takes seconds.

`mlflow run` opens a run before any of our code and names it in MLFLOW_RUN_ID: the opened run. A
training or an inference records itself there; a step tags it with the runs that it works on.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builtup.errors import BuiltupError, NoSuchRunError, RunError
from builtup.runs.database import (
    database_uri,
    experiment_id,
    local_path,
    opening,
    quiet,
    reached,
    require_its_place,
    setup,
    sweep,
    trashed,
    well_written,
)

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

    from builtup.jobs.steps import Summary

__all__ = [
    "FOLD_KEY",
    "artifact_folder",
    "client",
    "database_uri",
    "experiment_id",
    "find_run",
    "has_record",
    "last_run_id",
    "link",
    "listed_places",
    "log_steps",
    "metric_name",
    "name_opened_run",
    "newest_run",
    "opened_run",
    "rename",
    "run_artifacts",
    "setup",
    "shortened",
]

log = logging.getLogger(__name__)

#: The tag by which a cross-validation knows the trainings of its folds.
FOLD_KEY = "fold_key"
#: Tags of a run in which a training, an inference or a study has recorded itself.
_RECORDS = {"config", "cross_validation_of", "compared", "search_of"}
_ENTRY_POINT = "mlflow.project.entryPoint"
_PAGE = 200


def client() -> MlflowClient:
    """An MLflow client on MLFLOW_TRACKING_URI, or on the project's own database.

    Raises RunError where that cannot be opened, or was moved and not set up in its new place.
    """
    import mlflow

    quiet()
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        for line in setup(Path.cwd()):
            if line.startswith("moved"):
                log.warning("%s", line)
        uri = database_uri(Path.cwd())
    right = well_written(uri)
    if right != uri:
        _correct(uri, right)
        uri = right
    with reached(uri), opening(uri):
        mlflow.set_tracking_uri(uri)
        own = mlflow.MlflowClient()
        sweep(uri)
        require_its_place(own)
        return own


def _correct(uri: str, right: str) -> None:
    """Take the address that was meant; RunError where MLflow has opened a run by the other."""
    problem = f"MLFLOW_TRACKING_URI={uri} is another file to MLflow, for ? and % mean something"
    if os.environ.get("MLFLOW_RUN_ID"):
        raise RunError(f"{problem}; run export MLFLOW_TRACKING_URI={right}")
    log.warning("%s: taken as %s; export it so", problem, right)
    os.environ["MLFLOW_TRACKING_URI"] = right


# --- the opened run -----------------------------------------------------------------------------


def opened_run() -> Run | None:
    """The run that `mlflow run` opened for a step; None without one.

    One that a training or an inference has recorded itself in is no step's.
    """
    run_id = os.environ.get("MLFLOW_RUN_ID")
    run = find_run(run_id) if run_id else None
    return None if run is None or has_record(run) else run


def has_record(run: Run) -> bool:
    """Whether a training, an inference or a study has recorded itself in a run."""
    return bool(_RECORDS & run.data.tags.keys())


def log_steps(summaries: Iterable[Summary]) -> None:
    """Log the figures of data steps to the run that `mlflow run` opened; else do nothing.

    MLflow logs the entry point's parameters itself.
    """
    run_id = os.environ.get("MLFLOW_RUN_ID")
    if not run_id:
        return
    own = client()
    for summary in summaries:
        for key, value in summary.metrics().items():
            own.log_metric(run_id, metric_name(f"{summary.step}/{key}"), float(value))
        if summary.skipped:
            text = "\n".join(str(problem) for problem in summary.skipped)
            own.set_tag(run_id, f"{summary.step}/skipped", text[:5000])
        if summary.manifests:
            own.set_tag(run_id, f"{summary.step}/manifests", shortened(summary.manifests))


def link(**runs: str) -> None:
    """Tag the run that `mlflow run` opened with the runs that it works on; else do nothing.

    It is named by the first of them.
    """
    opened = opened_run()
    if opened is None:
        return
    run_id, own = str(opened.info.run_id), client()
    known = {key: value for key, value in runs.items() if value and value != run_id}
    for key, value in known.items():
        own.set_tag(run_id, key, value)
    if known and _ENTRY_POINT in opened.data.tags:
        first = next(iter(known.values()))
        try:
            of = str(find_run(first).info.run_name)
        except NoSuchRunError:  # a model that is a file, or of another database
            of = first
        rename(opened, f"{opened.data.tags[_ENTRY_POINT]} of {of}")


def name_opened_run(command: str) -> None:
    """Name the run that `mlflow run` opened by the command and what it reads; else do nothing."""
    try:
        opened = opened_run()
        if opened is not None:
            path = opened.data.params.get("input_path", "").strip("'\"")
            rename(opened, f"{command} {path}".strip())
    except BuiltupError:
        return  # the command says so where it matters


def rename(run: Run, name: str) -> None:
    """Name a run, unless a user has: MLflow gives names such as `upbeat-newt-7` of its own."""
    present, tags = str(run.info.run_name), run.data.tags
    path = run.data.params.get("input_path", "").strip("'\"")
    entry = tags.get(_ENTRY_POINT, "")
    if _is_random(present) or (entry and present in {entry, f"{entry} {path}".strip()}):
        client().update_run(str(run.info.run_id), name=name[:250])


@lru_cache(maxsize=1)
def _random_words() -> tuple[set[str], set[str]]:
    from mlflow.utils import name_utils

    first, second = (getattr(name_utils, f"_GENERATOR_{of}", ()) for of in ("PREDICATES", "NOUNS"))
    return {word.lower() for word in first}, {word.lower() for word in second}


def _is_random(name: str) -> bool:
    parts = re.fullmatch(r"([a-z]+)-([a-z]+)-\d+", name)
    words = _random_words()
    return parts is not None and all(
        part in of for part, of in zip(parts.groups(), words, strict=True)
    )


def listed_places(scenes: Iterable[tuple[str, str]]) -> str:
    """Cities as they stand in a run's name: three at most, with the year where it is one.

    `scenes` are a city's key `<TILE>_<City>` and the date YYYYMMDD of each scene.
    """
    years: dict[str, set[str]] = {}
    for key, date in scenes:
        city = re.sub(r"^\d{1,2}[A-Za-z]{3}_", "", key)
        years.setdefault(city, set()).add(date[:4])
    known = [
        f"{city} {year}".strip() if len(of) == 1 and not city.endswith(year := max(of)) else city
        for city, of in years.items()
    ]
    more = f" and {len(known) - 3} more" if len(known) > 3 else ""
    return ", ".join(known[:3]) + more


# --- names of metrics ---------------------------------------------------------------------------


def metric_name(text: str) -> str:
    """A metric's name as MLflow takes it; parts of the name are separated by `/`.

    An apostrophe becomes the letter that looks like one. Where another character is replaced, the
    end of the name keeps two names apart that differ by it only.
    """
    return "/".join(map(_metric_part, text.split("/")))


@lru_cache(maxsize=4096)
def _metric_part(text: str) -> str:
    looks = re.sub("['’‘`´]", "ʼ", text)
    name = re.sub(r"[^\w.\- :]", "_", looks)[:100]
    if name != looks or name in {"", ".", ".."}:
        name = f"{name}.{hashlib.sha256(text.encode()).hexdigest()[:4]}"
    if name != text:
        log.warning("MLflow takes no metric with the name of %s: logged as %s", text, name)
    return name


# --- looking for runs ---------------------------------------------------------------------------


def find_run(run_id: str) -> Run:
    """The run of that id; raise NoSuchRunError where the tracking database has none."""
    own = client()
    with reached(own.tracking_uri, f"run_id={run_id}: no such run"):
        return own.get_run(run_id)


def _is_training(run: Run) -> bool:
    """A training that a user began: not a fold of a cross-validation."""
    others = {FOLD_KEY, "training_run", "inference_run"}
    return "config" in run.data.tags and not others & run.data.tags.keys()


def _is_inference(run: Run) -> bool:
    """An inference, or other predictions of ours: not a step that works on one."""
    if "training_run" in run.data.tags:
        return "inference_run" not in run.data.tags
    folder = artifact_folder(run)
    return folder is not None and (folder / "raw").is_dir()


#: By the experiment that they belong to: a run may have been put into another one.
_KINDS: dict[str, Callable[[Run], bool]] = {
    "Trainings": _is_training,
    "Inferences": _is_inference,
}


def newest_run(experiment: str, **tags: str) -> Run:
    """The finished training or inference that ended last; NoSuchRunError where there is none.

    `experiment` is the one that such runs belong to, Trainings or Inferences. They are looked for
    in all: `mlflow run` without --experiment-name opens one in Default. Folds of a cross-validation
    and runs of steps do not count. With `cross_validation_of` it is a cross-validation.
    """
    own = client()
    wanted = _KINDS[experiment]
    if "cross_validation_of" in tags:
        wanted = has_record
    with reached(own.tracking_uri):
        for run in _finished(own, tags):
            if wanted(run):
                return run
        found = own.get_experiment_by_name(experiment)
    if found is not None and trashed(found):
        raise NoSuchRunError(
            f"experiment {experiment}: was deleted in {own.tracking_uri}; restore it: mlflow "
            f"experiments restore --experiment-id {found.experiment_id}, or give run_id"
        )
    of = "".join(f" of {key.replace('_', ' ')} {value}" for key, value in tags.items())
    raise NoSuchRunError(
        f"experiment {experiment}: no finished run{of} in {own.tracking_uri}; "
        "run it first, or give run_id or input_path"
    )


def _finished(own: MlflowClient, tags: dict[str, str]) -> Iterator[Run]:
    """Finished runs with these tags, of all experiments that are not deleted, the last first."""
    experiments = [str(found.experiment_id) for found in own.search_experiments()]
    token: str | None = None
    while experiments:
        page = own.search_runs(
            experiments,
            filter_string="attributes.status = 'FINISHED'",
            order_by=["attributes.end_time DESC", "attributes.start_time DESC"],
            max_results=_PAGE,
            page_token=token,
        )
        # compared here: a filter cannot hold every name
        yield from (r for r in page if all(r.data.tags.get(k) == v for k, v in tags.items()))
        token = page.token
        if not token:
            return


def last_run_id() -> str:
    """The run that this process recorded last."""
    import mlflow

    run = mlflow.last_active_run()
    if run is None:
        raise RunError("no run was recorded in this process; run a script first")
    return str(run.info.run_id)


def artifact_folder(run: Run) -> Path | None:
    """The local folder of a run's artifacts, or None where the store is remote."""
    return local_path(run.info.artifact_uri)


def run_artifacts(run_id: str) -> Path:
    """A run's artifacts as a local folder, downloaded where the store is remote."""
    run = find_run(run_id)
    folder = artifact_folder(run)
    if folder is not None:
        return folder
    import mlflow

    target = Path("output") / "runs" / run_id
    target.mkdir(parents=True, exist_ok=True)
    return Path(mlflow.artifacts.download_artifacts(run_id=run_id, dst_path=str(target)))


def shortened(value: Any) -> str:
    """A value as the text of a tag or a parameter, which MLflow takes up to a length."""
    text = str(value)
    return text if len(text) <= 5000 else f"{text[:4990]}…"
