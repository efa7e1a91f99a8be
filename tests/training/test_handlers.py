"""What happens around the steps: summaries, best weights, early stopping, the time limit."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.utils.data import DataLoader

from builtup.data.contract import as_tile_loader
from builtup.models.heads import On, SmoothL1
from builtup.models.losses import CrossEntropy
from builtup.runs.recorder import Recorder
from builtup.runs.records import InheritedThreshold, Summary
from builtup.sensors.classes import BUILT_UP
from builtup.training import handlers
from builtup.training.checkpoints import BestValidation, Progress
from builtup.training.evaluator import create_evaluator
from builtup.training.handlers import (
    Saver,
    Validation,
    attach_curves,
    attach_early_stopping,
    attach_epochs,
    attach_time_limit,
    in_words,
    progress_bar,
)
from builtup.training.learner import Learner
from builtup.training.trainer import Step


def learner() -> Learner:
    model = nn.Conv2d(1, 2, 1)
    return Learner(model, nn.MSELoss(), torch.optim.SGD(model.parameters(), lr=0.1))


def saver(folder: Path, progress: Progress, summary: Summary | None = None) -> Saver:
    loader: Any = SimpleNamespace(generators=lambda: ())
    return Saver(learner(), progress, loader, folder, summary or Summary(), {})


def summary_in(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


def test_a_summary_without_validation_takes_the_inherited_threshold(tmp_path: Path) -> None:
    inherited = InheritedThreshold(threshold=0.3, tuned_on=("A", "B"), source="run")
    progress = Progress(iteration=7, epoch=2)
    one = saver(tmp_path, progress, Summary(inherited_threshold=inherited))
    one.write_summary(finished=True)
    written = summary_in(tmp_path)
    assert (written["threshold"], written["threshold_tuned_on"]) == (0.3, ["A", "B"])
    assert (written["finished"], written["best_iteration"]) == (True, 7)


def test_a_summary_with_validation_has_its_threshold_and_its_ground(tmp_path: Path) -> None:
    best = BestValidation(threshold=0.4, threshold_f1=0.8, scores={"f1": 0.7})
    progress = Progress(iteration=9, best_iteration=6, best=best)
    saver(tmp_path, progress, Summary(val_cities=("C",))).write_summary(finished=False)
    written = summary_in(tmp_path)
    assert (written["threshold"], written["threshold_tuned_on"]) == (0.4, ["C"])
    assert (written["best_iteration"], written["metrics"]) == (6, {"f1": 0.7})


def trainer(steps: list[Step]) -> Engine:
    return Engine(lambda engine, batch: steps[engine.state.iteration - 1])


def test_iterations_and_epochs_are_counted_and_the_loader_is_told(tmp_path: Path) -> None:
    epochs: list[int] = []
    loader: Any = SimpleNamespace(set_epoch=epochs.append)
    progress = Progress()
    engine = trainer([Step(0.0, 1, True)] * 6)
    attach_epochs(engine, progress, loader)
    engine.run(range(3), max_epochs=2)
    assert (progress.iteration, progress.epoch) == (6, 2)
    assert epochs == [1, 2]


def test_the_loss_that_is_logged_is_a_mean_over_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    points: list[tuple[dict[str, float], int]] = []
    monkeypatch.setattr(recorder, "metrics", lambda values, step: points.append((values, step)))
    engine = trainer([Step(1.0, 1, True), Step(3.0, 3, True), Step(5.0, 0, True)])
    attach_curves(engine, learner(), recorder, log_interval=2)
    engine.run(range(3), max_epochs=1)
    assert points == [({"train/loss": 2.5, "lr": 0.1}, 2)]  # the last step had no valid pixel


def test_an_epoch_without_a_label_tells_the_losses_of_its_lessons(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It said "loss 0.0000" of a training by tags alone, and the rate was not logged."""
    caplog.set_level("INFO")
    recorder, points = Recorder(), list[dict[str, float]]()
    monkeypatch.setattr(recorder, "metrics", lambda values, step: points.append(values))
    by_tags = learner()
    by_tags.lessons = (SimpleNamespace(name="scores"),)  # type: ignore[assignment]
    engine = trainer([Step(0.0, 0, True, lessons={"scores": (0.6, 8)})])
    attach_curves(engine, by_tags, recorder, log_interval=1)
    engine.run(range(1), max_epochs=1)
    assert "epoch 1/1: scores 0.6000, " in caplog.text
    assert points == [{"train/scores": 0.6, "lr": 0.1}]  # once, though an epoch ends there, too


