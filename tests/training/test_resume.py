"""Going on with a training: what is held out, what is best, which settings hold."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from builtup.config.launch import run_script
from builtup.errors import BuiltupError, ConfigError, LeakageError
from builtup.runs import tracking
from builtup.training.checkpoints import load_state
from builtup.training.learnt_ground import LearntGround
from helpers import ROOT
from tiny_folds import enter, write_cities, write_config

SCRIPT = ROOT / "code" / "scripts" / "training.py"
INFER = ROOT / "code" / "scripts" / "inference.py"
ALPHA, BETA, GAMMA = "38SAA_Alpha", "38SBB_Beta", "38SCC_Gamma"
FAST = "num_epochs=1 log_model=false"
#: As many batches an epoch, whatever is held out.
LOADER = """

def train_loader():
    return loaders.train_loader(
        data_path, val_fold=val_fold, batch_size=batch_size, crop=32, seed=seed,
        samples_per_epoch=12,
    )
"""
Train = Callable[..., Path]


def newest() -> Path:
    own = tracking.client()
    experiment = own.get_experiment_by_name("Trainings")
    order = ["attributes.start_time DESC"]
    found = own.search_runs([experiment.experiment_id], order_by=order, max_results=1)[0]
    folder = tracking.artifact_folder(found)
    assert folder is not None
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("resume")
    write_cities(root)
    return root


@pytest.fixture
def train(data: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Train with overrides; give the folder of artifacts."""
    enter(database, monkeypatch)

    def run(overrides: str, extra: str = "") -> Path:
        config = write_config(data, data / "tiles")
        config.write_text(config.read_text() + LOADER + extra)
        run_script(SCRIPT, config, 1, overrides)
        return newest()

    return run


@pytest.fixture(scope="module")
def first(data: Path, database: Path) -> Path:
    """A training of one epoch that held out Alpha, validated on it."""
    with pytest.MonkeyPatch.context() as patch:
        enter(database, patch)
        config = write_config(data, data / "tiles")
        config.write_text(config.read_text() + LOADER)
        run_script(SCRIPT, config, 1, f"{FAST} val_fold=0 lr=0.03")
        return newest()


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


def same_weights(one: Path, other: Path) -> bool:
    ours, theirs = (load_state(path) for path in (one, other))
    return all(torch.equal(value, theirs[key]) for key, value in ours.items())


@pytest.mark.parametrize("fold", ["1", BETA, f"{BETA} validate=false"])
def test_ground_that_was_learnt_from_cannot_be_held_out(
    train: Train, first: Path, fold: str
) -> None:
    message = rf"that run has learnt from {BETA} \(it held out {ALPHA}\)"
    with pytest.raises(LeakageError, match=message) as caught:
        train(f"num_epochs=2 val_fold={fold} resume_from={first}")
    assert "\n" not in str(caught.value)


def test_what_was_learnt_on_the_way_counts_however_many_runs_ago(train: Train, first: Path) -> None:
    everything = train(f"num_epochs=2 val_fold=none validate=false resume_from={first}")
    assert summary(everything)["trained_on"] == [ALPHA, BETA, GAMMA]
    assert LearntGround.read(everything).folds == (ALPHA, BETA, GAMMA)
    with pytest.raises(LeakageError, match="has learnt from"):
        train(f"num_epochs=3 val_fold=0 validate=true resume_from={everything}")


def test_the_best_of_a_run_without_validation_is_its_own(train: Train, first: Path) -> None:
    run = train(f"num_epochs=2 val_fold=none validate=false resume_from={first}")
    weights = run / "weights"
    assert same_weights(weights / "best.pt", weights / "last.pt")
    assert not same_weights(weights / "best.pt", first / "weights" / "best.pt")
    told = summary(run)
    assert told["best_iteration"] == told["iterations"]
    assert (told["threshold"], told["threshold_tuned_on"], told["metrics"]) == (0.5, [], {})


def test_another_score_does_not_inherit_the_best(
    train: Train, first: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = train(f"num_epochs=2 val_metrics=iou,f1 resume_from={first}")
    assert "chosen by another validation" in caplog.text
    assert summary(run)["best_iteration"] > summary(first)["iterations"]


def test_the_run_s_overrides_hold_unless_others_are_given(
    train: Train, first: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = train(f"num_epochs=2 resume_from={first}")
    logged = json.loads((run / "config" / "settings.json").read_text())
    assert logged["settings"]["lr"] == 0.03 and logged["settings"]["log_model"] is False
    assert logged["settings"]["val_fold"] == ALPHA  # by name: a number may be another city's
    assert f"gone on with: log_model=false val_fold={ALPHA} lr=0.03" in caplog.text
    assert "otherwise than before: num_epochs = 2 (was 1)" in caplog.text
    group = load_state(run / "checkpoints" / "last.pt")["optimizer"]["param_groups"][0]
    assert group["lr"] == 0.03


def test_another_rate_is_used_and_said(
    train: Train, first: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = train(f"num_epochs=2 lr=0.001 resume_from={first}")
    group = load_state(run / "checkpoints" / "last.pt")["optimizer"]["param_groups"][0]
    assert group["lr"] == 0.001
    assert "lr = 0.001 (was 0.03)" in caplog.text


def test_another_seed_would_do_nothing_and_is_refused(train: Train, first: Path) -> None:
    with pytest.raises(ConfigError, match="was trained with seed = 0, not 5"):
        train(f"num_epochs=2 seed=5 resume_from={first}")


def test_weights_that_a_network_begins_with_have_learnt_too(train: Train, first: Path) -> None:
    extra = """

def model():
    from builtup.training.checkpoints import load_trained

    return load_trained(begin_with).model


begin_with = "{folder}"
""".replace("{folder}", str(first))
    with pytest.raises(LeakageError, match=rf"which it begins with, has learnt from {BETA}"):
        train(f"{FAST} val_fold=1", extra)
    run = train(f"{FAST} val_fold=0", extra)
    assert LearntGround.read(run).folds == (BETA, GAMMA)


def test_weights_that_torch_reads_are_known_by_the_setting_that_names_them(
    train: Train, first: Path
) -> None:
    extra = f"""

begin_with = "{first / "weights" / "last.pt"}"
unlike = model


def model():
    torch.load(begin_with)
    layers = [nn.Conv2d(3, hidden, 3, padding=1), nn.ReLU(), nn.Conv2d(hidden, 2, 1)]
    return Segmenter(Channels("db_3b", (-15.0,) * 3, (6.0,) * 3), Net(*layers))
""".replace("unlike = model\n", "")
    with pytest.raises(LeakageError, match="which it begins with"):
        train(f"{FAST} val_fold=1", extra)


def test_a_fold_of_other_ground_is_not_scored_as_unseen(
    train: Train, first: Path, tmp_path: Path
) -> None:
    # a folder of tiles whose Alpha lies where Beta was learnt from
    other = write_cities(tmp_path, ("Gamma", "Alpha"))
    config = tmp_path / "validate_tiny.py"
    config.write_text(
        f'run_id, data_path, has_targets = "{first}", "{other}", True\n'
        'window, overlap, tta, device = 32, 8, "none", "cpu"\nval_fold = "Alpha"\n'
    )
    with pytest.raises(BuiltupError, match="has learnt from 38SBB_Alpha"):
        run_script(INFER, config, 1, "")
