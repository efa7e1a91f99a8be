"""Lessons: their gradient beside that of the labels, their batches, what they leave alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from builtup.config.launch import run_script
from builtup.errors import BuiltupError, ConfigError
from builtup.models.losses import CrossEntropy, SoftLabels
from builtup.runs import tracking
from builtup.training.checkpoints import load_state
from builtup.training.learner import Learner
from builtup.training.lessons import Counted, Lesson, Teaching, as_lessons, due
from helpers import ROOT
from tiny_training import write_tiny
from trainings import train

IGNORE = 255
SCRIPT = ROOT / "code" / "scripts" / "training.py"


def batch(count: int, seed: int, ignored: int = 0) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    mask = torch.randint(0, 2, (count, 6, 6), generator=g)
    mask.view(-1)[:ignored] = IGNORE
    return {"image": torch.randn(count, 3, 6, 6, generator=g), "mask": mask}


def net(norm: bool = False) -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 4, 3, padding=1)]
    layers += [nn.BatchNorm2d(4)] if norm else []
    return nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(4, 2, 1))


def learner_of(*lessons: Lesson, norm: bool = False, lr: float = 0.5) -> Learner:
    model = net(norm)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    return Learner(model, CrossEntropy(), optimizer, lessons=lessons)


def weights(learner: Learner) -> Tensor:
    return torch.cat([p.detach().ravel() for p in learner.model.parameters()])


class Shown(Dataset[Any]):
    """Samples that remember which were asked for."""

    def __init__(self, count: int) -> None:
        self.count, self.seen = count, list[int]()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        self.seen.append(index)
        return {key: value[0] for key, value in batch(1, 100 + index).items()}


@pytest.mark.parametrize("accumulation", [1, 2, 3])
def test_the_gradient_of_a_step_is_that_of_the_sum_of_the_two_means(accumulation: int) -> None:
    """Whatever is accumulated, and however few pixels are labelled."""
    parts = [batch(2, seed=i, ignored=15 * i) for i in range(accumulation)]
    other = batch(3, seed=9, ignored=20)
    lesson = Lesson("other", [other], CrossEntropy(), weight=0.7)
    ours, by_hand = learner_of(lesson), learner_of()
    outputs = train(ours, parts, accumulation_steps=accumulation)

    whole = {key: torch.cat([p[key] for p in parts]) for key in parts[0]}
    loss = by_hand.criterion(by_hand.model(whole["image"]), whole["mask"])
    taught = by_hand.criterion(by_hand.model(other["image"]), other["mask"])
    (loss + 0.7 * taught).backward()
    by_hand.optimizer.step()

    torch.testing.assert_close(weights(ours), weights(by_hand))
    assert [set(step.lessons) for step in outputs] == [set()] * (accumulation - 1) + [{"other"}]
    assert outputs[-1].lessons["other"] == (pytest.approx(float(taught)), 3 * 36 - 20)


def test_a_lesson_is_taught_where_no_pixel_is_labelled_and_nothing_where_it_has_none() -> None:
    blank = batch(2, 0, ignored=72)
    lesson, silent = (Lesson("other", [b], CrossEntropy()) for b in (batch(2, 1), blank))
    before = weights(learner_of())
    taught, untaught = learner_of(lesson), learner_of(silent)
    train(taught, [blank])
    train(untaught, [blank])
    assert not torch.equal(weights(taught), before)
    assert torch.equal(weights(untaught), before)


def test_a_lesson_is_due_every_so_many_steps_once_so_many_epochs_are_done() -> None:
    one = Lesson("one", [batch(1, 0)], CrossEntropy(), every=3, since=2)
    assert [step for step in range(8) if due([one], step, 3)] == [2, 5]  # from 0
    assert not due([one], 2, 2)
    five = Lesson("five", [batch(1, 0)], CrossEntropy(), every=5)
    assert [step + 1 for step in range(16) if due([five], step, 1)] == [5, 10, 15]


def test_batches_are_a_function_of_their_number_and_draw_from_no_other_generator() -> None:
    data = Shown(6)
    lesson = Lesson("other", DataLoader(data, 2), CrossEntropy(), every=2)
    torch.manual_seed(3)
    state = torch.default_generator.get_state()
    first = [lesson.batch(step)["image"] for step in range(0, 12, 2)]
    assert torch.equal(torch.default_generator.get_state(), state)
    again = Lesson("other", DataLoader(data, 2), CrossEntropy(), every=2)
    for number in (4, 1, 2, 5):  # as after a run that was killed
        assert torch.equal(again.batch(2 * number)["image"], first[number])


@pytest.mark.parametrize("norms", [False, True])
def test_a_lesson_moves_the_statistics_of_normalisation_only_where_it_shall(norms: bool) -> None:
    labelled, other = batch(2, 0), batch(2, 1)
    other["image"] += 50
    plain = learner_of(norm=True)
    train(plain, [labelled])
    ours = learner_of(Lesson("other", [other], CrossEntropy(), norms=norms), norm=True)
    train(ours, [labelled])
    means = [next(b for n, b in of.model.named_buffers() if "mean" in n) for of in (plain, ours)]
    assert torch.equal(*means) is not norms
    assert all(m.track_running_stats for m in ours.model.modules() if hasattr(m, "running_mean"))
    assert not torch.equal(weights(plain), weights(ours))


def test_the_teacher_is_the_average_in_eval_mode_and_gets_no_gradient() -> None:
    seen: list[Any] = []

    def loss(teaching: Teaching, taught: Any) -> Counted:
        image, _ = teaching.image_and_target(taught)
        probability = teaching.teacher(image)
        assert probability is not None and not probability.requires_grad
        again = teaching.teacher(image[:1])
        assert again is not None  # by running statistics: alone as in company
        torch.testing.assert_close(again, probability[:1])
        seen.append(teaching.share)
        logits = teaching.student(image)
        return Counted(nn.functional.mse_loss(logits.softmax(1), probability), len(image))

    learner = learner_of(Lesson("other", [batch(2, 1)], loss), norm=True)
    learner.average(0.9)
    train(learner, [batch(2, 0), batch(2, 2)])
    assert seen == [0.5, 1.0]


def test_a_loss_that_is_not_finite_stops_and_names_the_lesson() -> None:
    bad = batch(2, 1)
    bad["image"][0] = float("nan")
    with pytest.raises(BuiltupError, match="the loss of lesson other is nan at epoch 1, iter"):
        train(learner_of(Lesson("other", [bad], CrossEntropy())), [batch(2, 0)])


def test_what_makes_no_sense_is_refused_in_one_line() -> None:
    loader = [batch(1, 0)]
    for wrong in ({"weight": 0.0}, {"every": 0}, {"since": -1}):
        with pytest.raises(ConfigError, match=r"lesson other: weight = .*expected"):
            Lesson("other", loader, CrossEntropy(), **wrong)  # type: ignore[arg-type]
    for built, message in (
        (CrossEntropy(), r"c\.py: lessons\(\) returned CrossEntropy, not a list of"),
        ([Lesson("a", loader, CrossEntropy())] * 2, "two lessons are called a"),
        ([Lesson("loss", loader, CrossEntropy())], "a lesson is called loss"),
        ([Lesson("a", [], CrossEntropy())], "the loader of lesson a gives no batch"),
    ):
        with pytest.raises(ConfigError, match=message):
            as_lessons(built, "c.py")
    assert as_lessons(None, "c.py") == ()


def test_a_lesson_says_what_it_is() -> None:
    loader = [batch(1, 0)]
    assert str(Lesson("soft", loader, SoftLabels())) == "soft"
    named = str(Lesson("soft", loader, SoftLabels(), weight=0.5, every=5, since=2))
    assert named == "0.5·soft, every 5 steps, since epoch 2"


LESSONS = """

