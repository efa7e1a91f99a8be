"""What a run says to MLflow where its artifacts lie elsewhere, and in silence."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from builtup.errors import OutputError
from builtup.runs import tracking
from builtup.runs.tracking import Recorder, recording


def test_artifacts_of_a_remote_store_are_uploaded_at_the_end(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    uploaded: list[str] = []
    monkeypatch.setattr(mlflow, "log_artifacts", uploaded.append)
    info = SimpleNamespace(run_id="abc", artifact_uri="mlflow-artifacts:/1/abc/artifacts")
    recorder = Recorder(SimpleNamespace(info=info))  # type: ignore[arg-type]
    assert recorder.folder == Path("output/runs/abc")
    recorder.finish()
    assert uploaded == ["output/runs/abc"]


def test_all_but_rank_0_are_silent() -> None:
    with recording("Nowhere", "x", active=False) as recorder:
        recorder.params({"a": 1})
        recorder.metrics({"b": 2.0}, 1)
        recorder.tags({"c": "d"})
    assert recorder.run_id == ""


def test_an_artifact_folder_that_cannot_be_made_is_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    refused = pytest.raises(OutputError, match=r"cannot be written \(Permission denied\)")
    with refused, recording("Trainings", "x"):
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
