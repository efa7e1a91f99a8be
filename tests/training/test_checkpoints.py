"""Checkpoints: what they hold, what does not fit, models rebuilt from their run."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from builtup.config import load as config
from builtup.data.contract import as_tile_loader
from builtup.errors import ConfigError, InputError
from builtup.runs.manifest import write_config
from builtup.training.checkpoints import (
    BestValidation,
    Progress,
    full_state,
    load_state,
    load_trained,
    made_with,
    restore,
    save_state,
    set_weights,
)
from builtup.training.learner import Learner
from builtup.training.schedules import poly
from tiny_training import write_tiny


def learner_of(seed: int) -> Learner:
    torch.manual_seed(seed)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    learner = Learner(model, nn.MSELoss(), optimizer, poly(optimizer, 10))
    learner.average(0.9)
    for _ in range(2):
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        learner.scheduler.step()
    return learner


def loader_of(seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return as_tile_loader(DataLoader(list(range(10)), shuffle=True, generator=generator))


def test_a_state_comes_back_whole(tmp_path: Path) -> None:
    learner, loader = learner_of(1), loader_of(1)
    best = BestValidation(scores={"f1": 0.5, "iou": None}, threshold_f1=0.6)
    progress = Progress(iteration=7, best_score=0.5, best=best)
    save_state(
        full_state(learner, progress, loader, made_with(learner, 5, 2)), tmp_path / "last.pt"
    )
    drawn = (random.random(), np.random.rand(), torch.rand(1).item())  # noqa: NPY002
    order = [int(i) for i in loader]

    other, other_loader, found = learner_of(2), loader_of(2), Progress()
    restore(load_state(tmp_path / "last.pt"), tmp_path, other, found, other_loader)
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == drawn  # noqa: NPY002
    assert [int(i) for i in other_loader] == order
    assert found == progress
    assert torch.equal(other.model.weight, learner.model.weight)
    assert torch.equal(other.weights.weight, learner.weights.weight)
    assert other.scheduler.last_epoch == learner.scheduler.last_epoch == 2
    assert str(other.optimizer.state_dict()) == str(learner.optimizer.state_dict())


def test_weights_that_do_not_fit_are_refused_in_one_line(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    weights = {"0.weight": torch.zeros(2, 3), "0.bias": torch.zeros(5), "head": torch.zeros(1)}
    with pytest.raises(InputError) as caught:
        set_weights(model, weights, tmp_path / "w.pt")
    message = str(caught.value)
    assert "missing 2 (1.bias, 1.weight)" in message
    assert "unexpected 1 (head)" in message
    assert "reshaped 1 (0.bias (5,) for (2,))" in message
    assert "\n" not in message


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, ("raise SystemExit('code ran')",)


@pytest.mark.parametrize("kind", ["code", "truncated", "text", "missing"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "w.pt"
    if kind == "code":
        torch.save({"model": Evil()}, path)
    elif kind == "truncated":
        torch.save({"a": torch.zeros(1000)}, path)
        path.write_bytes(path.read_bytes()[:900])
    elif kind == "text":
        path.write_text("hello")
    with pytest.raises(InputError, match=r"w\.pt: (cannot be read|does not exist)") as caught:
        load_state(path)
    assert "\n" not in str(caught.value)


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    """A run's artifacts as a training leaves them."""
    loaded = config.load(write_tiny(tmp_path), "dropout=0.3")
    folder = tmp_path / "run" / "artifacts"
    write_config(loaded, folder / "config")
    torch.manual_seed(4)
    save_state(loaded.build("model").state_dict(), folder / "weights" / "best.pt")
    (folder / "summary.json").write_text(json.dumps({"threshold": 0.37}))
    return folder


def test_a_trained_model_is_rebuilt_from_the_config_that_its_run_logged(artifacts: Path) -> None:
    for where in (artifacts, artifacts / "weights" / "best.pt", artifacts / "weights"):
        trained = load_trained(where)
        assert trained.settings["dropout"] == 0.3
        assert (trained.threshold, trained.run_id) == (0.37, "run")
        assert trained.class_names == ("background", "building")
        assert not trained.model.training
        saved = load_state(artifacts / "weights" / "best.pt")
        assert all(torch.equal(v, saved[k]) for k, v in trained.model.state_dict().items())
    power: Tensor = torch.rand(1, 3, 8, 8)
    assert trained.model(power).shape == (1, 2, 8, 8)


def test_a_logged_config_keeps_its_base_and_its_overrides(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    child = tmp_path / "child.py"
    child.write_text('base = "tiny.py"\nlr = 0.2\n')
    loaded = config.load(child, "dropout=0.4 val_metrics=iou,f1")
    write_config(loaded, tmp_path / "config")
    again = config.load_logged(tmp_path / "config")
    assert again.settings == loaded.settings
    assert again.build("model").network[3].p == 0.4


def test_what_cannot_be_loaded_is_one_clear_line(artifacts: Path, project: Path) -> None:
    from builtup.errors import RunError

    with pytest.raises(InputError, match="does not exist"):
        load_trained("nowhere/best.pt")
    with pytest.raises(RunError, match="run_id=0123: no such run"):
        load_trained("0123")
    with pytest.raises(InputError, match=r"has no config/settings\.json beside it"):
        load_trained(project)
    with pytest.raises(InputError, match=r"last\.pt: does not exist"):
        load_trained(artifacts, which="last")
    (artifacts / "config" / "settings.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"settings\.json: no logged config can be read"):
        load_trained(artifacts)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no summary of a training"),
        ("[]", "no summary of a training"),
        ('{"threshold": "high"}', "no summary of a training"),
        ('{"threshold": null}', "no summary of a training"),
        ('{"threshold": 7}', "its threshold is 7"),
        ('{"threshold": NaN}', "its threshold is nan"),
    ],
)
def test_a_summary_without_sense_is_one_clear_line(
    artifacts: Path, text: str, message: str
) -> None:
    (artifacts / "summary.json").write_text(text)
    with pytest.raises(InputError, match=rf"summary\.json: {message}.*; copy the run again"):
        load_trained(artifacts)


def test_weights_of_other_channels_are_refused_in_one_line_naming_both(tmp_path):
    from builtup.models.channels import Channels
    from builtup.models.segmenter import Segmenter

    def model(channel_set):
        channels = Channels(channel_set)
        return Segmenter(channels, nn.Conv2d(channels.out_channels, 2, 1))

    weights = model("linear_3b").state_dict()
    expected = (
        r"w.pt: weights are of the channels linear_3b \(VH, VV, mean.*takes db_5b.*use the config"
    )
    with pytest.raises(InputError, match=expected) as e:
        set_weights(model("db_5b"), weights, tmp_path / "w.pt")
    assert "\n" not in str(e.value)
    older = {key: value for key, value in weights.items() if "signature" not in key}
    set_weights(model("linear_3b"), older, tmp_path / "w.pt")
