"""All that is said to MLflow. Its import takes seconds, so it happens late and once."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builtup.errors import RunError

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

    from builtup.steps import Summary

__all__ = ["artifact_folder", "client", "find_run", "log_steps", "newest_run", "setup"]

log = logging.getLogger(__name__)

EXPERIMENTS = {"Trainings": "1", "Inferences": "2"}


def _quiet() -> None:
    # the migrations of a new database speak at level INFO, dozens of lines
    for name in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)


def database_uri(root: Path) -> str:
    """The tracking database of the project at `root` (experiments/ links to it)."""
    return f"sqlite:///{(root / 'output').resolve() / 'mlflow.db'}"


def client() -> MlflowClient:
    """An MLflow client on MLFLOW_TRACKING_URI, or on the project's own database."""
    import mlflow

    _quiet()
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        setup(Path.cwd())
        mlflow.set_tracking_uri(database_uri(Path.cwd()))
    return mlflow.MlflowClient()


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
    known = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not known or (known.startswith("sqlite:///") and not known.startswith("sqlite:////")):
        state = "is a relative path" if known else "is not set"
        lines.append(f"MLFLOW_TRACKING_URI {state}: run export MLFLOW_TRACKING_URI={uri}")
    return lines


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


def find_run(run_id: str) -> Run:
    """The run of that id; raise RunError where the tracking database has none."""
    from mlflow.exceptions import MlflowException

    own = client()
    try:
        return own.get_run(run_id)
    except MlflowException as e:
        raise RunError(
            f"run_id={run_id}: no such run in {own.tracking_uri}; "
            "copy the id from the dashboard, or set MLFLOW_TRACKING_URI"
        ) from e


def newest_run(experiment: str, **tags: str) -> Run:
    """The newest finished run of an experiment; raise RunError where there is none."""
    own = client()
    found = own.get_experiment_by_name(experiment)
    runs: list[Any] = []
    if found is not None:
        filters = ["attributes.status = 'FINISHED'"]
        filters += [f"tags.`{key}` = '{value}'" for key, value in tags.items()]
        runs = own.search_runs(
            [found.experiment_id],
            filter_string=" and ".join(filters),
            order_by=["attributes.start_time DESC"],
            max_results=1,
        )
    if not runs:
        raise RunError(
            f"experiment {experiment}: no finished run in {own.tracking_uri}; "
            "run it first, or give run_id or input_path"
        )
    return runs[0]


def artifact_folder(run: Run) -> Path | None:
    """The local folder of a run's artifacts, or None where the store is remote."""
    from urllib.parse import unquote, urlparse

    uri = run.info.artifact_uri
    parsed = urlparse(uri)
    if parsed.scheme in {"", "file"}:
        return Path(unquote(parsed.path))
    return None
