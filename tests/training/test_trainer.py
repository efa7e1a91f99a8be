"""Training steps: accumulated gradients, the schedule, what stops them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from builtup.data.contract import Places
from builtup.errors import BuiltupError
from builtup.models.heads import Heads, On, SmoothL1
from builtup.models.losses import CrossEntropy
from builtup.training.learner import Learner
from builtup.training.lessons import Lesson
from builtup.training.trainer import create_trainer, optimiser_steps
from trainings import train

IGNORE = 255


def batch(count: int, seed: int, ignored: int = 0) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    mask = torch.randint(0, 2, (count, 6, 6), generator=g)
    mask.view(-1)[:ignored] = IGNORE
    return {"image": torch.randn(count, 3, 6, 6, generator=g), "mask": mask}


def learner_of(lr: float = 1.0) -> Learner:
    torch.manual_seed(0)
    model = nn.Conv2d(3, 2, 3)
    nn.init.normal_(model.weight)
    model = nn.Sequential(nn.ConstantPad2d(1, 0.0), model)
    criterion = nn.CrossEntropyLoss(ignore_index=IGNORE)
    return Learner(model, criterion, torch.optim.SGD(model.parameters(), lr=lr))


def joined(*batches: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: torch.cat([b[key] for b in batches]) for key in batches[0]}


def weights(learner: Learner) -> Tensor:
    return torch.cat([p.detach().ravel() for p in learner.model.parameters()])


def test_an_accumulated_step_is_the_step_of_one_large_batch() -> None:
    parts = [batch(2, seed=i, ignored=20 * i) for i in range(3)]
    accumulated, at_once = learner_of(), learner_of()
    outputs = train(accumulated, parts, accumulation_steps=3)
    train(at_once, [joined(*parts)])
    assert [step.stepped for step in outputs] == [False, False, True]
    torch.testing.assert_close(weights(accumulated), weights(at_once))


def test_an_incomplete_last_group_is_divided_by_its_own_size() -> None:
    parts = [batch(2, seed=i) for i in range(3)]
    accumulated, by_hand = learner_of(), learner_of()
    outputs = train(accumulated, parts, accumulation_steps=2)
    train(by_hand, [joined(*parts[:2]), parts[2]])
    assert [step.stepped for step in outputs] == [False, True, True]
    torch.testing.assert_close(weights(accumulated), weights(by_hand))


def test_a_plain_step_is_torchs_own() -> None:
    data = batch(2, seed=5, ignored=9)
    ours, plain = learner_of(0.3), learner_of(0.3)
    train(ours, [data])
    plain.criterion(plain.model(data["image"]), data["mask"]).backward()
    plain.optimizer.step()
    torch.testing.assert_close(weights(ours), weights(plain))


def test_a_group_without_a_valid_pixel_changes_nothing() -> None:
    learner = learner_of()
    learner.criterion = CrossEntropy()
    before = weights(learner)
    train(learner, [batch(1, seed=0, ignored=36)])
    assert torch.equal(weights(learner), before)


def test_the_gradient_is_clipped_after_it_is_averaged() -> None:
    learner = learner_of(lr=1.0)
    before = weights(learner)
    train(learner, [batch(2, 0), batch(2, 1)], accumulation_steps=2, clip_grad_norm=1e-3)
    assert (weights(learner) - before).norm() == pytest.approx(1e-3, rel=1e-3)


def test_training_stops_at_nan_and_names_the_tiles() -> None:
    bad = batch(2, seed=1) | {"index": torch.tensor([1, 0])}
    bad["image"][1] = float("nan")
    trainer = create_trainer(learner_of(), Places(tile_ids=["38SLF_0_0", "38SLF_480_0"]))
    with pytest.raises(
        BuiltupError,
        match="loss is nan at epoch 1, iteration 1, tiles 38SLF_480_0, 38SLF_0_0;",
    ) as caught:
        trainer.run([bad], max_epochs=1)
    assert "\n" not in str(caught.value)


def test_a_gradient_that_is_not_finite_stops_before_the_step_and_names_the_group() -> None:
    class Broken(torch.autograd.Function):
        """A finite loss whose gradient is not."""

        @staticmethod
        def forward(ctx: Any, loss: Tensor) -> Tensor:
            return loss.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            return gradient * float("nan")

    learner = learner_of()
    loss, broken = learner.criterion, [False, False, True, False]
    learner.criterion = lambda *args: (  # type: ignore[assignment]
        Broken.apply(loss(*args)) if broken.pop(0) else loss(*args)
    )
    batches = [batch(1, seed=i) | {"index": torch.tensor([i])} for i in range(4)]
    places = Places(tile_ids=[f"tile_{i}" for i in range(4)])
    trainer = create_trainer(learner, places, accumulation_steps=2)
    message = "the gradient.s norm is nan at epoch 1, iteration 4, tiles tile_2, tile_3;"
    with pytest.raises(BuiltupError, match=message):
        trainer.run(batches, max_epochs=1)
    assert weights(learner).isfinite().all()


def test_the_moving_average_follows_the_steps() -> None:
    learner = learner_of()
    learner.average(0.1)  # below what the warming up allows
    train(learner, [batch(2, 0)])  # the first update copies
    first = weights(learner)
    train(learner, [batch(2, 1)])
    assert learner.ema is not None
    averaged = torch.cat([p.detach().ravel() for p in learner.weights.parameters()])
    torch.testing.assert_close(averaged, 0.1 * first + 0.9 * weights(learner))


def test_steps_of_a_run_count_short_groups() -> None:
    assert optimiser_steps(5, 3, 2) == 9
    assert optimiser_steps(4, 3, 2) == 6


def batch_with_height(count: int, seed: int, ignored: int, unknown: int) -> dict[str, Tensor]:
    """Of pixels in order, so many ignored; of heights in order, so many unknown."""
    found = batch(count, seed, ignored)
    height = 5 * torch.rand(count, 1, 6, 6, generator=torch.Generator().manual_seed(seed))
    height.view(-1)[:unknown] = float("nan")
    return found | {"height": height}


class TwoHeads(nn.Module):
    """Class logits and height, each of its own convolution on features of both."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Conv2d(3, 4, 3, padding=1)
        self.classify = Heads(nn.Conv2d(4, 2, 1), {"height": nn.Conv2d(4, 1, 1)})

    def forward(self, image: Tensor) -> Any:
        return self.classify(self.shared(image).tanh())


