"""What runs log to MLflow, and find there. Its import takes seconds: it happens late and once."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builtup.errors import NoSuchRunError, RunError, one_line
from builtup.jobs.files import output_error

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

    from builtup.jobs.steps import Summary

__all__ = [
    "Recorder",
    "UsedData",
    "artifact_folder",
    "client",
    "find_run",
    "last_run_id",
    "link",
    "log_steps",
    "newest_run",
    "recording",
    "run_artifacts",
    "setup",
]

log = logging.getLogger(__name__)

#: What MLflow answers to the id of a run that there is not, or that no run can have.
_NO_SUCH = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}
EXPERIMENTS = {"Trainings": "1", "Inferences": "2"}


def _quiet() -> None:
    # the migrations of a new database speak at level INFO, dozens of lines
    for name in ("alembic", "mlflow.store.db.utils", "mlflow.system_metrics"):
        logging.getLogger(name).setLevel(logging.WARNING)


def database_uri(root: Path) -> str:
    """The tracking database of the project at `root` (experiments/ links to it)."""
    return f"sqlite:///{(root / 'output').resolve() / 'mlflow.db'}"


def client() -> MlflowClient:
    """An MLflow client on MLFLOW_TRACKING_URI, or on the project's own database."""
    import mlflow

    _quiet()
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        setup(Path.cwd())
        uri = database_uri(Path.cwd())
    with _reached(uri):
        mlflow.set_tracking_uri(uri)
        return mlflow.MlflowClient()


@contextmanager
def _reached(uri: str, missing: str = "") -> Iterator[None]:
    """RunError where MLflow cannot be asked, NoSuchRunError where it says that it has none."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, ImportError) as e:
        if missing and getattr(e, "error_code", "") in _NO_SUCH:
            raise NoSuchRunError(
                f"{missing} in {uri}; copy the id from the dashboard, or set MLFLOW_TRACKING_URI"
            ) from e
        raise RunError(
            f"MLflow at {uri} cannot be reached or opened ({_first_line(e)[:300]}); "
            "check MLFLOW_TRACKING_URI"
        ) from e


def setup(root: Path) -> list[str]:
    """Create the database and the experiments where missing; return lines for the user.

    Artifacts of the experiments lie under output/mlruns/1 and /2: MLflow appends the run id only.
    """
    import mlflow

    _quiet()
    output = (root / "output").resolve()
    output.mkdir(parents=True, exist_ok=True)
    uri = database_uri(root)
    own = mlflow.MlflowClient(uri)
    lines = []
    for name, folder in EXPERIMENTS.items():
        if own.get_experiment_by_name(name) is None:
            own.create_experiment(name, artifact_location=str(output / "mlruns" / folder))
            lines.append(f"created the experiment {name} in {output / 'mlflow.db'}")
    if not lines:
        lines.append(f"{output / 'mlflow.db'} has its experiments already")
    state = _wrong_with(os.environ.get("MLFLOW_TRACKING_URI", ""), uri)
    if state:
        lines.append(f"MLFLOW_TRACKING_URI {state}: run export MLFLOW_TRACKING_URI={uri}")
    return lines


def _wrong_with(known: str, uri: str) -> str:
    """Why runs would not go into the database `uri`; "" where they do."""
    scheme = "sqlite:///"
    if not known:
        return "is not set"
    if known.startswith(scheme) and not known.startswith(f"{scheme}/"):
        return "is a relative path"
    # $PWD may go through links, which `uri` does not
    same = known.startswith(scheme) and Path(known.removeprefix(scheme)).resolve() == Path(
        uri.removeprefix(scheme)
    )
    return "" if same else "names another database, where runs go; for this one"


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
            own.log_metric(run_id, f"{summary.step}/{key}", float(value))
        if summary.skipped:
            text = "\n".join(str(problem) for problem in summary.skipped)
            own.set_tag(run_id, f"{summary.step}/skipped", text[:5000])
        if summary.manifests:
            own.set_tag(run_id, f"{summary.step}/manifests", _shortened(summary.manifests))


def link(**runs: str) -> None:
    """Tag the run that `mlflow run` opened with the runs that it works on; else do nothing."""
    run_id = os.environ.get("MLFLOW_RUN_ID")
    for key, value in runs.items():
        if run_id and value and value != run_id:
            client().set_tag(run_id, key, value)


def find_run(run_id: str) -> Run:
    """The run of that id; raise NoSuchRunError where the tracking database has none."""
    own = client()
    with _reached(own.tracking_uri, f"run_id={run_id}: no such run"):
        return own.get_run(run_id)


def newest_run(experiment: str, **tags: str) -> Run:
    """The newest finished run of an experiment; raise NoSuchRunError where there is none."""
    own = client()
    filters = ["attributes.status = 'FINISHED'"]
    filters += [f"tags.`{key}` = '{value}'" for key, value in tags.items()]
    runs: list[Any] = []
    with _reached(own.tracking_uri):
        found = own.get_experiment_by_name(experiment)
        if found is not None:
            runs = own.search_runs(
                [found.experiment_id],
                filter_string=" and ".join(filters),
                order_by=["attributes.start_time DESC"],
                max_results=1,
            )
    if not runs:
        raise NoSuchRunError(
            f"experiment {experiment}: no finished run in {own.tracking_uri}; "
            "run it first, or give run_id or input_path"
        )
    return runs[0]


def last_run_id() -> str:
    """The run that this process recorded last."""
    import mlflow

    run = mlflow.last_active_run()
    if run is None:
        raise RunError("no run was recorded in this process; run a script first")
    return str(run.info.run_id)


def artifact_folder(run: Run) -> Path | None:
    """The local folder of a run's artifacts, or None where the store is remote."""
    from urllib.parse import unquote, urlparse

    uri = run.info.artifact_uri
    parsed = urlparse(uri)
    if parsed.scheme in {"", "file"}:
        return Path(unquote(parsed.path))
    return None


