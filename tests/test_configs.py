"""Every config in configs/: short, loads without data, and what it builds can learn and map."""

from __future__ import annotations

import pytest
import torch

from builtup import config as configs
from builtup.models.segmenter import Segmenter
from helpers import ROOT

TRAIN = sorted(p for p in (ROOT / "configs/train").glob("*.py") if not p.name.startswith("_"))
INFERENCE = sorted(
    p for p in (ROOT / "configs/inference").glob("*.py") if not p.name.startswith("_")
)
BASELINES = [path for path in TRAIN if path.name.startswith("baseline_")]


def name(path):
    return path.stem


@pytest.mark.parametrize("path", [*TRAIN, *INFERENCE], ids=name)
def test_a_config_is_short_and_says_what_it_is(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= 45
    assert lines[0].startswith('"""')


@pytest.mark.parametrize("path", TRAIN, ids=name)
def test_a_training_config_builds_what_learns_in_two_steps(path):
    config = configs.load(path, "data_path=nowhere")
    config.require("seed", "num_classes", "num_epochs", "data_path", "val_fold")
    torch.manual_seed(0)
    model = config.build("model")
    assert isinstance(model, Segmenter)
    optimizer = config.build("optimizer")
    criterion = config.build("criterion")
    config.provide(total_steps=100)
    scheduler = config.build("lr_scheduler")
    power = torch.rand(2, 3, 64, 64) * 0.2
    power[:, :, :8] = torch.nan
    target = torch.randint(0, 2, (2, 64, 64))
    target[:, :8] = 255
    for _ in range(2):
        loss = criterion(model(power), target)
        assert torch.isfinite(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    assert model(power).shape == (2, config.num_classes, 64, 64)
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize("path", BASELINES, ids=name)
def test_each_baseline_has_its_validate_and_test_configs(path):
    for kind, has_targets in (("validate", True), ("test", False)):
        config = configs.load(ROOT / "configs/inference" / f"{kind}_{path.name}")
        assert config.has_targets is has_targets


@pytest.mark.parametrize("path", INFERENCE, ids=name)
def test_an_inference_config_needs_a_run_id_only(path):
    config = configs.load(path, "run_id=0123456789abcdef0123456789abcdef")
    assert config.run_id == "0123456789abcdef0123456789abcdef"
    config.require("data_path", "tta", "window", "overlap", "has_targets")


def test_a_run_id_of_digits_stays_text():
    config = configs.load(INFERENCE[0], "run_id=12345678901234567890123456789012")
    assert config.run_id == "12345678901234567890123456789012"
