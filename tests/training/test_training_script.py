"""Whole trainings: what is logged, resumed, stopped, and shared among processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from builtup.config.launch import run_script
from builtup.errors import BuiltupError, ConfigError
from builtup.runs import tracking
from builtup.training.checkpoints import load_state, load_trained
from forks import launching_forks
from tiny_training import write_tiny

SCRIPT = Path(__file__).parents[2] / "code" / "scripts" / "training.py"


def train(folder: Path, overrides: str = "", processes: int = 1, extra: str = "") -> Any:
    """Run the script; return the MLflow run."""
    run_script(SCRIPT, write_tiny(folder, extra), processes, overrides)
    return newest()


def newest() -> Any:
    own = tracking.client()
    experiment = own.get_experiment_by_name("Trainings")
    return own.search_runs(
        [experiment.experiment_id], order_by=["attributes.start_time DESC"], max_results=1
    )[0]


def artifacts(run: Any) -> Path:
    folder = tracking.artifact_folder(run)
    assert folder is not None
    return folder


def curve(run: Any, name: str) -> dict[int, float]:
    points = tracking.client().get_metric_history(run.info.run_id, name)
    return {point.step: point.value for point in points}


@pytest.fixture(scope="module")
def finished(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One uninterrupted training, shared by the tests that read it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(database)
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", tracking.database_uri(database))
        return train(
            tmp_path_factory.mktemp("finished"),
            "num_epochs=4 log_interval=1 es_patience=9 ema_decay=0.9 log_predictions=2",
        )


def test_a_training_logs_its_settings_scores_and_origin(finished: Any, project: Path) -> None:
    assert finished.info.status == "FINISHED"
    params, metrics, tags = finished.data.params, finished.data.metrics, finished.data.tags
    assert params["cfg/lr"] == "0.05"
    assert params["cfg/num_epochs"] == "4"
    assert params["cfg/loss"] == "CE(0.75, 1.5)"
    assert "num_epochs=4" in params["cfg/overrides"]
    assert tags["city"] == "City0, City1"
    assert len(tags["git_commit"]) >= 7
    expected = {"train/loss", "lr", "val/f1", "val/iou", "val/precision", "val/recall"}
    assert expected | {"val/macro_f1", "val/City0/f1", "val/City1/f1"} <= metrics.keys()
    assert sorted(curve(finished, "val/f1")) == [3, 6, 9, 12]
    assert sorted(curve(finished, "train/loss")) == list(range(1, 13))
    assert metrics["val/f1"] > 0.5


def test_a_training_leaves_config_weights_checkpoints_and_pictures(
    finished: Any, project: Path
) -> None:
    folder = artifacts(finished)
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    wanted = {
        f"{kind}/{name}.pt" for kind in ("weights", "checkpoints") for name in ("best", "last")
    }
    assert wanted | {"config/tiny.py", "config/settings.json", "summary.json"} <= found
    assert not [name for name in found if "partial" in name]
    assert len([name for name in found if name.startswith("pictures/tile_10")]) >= 2
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["threshold_tuned_on"] == ["City0", "City1"]
    best = max(curve(finished, "val/f1").values())
    assert summary["metrics"]["f1"] == pytest.approx(best)
    assert summary["threshold_f1"] >= summary["metrics"]["f1"] - 1e-6
    trained = load_trained(finished.info.run_id)
    assert (trained.run_id, trained.threshold) == (finished.info.run_id, summary["threshold"])


def test_a_resumed_training_has_the_losses_of_an_uninterrupted_one(
    finished: Any, project: Path, tmp_path: Path
) -> None:
    options = "log_interval=1 es_patience=9 ema_decay=0.9 log_predictions=0"
    with pytest.raises(KeyboardInterrupt):  # in the third epoch's first batch
        train(tmp_path, f"num_epochs=4 {options} stop_after=12")
    interrupted = newest()
    assert interrupted.info.status == "KILLED"
    options += f" stop_after=0 resume_from={interrupted.info.run_id}"
    run = train(tmp_path, f"num_epochs=4 {options}")
    whole = curve(finished, "train/loss")
    assert curve(interrupted, "train/loss") == {k: v for k, v in whole.items() if k <= 6}
    assert curve(run, "train/loss") == {k: v for k, v in whole.items() if k > 6}
    assert curve(run, "val/f1") == {k: v for k, v in curve(finished, "val/f1").items() if k > 6}
    ours, theirs = (load_state(artifacts(r) / "weights" / "last.pt") for r in (run, finished))
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    assert (artifacts(run) / "weights" / "best.pt").is_file()


def test_nothing_is_left_to_resume_of_a_finished_training(
    finished: Any, project: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"all its 4 epochs are done; raise num_epochs above 4"):
        train(tmp_path, f"num_epochs=4 ema_decay=0.9 resume_from={finished.info.run_id}")


def test_a_failed_training_is_logged_as_failed_and_says_why(project: Path, tmp_path: Path) -> None:
    with pytest.raises(BuiltupError, match=r"loss is \S+ at epoch 1, iteration \d, tiles .*tile_3"):
        train(tmp_path, "nan_at=3 lr=1e30 log_predictions=0")
    run = newest()
    assert run.info.status == "FAILED"
    assert "tile_3" in run.data.tags["error"]


def test_the_run_that_mlflow_opened_is_continued(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tracking.client()
    experiment = own.get_experiment_by_name("Trainings")
    opened = own.create_run(experiment.experiment_id).info.run_id
    own.log_param(opened, "overrides", "'num_epochs=1'")  # as the entry point's parameter
    monkeypatch.setenv("MLFLOW_RUN_ID", opened)
    run_script(SCRIPT, write_tiny(tmp_path), 1, "num_epochs=1 amp=true log_predictions=0")
    run = own.get_run(opened)
    assert run.info.status == "FINISHED"
    assert run.data.params["cfg/overrides"].startswith("num_epochs=1")


def test_without_validation_the_last_weights_are_the_best(project: Path, tmp_path: Path) -> None:
    extra = "\n\ndef val_loader():\n    return None\n"
    run_script(SCRIPT, write_tiny(tmp_path, extra), 1, "num_epochs=1")
    trained = load_trained(newest().info.run_id)
    assert trained.threshold == 0.5


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("val_interval=0", "val_interval = 0: expected 1 or more"),
        ("val_metrics=f1,f2", r"val_metrics = \('f1', 'f2'\): expected some of f1, iou"),
        ("num_workers=-1", "override num_workers=-1: nothing reads it in this config"),
        ("clip_grad_norm=-1", r"clip_grad_norm = -1\.0: expected a number above 0"),
        ("batch_size=0", "batch_size = 0: expected 1 or more"),
        ("device=tpu9", "device = 'tpu9': no such device"),
        ("normalisation=mean", "normalisation = 'mean': expected config or stats"),
    ],
)
def test_settings_out_of_range_are_refused(
    project: Path, tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(tmp_path, override)


def test_max_minutes_ends_with_a_validation_and_checkpoints(project: Path, tmp_path: Path) -> None:
    run = train(tmp_path, "num_epochs=1000 max_minutes=0 log_predictions=0 accumulation_steps=2")
    assert run.info.status == "FINISHED"
    summary = json.loads((artifacts(run) / "summary.json").read_text())
    assert (summary["finished"], summary["iterations"], summary["epochs"]) == (True, 2, 0)
    assert list(curve(run, "val/f1")) == [2]
    assert load_state(artifacts(run) / "checkpoints" / "last.pt")["progress"]["iteration"] == 2


def test_a_training_that_stopped_within_an_epoch_takes_the_rest_of_it(
    project: Path, tmp_path: Path
) -> None:
    options = (
        "num_epochs=2 log_predictions=0 log_interval=1 accumulation_steps=2 ordered=true dropout=0"
    )
    stopped = train(tmp_path, f"{options} max_minutes=0")
    run = train(tmp_path, f"{options} resume_from={artifacts(stopped)}")
    assert sorted(curve(stopped, "train/loss")) == [1, 2]
    assert sorted(curve(run, "train/loss")) == [3, 4, 5, 6]
    assert sorted(curve(run, "val/f1")) == [3, 6]
    whole = train(tmp_path, options)
    assert curve(run, "lr") == {k: v for k, v in curve(whole, "lr").items() if k > 2}
    ours, theirs = (load_state(artifacts(r) / "weights" / "last.pt") for r in (run, whole))
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


ONE_CYCLE = """