def learner_of_heads(*lessons: Lesson) -> Learner:
    torch.manual_seed(0)
    model = TwoHeads()
    criterion = CrossEntropy() + 0.5 * On("height", "height", SmoothL1())
    return Learner(model, criterion, torch.optim.SGD(model.parameters(), lr=0.5), lessons=lessons)


def test_each_term_of_an_accumulated_step_is_the_mean_over_its_own_elements() -> None:
    """1 × 8 = 4 × 2, whatever is ignored or unknown in which batch."""
    parts = [batch_with_height(2, i, ignored=18 * i, unknown=72 - 20 * i) for i in range(4)]
    accumulated, at_once, by_hand = (learner_of_heads() for _ in range(3))
    outputs = train(accumulated, parts, accumulation_steps=4)
    whole = joined(*parts)
    (step,) = train(at_once, [whole])
    torch.testing.assert_close(weights(accumulated), weights(at_once))

    outputs_by_hand = by_hand.model(whole["image"])
    targets = {"mask": whole["mask"], "height": whole["height"]}
    loss = by_hand.criterion(outputs_by_hand, targets)
    loss.backward()
    by_hand.optimizer.step()
    torch.testing.assert_close(weights(at_once), weights(by_hand))

    assert [one.stepped for one in outputs] == [False, False, False, True]
    classes, height = (
        float(of(outputs_by_hand, targets).detach()) for of in by_hand.criterion.losses
    )
    for one in (outputs[-1], step):
        assert one.terms["classes"] == (pytest.approx(classes), 288 - 18 * 6)
        assert one.terms["height"] == (pytest.approx(height), 20 * 6)
        assert one.loss == pytest.approx(classes + 0.5 * height)
        assert one.pixels == 288 - 18 * 6


def test_a_batch_without_a_known_height_teaches_classes_and_one_without_either_nothing() -> None:
    learner, plain = learner_of_heads(), learner_of_heads()
    plain.criterion = CrossEntropy()
    before = weights(learner)
    train(learner, [batch_with_height(2, 0, ignored=72, unknown=72)])
    assert torch.equal(weights(learner), before)
    data = batch_with_height(2, 0, ignored=5, unknown=72)
    train(learner, [data])
    train(plain, [data])  # the targets of heads that a plain loss does not ask for are left alone
    torch.testing.assert_close(weights(learner), weights(plain))


def test_a_lesson_adds_to_terms_and_may_be_of_a_head() -> None:
    parts = [batch_with_height(2, i, ignored=9 * i, unknown=30) for i in range(2)]
    taught = batch_with_height(3, 9, ignored=4, unknown=50)
    lessons = (
        Lesson("labels", [taught], CrossEntropy(), weight=0.3),
        Lesson("heights", [taught], On("height", "height", SmoothL1()), weight=0.7),
    )
    ours, by_hand = learner_of_heads(*lessons), learner_of_heads()
    (_, step) = train(ours, parts, accumulation_steps=2)
    whole = joined(*parts)
    targets = {"mask": whole["mask"], "height": whole["height"]}
    outputs = by_hand.model(taught["image"])
    loss = by_hand.criterion(by_hand.model(whole["image"]), targets)
    loss = loss + 0.3 * CrossEntropy()(outputs["classes"], taught["mask"])
    (loss + 0.7 * SmoothL1()(outputs["height"], taught["height"])).backward()
    by_hand.optimizer.step()
    torch.testing.assert_close(weights(ours), weights(by_hand))
    assert {name: count for name, (_, count) in step.lessons.items()} == {
        "labels": 104,
        "heights": 58,
    }


def test_a_term_that_is_not_finite_stops_and_is_named() -> None:
    bad = batch_with_height(1, 0, 0, 0) | {"index": torch.tensor([0])}
    bad["height"][0, 0, 0, 0] = float("inf")
    trainer = create_trainer(learner_of_heads(), Places(tile_ids=["tile_7"]))
    with pytest.raises(BuiltupError, match=r"the loss of height is inf at .* tiles tile_7;"):
        trainer.run([bad], max_epochs=1)
