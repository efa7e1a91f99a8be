"""Where the tracking database and its artifacts lie, wherever a project was put."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builtup.errors import NoSuchRunError, RunError
from builtup.runs import database, tracking
from builtup.runs.recorder import recording


@given(st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=20))
def test_a_location_names_its_folder_whatever_stands_in_the_name(name: str) -> None:
    folder = Path("/projects") / name / "output"
    assert database.local_path(database._location_of(folder)) == folder


def test_locations_that_earlier_commits_wrote_are_read_as_mlflow_reads_them() -> None:
    assert database.local_path("/projects/site#2/mlruns/1") == Path("/projects/site#2/mlruns/1")
    assert database.local_path("/projects/my site/mlruns/1") == Path("/projects/my site/mlruns/1")
    assert database.local_path("s3://bucket/mlruns/1") is None


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project with a finished run, and the run's id."""
    root = tmp_path_factory.mktemp("place") / "old"
    with pytest.MonkeyPatch.context() as patch:
        root.mkdir()
        enter(root, patch)
        tracking.setup(root)
        with recording("Trainings", "train x") as recorder:
            (recorder.folder / "weights").mkdir()
            recorder.tags({"config": "x", "predictions": str(root / "maps")})
    return root, recorder.run_id


def enter(root: Path, patch: pytest.MonkeyPatch) -> None:
    patch.chdir(root)
    patch.delenv("MLFLOW_RUN_ID", raising=False)
    patch.setenv("MLFLOW_TRACKING_URI", tracking.database_uri(root))


@pytest.mark.parametrize("name", ["new", "site#2", "what?", "50%41", "a;b & c"])
def test_a_copied_project_is_refused_until_setup_then_found_and_written_in_its_place(
    used: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    old, run_id = used
    root = tmp_path / name
    shutil.copytree(old, root)
    enter(root, monkeypatch)
    with pytest.raises(RunError, match=r"moved or copied from .*old/output.*run setup in") as e:
        tracking.find_run(run_id)
    assert "\n" not in str(e.value)
    assert any("moved here from" in line for line in tracking.setup(root))
    run = tracking.find_run(run_id)
    folder = tracking.artifact_folder(run)
    assert folder == root / "output/mlruns/1" / run_id / "artifacts"
    assert (folder / "weights").is_dir()
    assert run.data.tags["predictions"] == str(root / "maps")
    with recording("Trainings", "train y") as recorder:
        tracking.client().log_text(recorder.run_id, "here", "a.txt")
    assert recorder.folder.is_relative_to(root)
    assert (recorder.folder / "a.txt").read_text() == "here"
    assert not (old / "output/mlruns/1" / recorder.run_id).exists()
    assert {path.name for path in tmp_path.iterdir()} == {name}  # nothing beside it


def test_a_database_in_its_place_or_behind_a_link_is_not_taken_for_a_moved_one(
    used: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, run_id = used
    (tmp_path / "link").symlink_to(old)
    uri = f"sqlite:///{tmp_path / 'link' / 'output' / 'mlflow.db'}"
    enter(old, monkeypatch)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert tracking.find_run(run_id).info.run_id == run_id
    (tmp_path / "backup" / "output").mkdir(parents=True)
    shutil.copy(old / "output/mlflow.db", tmp_path / "backup" / "output")  # without its artifacts
    enter(tmp_path / "backup", monkeypatch)
    assert tracking.find_run(run_id).info.run_id == run_id


@pytest.mark.parametrize(("name", "code"), [("what?", "what%3F"), ("50%41", "50%2541")])
def test_an_address_that_mlflow_reads_otherwise_is_corrected_or_refused_with_the_right_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    code: str,
) -> None:
    (tmp_path / name / "output").mkdir(parents=True)
    right = f"sqlite:///{tmp_path}/{code}/output/mlflow.db"
    assert database.well_written(right) == right
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/{name}/output/mlflow.db")
    monkeypatch.setenv("MLFLOW_RUN_ID", "abc")  # which is in the other file
    with pytest.raises(RunError, match=rf"export MLFLOW_TRACKING_URI={right}"):
        tracking.client()
    monkeypatch.delenv("MLFLOW_RUN_ID")
    assert tracking.client().tracking_uri == right
    assert f"taken as {right}" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_was_deleted_in_the_dashboard_is_said_with_the_remedy(
    used: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(used[0], tmp_path / "p")
    enter(tmp_path / "p", monkeypatch)
    tracking.setup(tmp_path / "p")
    own = tracking.client()
    own.delete_experiment("1")
    restore = "mlflow experiments restore --experiment-id 1"
    assert any(restore in line for line in tracking.setup(tmp_path / "p"))
    with pytest.raises(RunError, match=restore), recording("Trainings", "x"):
        pass
    with pytest.raises(NoSuchRunError, match=restore):
        tracking.newest_run("Trainings")


def test_a_database_of_another_mlflow_is_one_line_with_both_remedies(
    used: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(used[0] / "output", tmp_path / "output")
    with sqlite3.connect(tmp_path / "output" / "mlflow.db") as file:
        file.execute("UPDATE alembic_version SET version_num = 'of_tomorrow'")
    enter(tmp_path, monkeypatch)
    for ask in (tracking.client, lambda: tracking.setup(tmp_path)):
        with pytest.raises(RunError, match=r"another version of MLflow than .*db upgrade") as e:
            ask()
        assert "\n" not in str(e.value)


def test_an_experiment_that_another_process_creates_meanwhile_is_taken() -> None:
    from mlflow.exceptions import MlflowException

    asked: list[str] = []

    class Own:
        tracking_uri = "http://127.0.0.1"

        def get_experiment_by_name(self, name: str) -> Any:
            asked.append(name)
            late = SimpleNamespace(experiment_id="7", lifecycle_stage="active")
            return late if len(asked) > 1 else None

        def create_experiment(self, name: str, artifact_location: str | None) -> str:
            raise MlflowException("already exists")

    assert database.experiment_id(Own(), "Trainings") == "7"  # type: ignore[arg-type]


def test_only_one_process_at_a_time_opens_a_new_database(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/output/mlflow.db"
    code = (
        "import sys; from builtup.runs.database import opening\n"
        f"with opening({uri!r}): print('opened')"
    )
    with database.opening(uri):
        other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(timeout=3)
    assert other.communicate(timeout=60)[0] == b"opened\n"
    with database.opening(uri), database.opening(uri):  # known: it does not wait for itself
        pass


def test_setup_says_when_runs_would_go_elsewhere(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = tracking.database_uri(database)
    link = tmp_path / "link"
    link.symlink_to(database)
    for known, said in {
        uri: "",
        f"sqlite:///{link}/output/mlflow.db": "",
        "sqlite:////elsewhere/mlflow.db": "names another database",
        "https://tracking.example.org": "names another database",
        "sqlite:///output/mlflow.db": "is a relative path",
        "": "is not set",
    }.items():
        monkeypatch.setenv("MLFLOW_TRACKING_URI", known)
        lines = tracking.setup(database)[1:]
        assert len(lines) == bool(said)
        assert all(
            said in line and line.endswith(f"export MLFLOW_TRACKING_URI={uri}") for line in lines
        )