def test_terms_of_a_loss_are_logged_each_by_what_it_counts(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    recorder, points = Recorder(), dict[str, float]()
    monkeypatch.setattr(recorder, "metrics", lambda values, step: points.update(values))
    of_heads = learner()
    of_heads.criterion = CrossEntropy() + 10 * On("height", "height", SmoothL1())
    steps = [
        Step(12.0, 4, True, terms={"classes": (2.0, 4), "height": (1.0, 1)}),
        Step(1.0, 4, True, terms={"classes": (1.0, 4), "height": (0.0, 0)}),
    ]
    engine = trainer(steps)
    attach_curves(engine, of_heads, recorder, log_interval=2)
    engine.run(range(2), max_epochs=1)
    del points["lr"]
    assert points == {"train/loss": 11.5, "train/classes": 1.5, "train/height": 1.0}
    assert "epoch 1/1: loss 11.5000 (classes 1.5000, height 1.0000), " in caplog.text


def test_training_stops_after_validations_without_a_better_one() -> None:
    progress = Progress()
    engine = trainer([Step(0.0, 1, True)] * 9)

    @engine.on(Events.EPOCH_COMPLETED)
    def validate() -> None:
        progress.without_better += 1

    attach_early_stopping(engine, progress, patience=2)
    engine.run([0], max_epochs=9)
    assert engine.state.epoch == 2


def test_the_time_limit_waits_for_an_optimiser_step() -> None:
    engine = trainer([Step(0.0, 1, False), Step(0.0, 1, False), Step(0.0, 1, True)])
    attach_time_limit(engine, None, minutes=0)
    engine.run(range(3), max_epochs=1)
    assert engine.state.iteration == 3


def test_time_for_a_last_validation_is_kept_back() -> None:
    engine = trainer([Step(0.0, 1, True)] * 3)
    validation: Any = SimpleNamespace(seconds=3600.0)
    attach_time_limit(engine, validation, minutes=30)
    engine.run(range(3), max_epochs=1)
    assert engine.state.iteration == 1


class Bright(nn.Conv2d):
    """Class 1 where the image is above 0.5."""

    def __init__(self) -> None:
        super().__init__(1, 2, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([0.5 - image, image - 0.5], dim=1)


def test_an_undefined_score_is_never_the_best_and_an_equal_one_is_no_better(tmp_path: Path) -> None:
    model = Bright()
    learns = Learner(model, nn.MSELoss(), torch.optim.SGD(model.parameters(), lr=0.1))
    sample = {"image": torch.ones(1, 4, 4), "mask": torch.zeros(4, 4), "index": 0}
    loader = as_tile_loader(DataLoader([sample], 1))  # type: ignore[arg-type]
    progress, better = Progress(), list[int]()
    one = saver(tmp_path, progress)
    evaluator = create_evaluator(learns, loader.places, BUILT_UP)
    validation = Validation(learns, evaluator, loader, Recorder(), one, ["f1"], better.append)
    validation.run(1)
    assert progress.without_better == 0 and progress.best is None
    sample["mask"] += 1
    validation.run(1)  # these weights were validated
    assert progress.best is None
    validation.run(2)
    assert (progress.best_score, progress.best_iteration, progress.without_better) == (1.0, 2, 0)
    assert (tmp_path / "weights" / "best.pt").is_file()
    validation.run(3)
    assert (progress.best_iteration, progress.without_better) == (2, 1)
    assert better == [2]


def test_an_undefined_score_does_not_count_against_early_stopping_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = Bright()
    learns = Learner(model, nn.MSELoss(), torch.optim.SGD(model.parameters(), lr=0.1))
    sample = {"image": torch.ones(1, 4, 4), "mask": torch.zeros(4, 4), "index": 0}
    loader = as_tile_loader(DataLoader([sample], 1))  # type: ignore[arg-type]
    progress = Progress()
    evaluator = create_evaluator(learns, loader.places, BUILT_UP)
    validation = Validation(
        learns, evaluator, loader, Recorder(), saver(tmp_path, progress), ["f1"]
    )
    for iteration in (1, 2, 3):
        validation.run(iteration)
    assert progress.without_better == 0
    assert caplog.text.count("f1 is undefined on the validation ground") == 1
    assert "es_patience does not count it" in caplog.text
    sample["mask"] += 1  # defined later
    for iteration in (4, 5):
        validation.run(iteration)
    assert (progress.best_iteration, progress.without_better) == (4, 1)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (40, "40 s"), (720, "12 min"), (12600, "3.5 h")]
)
def test_times_are_said_as_people_do(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_the_line_of_an_epoch_says_how_long_the_rest_takes(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(handlers.time, "monotonic", lambda: next(clock))
    engine = trainer([Step(1.0, 1, True)] * 8)
    attach_curves(engine, learner(), Recorder(), log_interval=10)
    engine.run(range(2), max_epochs=4)
    lines = [r.getMessage() for r in caplog.records if r.getMessage().startswith("epoch")]
    assert lines[0].startswith("epoch 1/4: loss 1.0000, ") and lines[0].endswith(" left")
    assert not lines[-1].endswith("left")


def test_a_bar_shows_epoch_and_loss_and_is_gone_afterwards(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(handlers, "no_bars", lambda: False)
    for active in (False, True):
        engine = trainer([Step(0.5, 1, True)] * 4)
        with progress_bar(engine, active=active):
            engine.run(range(2), max_epochs=2)
        shown = capsys.readouterr().err
        assert ("epoch 2/2" in shown) is active
    assert not handlers.tqdm._instances
