"""Soft labels on their way to the student: each option by hand, and all of them off."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from builtup.errors import ConfigError
from builtup.models.losses import SoftLabels
from builtup.training.lessons import Lesson, Teaching, lesson_states, restore_lessons
from builtup.training.soft import SoftLesson


class Constant(nn.Module):
    """Logits (0, z) everywhere."""

    def __init__(self, z: float = 0.0) -> None:
        super().__init__()
        self.z = nn.Parameter(torch.tensor(z))
        self.seen: list[Tensor] = []

    def forward(self, image: Tensor) -> Tensor:
        self.seen.append(image.detach())
        z = self.z.expand(image[:, 0].shape)
        return torch.stack([torch.zeros_like(z), z], 1)


def teaching(student: nn.Module, average: nn.Module | None = None, share: float = 0.0) -> Teaching:
    def prepare(batch: Any, device: torch.device, non_blocking: bool) -> tuple[Tensor, Tensor]:
        return batch["image"], batch["mask"].long()

    cpu = torch.device("cpu")
    return Teaching(student, average, cpu, prepare, contextlib.nullcontext, share)


def batch(*levels: int) -> dict[str, Tensor]:
    """A sample of one pixel for each level."""
    mask = torch.tensor(levels, dtype=torch.uint8)[:, None, None]
    image = torch.arange(len(levels), dtype=torch.float32)[:, None, None, None]
    return {"image": image, "mask": mask, "index": torch.arange(len(levels))}


def kl(p: float, q: float) -> float:
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


def test_the_divergence_by_hand() -> None:
    assert kl(0.2, 0.5) == pytest.approx(0.1927, abs=5e-5)
    target = torch.tensor([[[0.8 * 254]]])
    assert float(SoftLabels()(torch.zeros(1, 2, 1, 1), target)) == pytest.approx(0.1927, abs=5e-5)


def test_without_options_it_is_soft_labels() -> None:
    data = batch(10, 200, 255)
    student = Constant(0.7)
    found = SoftLesson(2.0)(teaching(student), data)
    plain = SoftLabels(2.0)(student(data["image"]), data["mask"].long())
    assert float(found.loss) == pytest.approx(float(plain)) and found.count == 2
    found.loss.backward()
    assert student.z.grad is not None and float(student.z.grad) != 0


def test_a_share_of_the_target_is_the_moving_average() -> None:
    average = Constant(math.log(3))  # p = .75
    found = SoftLesson(ema=0.5)(teaching(Constant(), average), batch(127))  # p = .5
    assert float(found.loss) == pytest.approx(kl(0.625, 0.5), abs=1e-6)
    with pytest.raises(ConfigError, match="there is no moving average; set ema_decay"):
        SoftLesson(ema=0.5)(teaching(Constant()), batch(127))


def test_debiasing_takes_the_logit_of_the_mean_off_by_hand() -> None:
    lesson = SoftLesson(debias=0.5, prior=0.2, momentum=0.75)
    found = lesson(teaching(Constant()), batch(127, 127))
    assert lesson.mean == pytest.approx(0.75 * 0.2 + 0.25 * 0.5)  # .275
    expected = 1 / (1 + math.exp(0.5 * math.log(0.275 / 0.725)))
    assert float(found.loss) == pytest.approx(kl(expected, 0.5), abs=1e-6) and expected > 0.6
    balanced = SoftLesson(debias=1.0)(teaching(Constant()), batch(127))
    assert float(balanced.loss) == pytest.approx(0)


def test_a_run_that_goes_on_has_the_running_mean_again() -> None:
    def lessons() -> list[Lesson]:
        return [Lesson("soft", [batch(1)], SoftLesson(debias=0.5, momentum=0.75))]

    before, after = lessons(), lessons()
    before[0].teach(teaching(Constant()), 0)
    state = lesson_states(before)
    assert state == {"soft": {"mean": pytest.approx(1 / 254)}}
    restore_lessons(after, state)
    assert lesson_states(after) == state


def test_the_mean_is_of_known_pixels_alone() -> None:
    lesson = SoftLesson(debias=0.5, momentum=0.0)
    lesson(teaching(Constant()), batch(254, 0, 255, 255))
    assert lesson.mean == pytest.approx(0.5)
    lesson(teaching(Constant()), batch(255))
    assert lesson.mean == pytest.approx(0.5)  # nothing was seen


def test_pixels_that_are_not_sure_have_no_label() -> None:
    found = SoftLesson(keep=0.8)(teaching(Constant()), batch(127, 203, 204, 50, 51, 255))
    assert found.count == 2  # .8 * 254 = 203.2; 1 - .8: 50.8


def test_mixup_mixes_images_and_targets_alike_and_says_the_same_again() -> None:
    data = batch(0, 254, 254, 255)
    student = Constant()
    lesson = SoftLesson(mixup=0.4, seed=3)
    found = lesson(teaching(student, share=0.25), data)
    again = SoftLesson(mixup=0.4, seed=3)(teaching(student, share=0.25), data)
    other = SoftLesson(mixup=0.4, seed=3)(teaching(student, share=0.5), data)
    one, same, another = student.seen
    assert torch.equal(one, same) and float(found.loss) == float(again.loss)
    assert not torch.equal(one, another) and other.count >= 1
    assert found.count < 4 and float(one.min()) >= 0 and float(one.max()) <= 3


def test_what_is_unknown_in_one_of_a_mixed_pair_is_unknown() -> None:
    data = batch(0, 255)
    lessons = [SoftLesson(mixup=1.0, seed=seed) for seed in range(12)]
    counts = {lesson(teaching(Constant()), data).count for lesson in lessons}
    assert counts == {0, 1}  # mixed with the other, and with itself


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ema": 1.5}, "ema = 1.5: expected a share"),
        ({"debias": -1.0}, "debias = -1: expected a share"),
        ({"prior": 2.0}, "prior = 2: expected a share"),
        ({"mixup": -0.1}, r"mixup = -0\.1: expected 0"),
        ({"temperature": 0.0}, "temperature = 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SoftLesson(**options)