@dataclass(frozen=True)
class UsedData:
    """A data set that a run reads, for MLflow's inputs.

    `digest` (at most 36 characters) is that of its contents, `source` the folder or list,
    `context` training, validation or inference, `profile` JSON values to show.
    """

    name: str
    digest: str
    source: str
    context: str
    profile: Mapping[str, Any]


class Recorder:
    """What one run says to MLflow, and the folder that its artifacts are written to.

    Of several processes only rank 0 holds a real one; the others' is silent and has no run id.
    Where the artifact store is local, `folder` is the run's own artifact folder; otherwise it is
    output/runs/<run id> and is uploaded when the run ends.
    """

    def __init__(self, run: Run | None = None) -> None:
        self.run_id = "" if run is None else str(run.info.run_id)
        local = None if run is None else artifact_folder(run)
        self._upload = run is not None and local is None
        self.folder = local or Path("output") / "runs" / (self.run_id or "silent")

    def params(self, values: Mapping[str, Any], prefix: str = "cfg/") -> None:
        """Log parameters under a prefix: MLflow keeps the entry point's own without one."""
        if self.run_id:
            import mlflow

            mlflow.log_params(
                {f"{prefix}{key}": _shortened(value) for key, value in values.items()}
            )

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log metrics at a step; what is undefined (NaN) is left out."""
        defined = {key: float(value) for key, value in values.items() if math.isfinite(value)}
        if self.run_id and defined:
            import mlflow

            mlflow.log_metrics(defined, step=step)

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        if self.run_id:
            import mlflow

            mlflow.set_tags({key: _shortened(value) for key, value in values.items()})

    def inputs(self, datasets: Iterable[UsedData]) -> None:
        """Log what the run reads, as MLflow datasets."""
        if not self.run_id:
            return
        from mlflow.entities import Dataset, DatasetInput, InputTag

        entries = [
            DatasetInput(
                Dataset(
                    name=used.name[:500],
                    digest=used.digest,
                    source_type="local",
                    source=json.dumps({"uri": used.source}),
                    profile=json.dumps(dict(used.profile)),
                ),
                [InputTag("mlflow.data.context", used.context)],
            )
            for used in datasets
        ]
        if entries:
            client().log_inputs(self.run_id, entries)

    def finish(self) -> None:
        """Upload the artifacts where the store is not local."""
        if self._upload:
            import mlflow

            mlflow.log_artifacts(str(self.folder))


@contextmanager
def recording(
    experiment: str, name: str, *, active: bool = True, run_id: str = ""
) -> Iterator[Recorder]:
    """A run in `experiment`: `run_id` to go on with it, else the one that `mlflow run` opened
    (MLFLOW_RUN_ID), else a new one.

    It ends as FINISHED, as FAILED on any error (its one line is the tag `error`) and as KILLED on
    an interrupt or SIGTERM. With `active=False` (every rank but 0) nothing is logged.
    """
    if not active:
        yield Recorder()
        return
    import mlflow

    run = _start_run(experiment, name, run_id)
    recorder = Recorder(run)
    status = "FAILED"
    try:
        with _terminable():
            _make(recorder.folder)
            log.info("MLflow run %s, artifacts in %s", recorder.run_id, recorder.folder)
            yield recorder
            recorder.finish()
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    except Exception as e:
        mlflow.set_tag("error", _shortened(one_line(e)))
        recorder.finish()  # its checkpoints may be gone on with
        raise
    finally:
        mlflow.end_run(status)


def _start_run(experiment: str, name: str, run_id: str) -> Run:
    import mlflow
    from mlflow.exceptions import MlflowException

    own = client()
    run_id = run_id or os.environ.get("MLFLOW_RUN_ID", "")
    try:
        if run_id:
            return mlflow.start_run(run_id=run_id, log_system_metrics=True)
        found = own.get_experiment_by_name(experiment)
        experiment_id = found.experiment_id if found else own.create_experiment(experiment)
        return mlflow.start_run(experiment_id=experiment_id, run_name=name, log_system_metrics=True)
    except MlflowException as e:
        raise RunError(
            f"MLflow at {own.tracking_uri}: no run can be started ({_first_line(e)}); "
            "check MLFLOW_TRACKING_URI and MLFLOW_RUN_ID"
        ) from e


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise output_error(folder, e) from e


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM unwind the stack, so that the run is closed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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


def _shortened(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 5000 else f"{text[:4990]}…"


def _first_line(e: Exception) -> str:
    return str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