from builtup.models.losses import CrossEntropy
from builtup.training.lessons import Lesson


def lessons(model):
    return [Lesson("towns", DataLoader(Towns(4, 50), 2), CrossEntropy(), weight=0.5, every=2)]
"""


def test_a_run_that_was_killed_goes_on_with_the_batches_of_its_lessons(
    project: Path, tmp_path: Path
) -> None:
    """The same weights, to the bit, and the lesson's own curve."""
    options = "num_epochs=4 log_interval=1 ema_decay=0.9 log_predictions=0"

    def train_tiny(overrides: str) -> Path:
        run_script(SCRIPT, write_tiny(tmp_path, LESSONS), 1, overrides)
        return artifacts()

    def artifacts() -> Path:
        return tracking.run_artifacts(tracking.last_run_id())

    whole = train_tiny(options)
    with pytest.raises(KeyboardInterrupt):  # in the third epoch
        train_tiny(f"{options} stop_after=14")
    killed = artifacts()
    again = train_tiny(f"{options} stop_after=0 resume_from={killed}")
    ours, theirs = (load_state(of / "weights" / "last.pt") for of in (again, whole))
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    run = tracking.find_run(tracking.last_run_id())
    assert run.data.params["cfg/lessons"] == "0.5·towns, every 2 steps"
    points = tracking.client().get_metric_history(run.info.run_id, "train/towns")
    assert [point.step for point in points] == [8, 10, 12]
    with pytest.raises(ConfigError, match=r"was trained with lessons = \['0\.5·towns"):
        run_script(SCRIPT, write_tiny(tmp_path), 1, f"{options} resume_from={killed}")


SHARED_OUT = """

import ignite.distributed as idist
from torch.utils.data import Subset

from builtup.training.lessons import Lesson


class Fewer(Towns):
    def __getitem__(self, index):
        sample = super().__getitem__(index)
        if index % 2:
            sample["mask"][:20] = 255
        return sample


def lessons(model):
    size, rank = idist.get_world_size(), idist.get_rank()
    data = Subset(Fewer(4, 50), range(rank, 4, size))
    return [Lesson("towns", DataLoader(data, 2 // size), CrossEntropy(), weight=2.0)]
"""


def test_two_processes_teach_a_lesson_as_one_does(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By all valid pixels of both, of which one has fewer."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    options = (
        "num_epochs=2 log_predictions=0 log_interval=1 accumulation_steps=2 dropout=0 norm=false "
        "ordered=true class_weights=1,1"
    )
    found = []
    for processes in (1, 2):
        run_script(SCRIPT, write_tiny(tmp_path, SHARED_OUT), processes, options)
        order = ["attributes.start_time DESC"]
        own = tracking.client()
        experiment = own.get_experiment_by_name("Trainings").experiment_id
        (run,) = own.search_runs([experiment], order_by=order, max_results=1)
        points = own.get_metric_history(run.info.run_id, "train/towns")
        folder = tracking.run_artifacts(run.info.run_id)
        found.append(([p.value for p in points], load_state(folder / "weights" / "last.pt")))
    (one, ours), (two, theirs) = found
    assert len(one) == 4 and two == pytest.approx(one, rel=1e-4)
    for key, value in ours.items():
        torch.testing.assert_close(theirs[key], value, rtol=1e-3, atol=1e-5)
