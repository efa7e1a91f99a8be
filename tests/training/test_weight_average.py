"""The mean of the last epochs' weights: its statistics, its validation, its resumption."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from builtup.config.launch import run_script
from builtup.data.contract import as_tile_loader
from builtup.errors import ConfigError
from builtup.runs import tracking
from builtup.training.checkpoints import load_state, load_trained, save_state
from builtup.training.learner import Learner
from builtup.training.weight_average import FOLDER, mean_of, refresh_norms
from tiny_training import write_tiny

SCRIPT = Path(__file__).parents[2] / "code" / "scripts" / "training.py"
OPTIONS = "ordered=true num_epochs=4 soup=3 log_predictions=0"


def train(folder: Path, overrides: str, extra: str = "") -> tuple[Any, Path]:
    """The MLflow run and its artifacts."""
    run_script(SCRIPT, write_tiny(folder, extra), 1, overrides)
    return newest()


def newest() -> tuple[Any, Path]:
    own = tracking.client()
    experiment = own.get_experiment_by_name("Trainings")
    run = own.search_runs(
        [experiment.experiment_id], order_by=["attributes.start_time DESC"], max_results=1
    )[0]
    folder = tracking.artifact_folder(run)
    assert folder is not None
    return run, folder


def test_a_mean_is_of_weights_and_keeps_what_is_no_number(tmp_path: Path) -> None:
    paths = []
    for i, value in enumerate((1.0, 2.0, 6.0)):
        state = {"w": torch.full((2,), value), "n": torch.tensor(i), "s": torch.tensor([7, 8])}
        paths.append(tmp_path / f"{i}.pt")
        save_state(state, paths[-1])
    mean = mean_of(paths)
    assert mean["w"].tolist() == [3, 3] and mean["w"].dtype == torch.float32
    assert int(mean["n"]) == 2 and mean["s"].tolist() == [7, 8]


def test_norms_are_measured_over_all_batches_without_dropout() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(1), nn.Dropout(0.5))
    model.train()
    learner = Learner(model, nn.MSELoss(), torch.optim.SGD(model.parameters(), lr=0.1))
    batches = [{"image": torch.randn(4, 1, 8, 8) + i} for i in range(3)]
    refresh_norms(
        learner,
        as_tile_loader(batches),
        lambda batch, device, wait: (batch["image"], batch["image"]),
    )
    images = torch.stack([batch["image"] for batch in batches])
    torch.testing.assert_close(model[1].running_mean[0], images.mean())
    torch.testing.assert_close(model[1].running_var[0], images.flatten(1).var(dim=1).mean())
    assert model.training and model[1].momentum == 0.1


def test_a_network_without_norms_reads_no_batch() -> None:
    model = nn.Conv2d(1, 1, 1)
    learner = Learner(model, nn.MSELoss(), torch.optim.SGD(model.parameters(), lr=0.1))
    refresh_norms(learner, as_tile_loader(()))


@pytest.fixture(scope="module")
def cooked(database: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(database)
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", tracking.database_uri(database))
        tracking.client()
        return train(tmp_path_factory.mktemp("cooked"), OPTIONS)


def test_the_last_epochs_are_averaged_validated_and_saved(
    cooked: tuple[Any, Path], project: Path
) -> None:
    run, folder = cooked
    kept = sorted((folder / FOLDER).glob("*.pt"))
    assert [int(path.stem) for path in kept] == [6, 9, 12]
    mean, soup = mean_of(kept), load_state(folder / "weights" / "soup.pt")
    for key, value in mean.items():
        measured_anew = "running" in key or "num_batches" in key
        assert torch.allclose(soup[key], value) is not measured_anew
    summary = json.loads((folder / "summary.json").read_text())
    record = summary["soup"]
    assert record["iterations"] == [6, 9, 12] and summary["finished"]
    assert record["scores"]["f1"] == pytest.approx(run.data.metrics["soup/f1"])
    # the learner's own weights are untouched
    last = load_state(folder / "weights" / "last.pt")
    assert all(torch.equal(value, last[key]) for key, value in load_state(kept[-1]).items())
    trained = load_trained(run.info.run_id, "soup")
    assert trained.threshold == record["threshold"]
    assert torch.equal(trained.model.state_dict()["network.0.weight"], soup["network.0.weight"])


def test_the_best_is_the_soup_only_where_it_is_better(
    cooked: tuple[Any, Path], project: Path
) -> None:
    run, folder = cooked
    summary = json.loads((folder / "summary.json").read_text())
    history = tracking.client().get_metric_history(run.info.run_id, "val/f1")
    before = max(point.value for point in history)
    better = summary["soup"]["scores"]["f1"] > before
    assert summary["soup"]["is_best"] is better
    assert summary["metrics"]["f1"] == pytest.approx(
        summary["soup"]["scores"]["f1"] if better else before
    )
    best, soup = (load_state(folder / "weights" / f"{name}.pt") for name in ("best", "soup"))
    assert all(torch.equal(best[key], soup[key]) for key in soup) is better


def test_an_interrupted_training_cooks_the_same_soup(
    cooked: tuple[Any, Path], project: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):  # in the third epoch
        train(tmp_path, f"{OPTIONS} stop_after=15")
    run, folder = newest()
    assert run.info.status == "KILLED" and len(list((folder / FOLDER).glob("*.pt"))) == 2
    _, resumed = train(tmp_path, f"{OPTIONS} stop_after=0 resume_from={run.info.run_id}")
    one, other = (load_state(f / "weights" / "soup.pt") for f in (cooked[1], resumed))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_run_killed_before_its_soup_was_done_only_cooks(
    cooked: tuple[Any, Path], project: Path, tmp_path: Path
) -> None:
    killed = tmp_path / "killed"
    shutil.copytree(cooked[1], killed)
    with pytest.raises(ConfigError, match="all its 4 epochs are done"):
        train(tmp_path, f"{OPTIONS} resume_from={killed}")
    (killed / "weights" / "soup.pt").unlink()
    run, folder = train(tmp_path, f"{OPTIONS} resume_from={killed}")
    one, other = (load_state(f / "weights" / "soup.pt") for f in (cooked[1], folder))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert "train/loss" not in run.data.metrics
    assert {"best.pt", "last.pt"} <= {path.name for path in (folder / "weights").iterdir()}


def test_without_validation_the_soup_is_saved_and_never_the_best(
    project: Path, tmp_path: Path
) -> None:
    extra = "\n\ndef val_loader():\n    return None\n"
    _, folder = train(tmp_path, "num_epochs=2 soup=2 ema_decay=0.5", extra)
    best, last, soup = (
        load_state(folder / "weights" / f"{name}.pt") for name in ("best", "last", "soup")
    )
    assert all(torch.equal(best[key], last[key]) for key in best)
    assert not torch.equal(soup["network.0.weight"], last["network.0.weight"])


@pytest.mark.parametrize("soup", [-1, 1])
def test_a_soup_of_one_is_refused(project: Path, tmp_path: Path, soup: int) -> None:
    with pytest.raises(ConfigError, match=f"soup = {soup}: expected 0, or 2 or more"):
        train(tmp_path, f"soup={soup}")
