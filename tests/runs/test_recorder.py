"""What a run says to MLflow: in silence, while MLflow is away, and within an opened run."""

from __future__ import annotations

import json
import logging
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest

from builtup.errors import OutputError, RunError
from builtup.runs import recorder as module
from builtup.runs import tracking
from builtup.runs.recorder import UNSENT, Recorder, recording


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


# --- MLflow away --------------------------------------------------------------------------------


class Away:
    """A store of MLflow that does not answer the first `calls`."""

    def __init__(self, calls: int) -> None:
        self.calls = calls
        self.sent: list[Any] = []

    def __call__(self, run_id: str, metrics: Any = ()) -> None:
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

        if self.calls:
            self.calls -= 1
            raise MlflowException(
                "database is\nlocked\n[SQL: SELECT 1]", error_code=TEMPORARILY_UNAVAILABLE
            )
        self.sent += metrics


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.0)
    monkeypatch.setattr(module, "PATIENCE", 0.0)


def test_figures_that_mlflow_did_not_take_are_sent_later_with_one_line_each(
    project: Path, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), recording("Trainings", "x") as recorder:
        assert recorder._own is not None
        store = recorder._own.log_batch = Away(3)  # type: ignore[method-assign, assignment]
        for step in range(5):
            recorder.metrics({"train/loss": step / 2}, step)
    assert [(of.step, of.value) for of in store.sent] == [(n, n / 2) for n in range(5)]
    lines = [r.message for r in caplog.records if "MLflow" in r.message and "figures" in r.message]
    assert lines == [
        "MLflow does not take figures (database is locked); they are kept, and sent later",
        "MLflow takes figures again: 4 sent",
    ]
    assert tracking.find_run(recorder.run_id).info.status == "FINISHED"


def test_figures_that_mlflow_never_takes_are_written_beside_the_artifacts(
    project: Path, impatient: None
) -> None:
    with pytest.raises(RunError, match=UNSENT) as e, recording("Trainings", "x") as recorder:
        assert recorder._own is not None
        recorder._own.log_batch = Away(99)  # type: ignore[method-assign, assignment]
        recorder.metrics({"train/loss": 2.0}, 7)
    assert "\n" not in str(e.value)
    kept = json.loads((recorder.folder / UNSENT).read_text())
    assert [(of["key"], of["value"], of["step"]) for of in kept] == [("train/loss", 2.0, 7)]
    assert tracking.find_run(recorder.run_id).info.status == "FAILED"


def test_a_run_whose_end_mlflow_does_not_take_ends_all_the_same(
    project: Path,
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    import mlflow

    end = mlflow.end_run

    def away(status: str) -> None:
        end("KILLED")
        Away(1)("x")

    monkeypatch.setattr(mlflow, "end_run", away)
    with recording("Trainings", "x") as recorder:
        pass
    assert tracking.find_run(recorder.run_id).info.status == "FINISHED"


def test_what_may_pass_is_waited_for_and_what_may_not_is_one_line(
    impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException

    store = Away(2)
    monkeypatch.setattr(module, "PATIENCE", 60.0)
    module._patiently(lambda: store("x"))
    assert store.calls == 0

    def refuse() -> None:
        store.calls += 1
        raise MlflowException.invalid_parameter_value("changing param\nvalues")

    with pytest.raises(RunError, match="changing param values"):
        module._patiently(refuse)
    assert store.calls == 1


def told_to_end(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """SIGTERM arrives while a run is being closed."""
    end = module._end_run

    def late(run_id: str, status: str) -> None:
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGTERM)
        end(run_id, status)

    monkeypatch.setattr(module, "_end_run", late)


def test_a_run_is_closed_before_a_late_sigterm_is_heard(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # of several processes that fail the first ends the others, among them the one that records
    told_to_end(monkeypatch, 1)
    with pytest.raises(RunError, match="its own"), recording("Inferences", "failed") as failed:
        raise RunError("its own")
    assert tracking.client().get_run(failed.run_id).info.status == "FAILED"
    with pytest.raises(SystemExit), recording("Inferences", "finished") as finished:
        pass
    assert tracking.client().get_run(finished.run_id).info.status == "FINISHED"


def test_a_second_late_sigterm_ends_at_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told_to_end(monkeypatch, 2)
    with pytest.raises(SystemExit), recording("Inferences", "stubborn"):
        raise RunError("its own")
    mlflow.end_run()


def test_a_killed_loader_is_one_line_that_names_the_way_on(project: Path) -> None:
    killed = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. \nOr so.")
    with pytest.raises(RunError) as e, recording("Trainings", "x") as recorder:
        raise killed
    assert f"resume_from={recorder.run_id}" in str(e.value) and "\n" not in str(e.value)
    with pytest.raises(RuntimeError, match="a bug"), recording("Trainings", "x"):
        raise RuntimeError("a bug")


# --- an opened run ------------------------------------------------------------------------------


def open_run(patch: pytest.MonkeyPatch, **options: Any) -> str:
    """The id of a run such as `mlflow run` opens."""
    run_id = str(tracking.client().create_run("0", **options).info.run_id)
    patch.setenv("MLFLOW_RUN_ID", run_id)
    return run_id


def test_a_second_record_goes_beneath_the_run_that_holds_the_first(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened = open_run(monkeypatch)
    with recording("Trainings", "train x") as first:
        first.tags({"config": "x"})
        (first.folder / "config").write_text("of the training")
    monkeypatch.setenv("MLFLOW_RUN_ID", opened)  # MLflow forgets it at the end of a run
    with recording("Inferences", "validate Mosul") as second:
        second.tags({"config": "validate", "training_run": opened})
        (second.folder / "config").write_text("of the inference")
        tracking.link(training_run=opened, inference_run=second.run_id)
    assert first.run_id == opened != second.run_id
    assert (first.folder / "config").read_text() == "of the training"
    run, beneath = tracking.find_run(opened), tracking.find_run(second.run_id)
    assert "inference_run" not in run.data.tags and run.data.tags["config"] == "x"
    assert beneath.data.tags["mlflow.parentRunId"] == opened
    assert tracking.newest_run("Trainings").info.run_id == opened
    assert "beneath it" in caplog.text


def test_a_run_that_mlflow_named_gets_a_name_and_one_that_a_user_named_keeps_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for given, wanted in {None: "train demo", "my best one": "my best one"}.items():
        opened = open_run(monkeypatch, run_name=given)
        with recording("Trainings", "train demo"):
            pass
        assert tracking.find_run(opened).info.run_name == wanted


def test_a_run_that_was_deleted_is_refused_in_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_run(monkeypatch)
    tracking.client().delete_run(opened)
    with pytest.raises(RunError, match=r"restore what was deleted") as e, recording("T", "x"):
        pass
    assert "\n" not in str(e.value)