def lr_scheduler(optimizer, total_steps):
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=total_steps)
"""
ADAM = "\n\ndef optimizer(model):\n    return torch.optim.Adam(model.parameters(), lr=lr)\n"
CONSTANT = "\n\ndef lr_scheduler(optimizer):\n    return None\n"


@pytest.fixture(scope="module")
def stopped(finished: Any, database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifacts of a training that stopped after its first step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(database)
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", tracking.database_uri(database))
        options = "max_minutes=0 log_predictions=0"
        return artifacts(train(tmp_path_factory.mktemp("stopped"), options, extra=ONE_CYCLE))


@pytest.mark.parametrize(
    ("override", "extra", "message"),
    [
        ("accumulation_steps=2", "", r"accumulation_steps = 1, not 2; make it the same"),
        ("batch_size=3", "", r"batches an epoch \(from batch_size.*\) = 3, not 2; make"),
        ("samples=8", "", r"batches an epoch \(.*\) = 3, not 4; make"),
        ("", ADAM, r"optimizer = SGD, not Adam; make"),
        ("", CONSTANT, r"lr_scheduler = OneCycleLR, not None; make"),
    ],
)
def test_a_config_under_which_a_checkpoint_means_something_else_does_not_go_on_from_it(
    project: Path, tmp_path: Path, stopped: Path, override: str, extra: str, message: str
) -> None:
    options = f"{override} log_predictions=0 resume_from={stopped}"
    with pytest.raises(ConfigError, match=message) as caught:
        train(tmp_path, options, extra=ONE_CYCLE + extra)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("epochs", [2, 5])
def test_a_training_may_go_on_for_fewer_or_more_epochs_also_from_an_older_checkpoint(
    project: Path, tmp_path: Path, stopped: Path, epochs: int
) -> None:
    state = load_state(stopped / "checkpoints" / "last.pt")
    state.pop("made_with")
    path = tmp_path / "old.pt"
    torch.save(state, path)
    options = f"num_epochs={epochs} log_predictions=0"
    run = train(tmp_path, f"{options} resume_from={path}", extra=ONE_CYCLE)
    assert json.loads((artifacts(run) / "summary.json").read_text())["iterations"] == 3 * epochs


def test_early_stopping_counts_validations_without_a_better_one(
    project: Path, tmp_path: Path
) -> None:
    run = train(tmp_path, "num_epochs=50 lr=0 es_patience=2 log_predictions=0")
    # BatchNorm's statistics still move at rate 0, so a few validations may be better
    summary = json.loads((artifacts(run) / "summary.json").read_text())
    assert summary["iterations"] == summary["best_iteration"] + 2 * 3
    assert summary["epochs"] < 50


def test_a_config_without_a_model_is_refused_before_a_run_is_opened(
    project: Path, tmp_path: Path
) -> None:
    path = tmp_path / "empty.py"
    path.write_text("seed, num_classes, num_epochs = 1, 2, 3\n")
    before = newest().info.run_id
    with pytest.raises(ConfigError, match=r"empty\.py: model is missing"):
        run_script(SCRIPT, path, 1, "")
    assert newest().info.run_id == before


def test_two_processes_score_as_one_to_the_last_digit_and_learn_the_same(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    options = (
        "num_epochs=2 start_by_validation=true log_predictions=0 log_interval=1 "
        "accumulation_steps=2 dropout=0 norm=false ordered=true class_weights=1,1"
    )
    one = train(tmp_path, options)
    with launching_forks("builtup.training.trainer"):
        two = train(tmp_path, options, processes=2)
    assert two.data.params["cfg/processes"] == "2"
    names = [n for n in one.data.metrics if n.startswith("val/") and 0 in curve(one, n)]
    assert len(names) > 10  # some are of the end alone
    for name in names:
        assert curve(two, name)[0] == curve(one, name)[0], name
    # each process has half of every batch: the same steps but for rounding
    assert curve(two, "train/loss") == pytest.approx(curve(one, "train/loss"), rel=1e-4)
    ours, theirs = (load_state(artifacts(run) / "weights" / "last.pt") for run in (one, two))
    for key, value in ours.items():
        torch.testing.assert_close(theirs[key], value, rtol=1e-3, atol=1e-5)


def test_an_error_in_a_process_comes_back_as_one_line(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with (
        launching_forks("builtup.training.trainer"),
        pytest.raises(BuiltupError, match="the loss is") as caught,
    ):
        train(tmp_path, "nan_at=3 lr=1e30 log_predictions=0", processes=2)
    assert "\n" not in str(caught.value)
    assert newest().info.status == "FAILED"
