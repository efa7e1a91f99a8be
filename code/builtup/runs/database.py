"""The tracking database: where it is, its experiments, and where their artifacts lie.

A project's own is `output/mlflow.db`, with artifacts in `output/mlruns/` beside it. The database
keeps the whole paths of artifacts: one that was moved or copied points to its old place until
`setup` points it to the new one.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

from builtup.errors import NoSuchRunError, RunError, one_line
from builtup.jobs.files import output_error, user_cache

if TYPE_CHECKING:
    from mlflow.entities import Experiment
    from mlflow.tracking import MlflowClient

__all__ = [
    "EXPERIMENTS",
    "database_uri",
    "experiment_id",
    "local_path",
    "opening",
    "quiet",
    "reached",
    "require_its_place",
    "said",
    "setup",
    "sweep",
    "trashed",
    "well_written",
]

log = logging.getLogger(__name__)

#: The experiments, and the folder in mlruns/ for the artifacts of each.
EXPERIMENTS = {"Trainings": "1", "Inferences": "2"}
#: Databases that this process has opened.
_opened: set[str] = set()
#: What MLflow answers to the id of a run that there is not, or that no run can have.
_NO_SUCH = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}
_SQLITE = "sqlite:///"
#: Where a database keeps paths of artifacts, and the tag of a run that names a folder.
_PATHS = {
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "model_versions": "source storage_location",
    "tags": "value",
}
_PATH_TAG = "predictions"


def quiet() -> None:
    """Let MLflow say what matters through us.

    The migrations of a new database speak at level INFO, dozens of lines; one that does not answer
    speaks a traceback each time, and we one line.
    """
    for name, level in {
        "alembic": logging.WARNING,
        "mlflow.store.db.utils": logging.CRITICAL,
        "mlflow.system_metrics": logging.CRITICAL,
    }.items():
        logging.getLogger(name).setLevel(level)
    warnings.filterwarnings("ignore", module="alembic")


def said(e: BaseException) -> str:
    """What MLflow says of an error, on one line, without the SQL that it was about."""
    return re.split(r" \[SQL: | \(Background on this error", one_line(e))[0][:300]


@contextmanager
def reached(uri: str, missing: str = "") -> Iterator[None]:
    """RunError where MLflow cannot be asked, NoSuchRunError where it says that it has none."""
    from alembic.util.exc import CommandError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, CommandError, ImportError) as e:
        if missing and getattr(e, "error_code", "") in _NO_SUCH:
            raise NoSuchRunError(
                f"{missing} in {uri}; copy the id from the dashboard (a deleted run is gone after "
                "mlflow gc), or set MLFLOW_TRACKING_URI"
            ) from e
        text = said(e)
        if "database schema" in text or "locate revision" in text:
            import mlflow

            raise RunError(
                f"MLflow at {uri}: the database is of another version of MLflow than "
                f"{mlflow.__version__}; copy it, then run mlflow db upgrade {uri} if it is older, "
                "or install the version that wrote it"
            ) from e
        raise RunError(
            f"MLflow at {uri} cannot be reached or opened ({text[:300]}); check MLFLOW_TRACKING_URI"
        ) from e


@contextmanager
def opening(uri: str) -> Iterator[None]:
    """Open a database of SQLite alone: several that create it at once would spoil it.

    Once a process has opened it, it does not wait again.
    """
    file = _file_of(uri)
    if file is None or uri in _opened:
        yield
        return
    with ExitStack() as stack:
        with suppress(OSError):  # where it cannot be written, or locked, nobody creates it
            name = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:16]
            user_cache().mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((user_cache() / f"{name}.lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    _opened.add(uri)


# --- places -------------------------------------------------------------------------------------


def database_uri(root: Path) -> str:
    """The tracking database of the project at `root` (experiments/ links to it)."""
    return _sqlite_uri((root / "output").resolve() / "mlflow.db")


def _sqlite_uri(file: Path) -> str:
    """A database's address: after `?` come options, and `%` begins a code of two digits."""
    return _SQLITE + str(file).replace("%", "%25").replace("?", "%3F")


def _file_of(uri: str) -> Path | None:
    """The file of a database of SQLite by an absolute path, else None."""
    return Path(unquote(uri[len(_SQLITE) :])) if uri.startswith(f"{_SQLITE}/") else None


def well_written(uri: str) -> str:
    """The address that was meant, where MLflow would take this one for another file's."""
    raw = Path(uri[len(_SQLITE) :])
    path, _, options = str(raw).partition("?")
    misread = "/" in options or not Path(unquote(path)).is_file()
    if uri.startswith(f"{_SQLITE}/") and {"?", "%"} & set(str(raw)) and raw.parent.is_dir():
        return _sqlite_uri(raw) if misread else uri
    return uri


def sweep(uri: str) -> None:
    """Remove the empty folders that MLflow makes of an address with codes in it."""
    folder = Path(uri[len(_SQLITE) :]).parent
    with suppress(OSError):  # there are none, or they are not empty
        while uri.startswith(f"{_SQLITE}/") and unquote(str(folder)) != str(folder):
            folder.rmdir()
            folder = folder.parent


def local_path(uri: str) -> Path | None:
    """The folder that a location of artifacts names, or None where it is not on this machine.

    Without a scheme it is a path in which only `%` means something, as MLflow reads it.
    """
    parsed = urlparse(uri)
    if parsed.scheme in {"", "file"}:
        return Path(unquote(parsed.path if parsed.scheme else uri))
    return None


def _location_of(folder: Path) -> str:
    """A folder as MLflow keeps it: a plain path where nobody could read it otherwise."""
    uri, plain = folder.as_uri(), str(folder)
    return plain if uri == f"file://{plain}" else uri


# --- experiments --------------------------------------------------------------------------------


def experiment_id(own: MlflowClient, name: str) -> str:
    """The id of an experiment, which is created where missing; RunError where it was deleted."""
    return str(_experiment(own, name)[0].experiment_id)


def _experiment(own: MlflowClient, name: str) -> tuple[Experiment, bool]:
    """An experiment, and whether it was created by this call."""
    from mlflow.exceptions import MlflowException

    found = own.get_experiment_by_name(name)
    if found is not None:
        if trashed(found):
            raise RunError(
                f"the experiment {name} was deleted in {own.tracking_uri}; restore it: mlflow "
                f"experiments restore --experiment-id {found.experiment_id}, or remove it for "
                f"good: mlflow gc --backend-store-uri {own.tracking_uri} --experiment-ids "
                f"{found.experiment_id}"
            )
        return found, False
    file, number = _file_of(own.tracking_uri), EXPERIMENTS.get(name)
    place = None
    if file is not None and number is not None:
        place = _location_of(file.parent.resolve() / "mlruns" / number)
    try:
        own.create_experiment(name, artifact_location=place)
    except MlflowException:
        created = own.get_experiment_by_name(name)
        if created is None:
            raise
        return created, False  # by another process, meanwhile
    created = own.get_experiment_by_name(name)
    assert created is not None
    return created, True


def trashed(entity: Experiment) -> bool:
    """Whether an experiment was deleted in the dashboard; it can be restored until `mlflow gc`."""
    return str(entity.lifecycle_stage) == "deleted"


def setup(root: Path) -> list[str]:
    """Create the database and the experiments where missing; return lines for the user.

    Artifacts of the experiments lie under output/mlruns/1 and /2: MLflow appends the run id only.
    A database that was moved or copied with its project is pointed to this place.
    """
    import mlflow

    quiet()
    output = (root / "output").resolve()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise output_error(output, e) from e
    uri = database_uri(root)
    lines = []
    with reached(uri), opening(uri):
        own = mlflow.MlflowClient(uri)
        sweep(uri)
        before = _moved_from(own)
        if before is not None:
            count = _point_to(output / "mlflow.db", before, output)
            lines.append(f"moved here from {before}: {count} places of artifacts are those of now")
            _checked.discard(uri)
        for name in EXPERIMENTS:
            try:
                _, created = _experiment(own, name)
            except RunError as e:
                lines.append(str(e))
                continue
            if created:
                lines.append(f"created the experiment {name} in {output / 'mlflow.db'}")
    if not lines:
        lines.append(f"{output / 'mlflow.db'} has its experiments already")
    state = _wrong_with(os.environ.get("MLFLOW_TRACKING_URI", ""), uri)
    if state:
        lines.append(f"MLFLOW_TRACKING_URI {state}: run export MLFLOW_TRACKING_URI={uri}")
    return lines


def _wrong_with(known: str, uri: str) -> str:
    """Why runs would not go into the database `uri`; "" where they do."""
    if not known:
        return "is not set"
    if known.startswith(_SQLITE) and not known.startswith(f"{_SQLITE}/"):
        return "is a relative path"
    if well_written(known) != known:
        return "names another file to MLflow, for ? and % mean something in it"
    # $PWD may go through links, which `uri` does not
    file, ours = _file_of(known), _file_of(uri)
    same = file is not None and ours is not None and file.resolve() == ours.resolve()
    return "" if same else "names another database, where runs go; for this one"


# --- a project that was moved -------------------------------------------------------------------

#: Databases that were looked at by this process.
_checked: set[str] = set()


def require_its_place(own: MlflowClient) -> None:
    """RunError where the database was moved or copied with its project, and not set up anew.

    Its runs could not be found, and new ones would be written to the old place.
    """
    uri = own.tracking_uri
    if uri in _checked:
        return
    before = _moved_from(own)
    file = _file_of(uri)
    if before is not None and file is not None:
        root = file.parent.parent
        raise RunError(
            f"{file}: moved or copied from {before}, where its artifacts are looked for; run setup "
            f"in {root} (make setup), which points it to this place"
        )
    _checked.add(uri)


def _moved_from(own: MlflowClient) -> Path | None:
    """The folder that the database lay in when its experiments were made, if it is another now."""
    file = _file_of(own.tracking_uri)
    if file is None or not file.is_file():
        return None
    here = file.parent.resolve()
    for name, number in EXPERIMENTS.items():
        found = own.get_experiment_by_name(name)
        place = None if found is None else local_path(found.artifact_location)
        if place is None or place.parts[-2:] != ("mlruns", number):
            continue
        there = place.parent.parent
        copied = there.name == here.name and (here / "mlruns").is_dir()
        if there.resolve() != here and (copied or not there.is_dir()):
            return there
    return None


def _point_to(file: Path, before: Path, now: Path) -> int:
    """Replace all paths below `before` (and its project) in a database; their number."""
    if before.name == now.name:  # output/: other folders of the project were moved with it
        before, now = before.parent, now.parent
    count = 0
    with closing(sqlite3.connect(file, timeout=60)) as database, database:
        for table, columns in _PATHS.items():
            known = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
            for column in set(columns.split()) & known:
                where = f" WHERE key = '{_PATH_TAG}'" if table == "tags" else ""
                rows = database.execute(f"SELECT rowid, {column} FROM {table}{where}").fetchall()
                for row, value in rows:
                    path = local_path(value) if value and table != "tags" else Path(value or "")
                    if path is None or not path.is_relative_to(before):
                        continue
                    place = now / path.relative_to(before)
                    text = str(place) if table == "tags" else _location_of(place)
                    database.execute(
                        f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (text, row)
                    )
                    count += 1
    return count
