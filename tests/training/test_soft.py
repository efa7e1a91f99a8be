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


class ConstantOfThree(nn.Module):
    """The same probabilities everywhere."""

    def __init__(self, *p: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(p).log())

    def forward(self, image: Tensor) -> Tensor:
        logits = self.logits[None, :, None, None]
        return logits.expand(len(image), -1, *image.shape[-2:])


def bands(*pixels: tuple[int, ...]) -> dict[str, Tensor]:
    """A sample of one pixel for each, of levels of each class."""
    mask = torch.tensor(pixels, dtype=torch.uint8)[:, :, None, None]
    image = torch.arange(len(pixels), dtype=torch.float32)[:, None, None, None]
    return {"image": image, "mask": mask, "index": torch.arange(len(pixels))}


def divergence(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a)


def test_of_three_classes_each_has_a_band() -> None:
    """254 · (½, ¼, ¼) is 127, 63.5, 63.5: two pixels of 64 and 63, and one that is unknown."""
    student = ConstantOfThree(0.2, 0.3, 0.5)
    found = SoftLesson()(teaching(student), bands((127, 64, 63), (255, 255, 255), (127, 63, 64)))
    expected = [
        divergence([a / 254 for a in p], [0.2, 0.3, 0.5]) for p in ((127, 64, 63), (127, 63, 64))
    ]
    assert found.count == 2 and float(found.loss) == pytest.approx(sum(expected) / 2, abs=1e-6)
    sure = SoftLesson(keep=0.6)(teaching(student), bands((127, 64, 63), (154, 50, 50)))
    assert sure.count == 1
    average = ConstantOfThree(0.5, 0.25, 0.25)
    mixed = SoftLesson(ema=0.5)(teaching(student, average), bands((0, 127, 127)))
    assert float(mixed.loss) == pytest.approx(
        divergence([0.25, 0.375, 0.375], [0.2, 0.3, 0.5]), abs=1e-6
    )


def test_debiasing_of_three_classes_takes_each_one_s_logarithm_off_by_hand() -> None:
    """(½, ½, 0) with a mean of (.64, .16, .2): ½ / .8 and ½ / .4 at λ = ½, which is 1 : 2."""
    lesson = SoftLesson(debias=0.5, prior=(0.64, 0.16, 0.2), momentum=1.0)
    found = lesson(teaching(ConstantOfThree(0.25, 0.5, 0.25)), bands((127, 127, 0)))
    assert lesson.mean == pytest.approx((0.64, 0.16, 0.2))
    floor = 0.5 / 254 / 0.2**0.5  # no level is quite 0
    total = 0.5 / 0.8 + 0.5 / 0.4 + floor
    expected = [0.5 / 0.8 / total, 0.5 / 0.4 / total, floor / total]
    assert expected[:2] == pytest.approx([1 / 3, 2 / 3], abs=2e-3)
    assert float(found.loss) == pytest.approx(divergence(expected, [0.25, 0.5, 0.25]), abs=1e-6)
    again = SoftLesson(debias=0.5, momentum=0.75)
    again(teaching(ConstantOfThree(0.25, 0.5, 0.25)), bands((254, 0, 0), (0, 254, 0), (255,) * 3))
    assert again.mean == pytest.approx((0.5, 0.5, 0.0))
    with pytest.raises(ConfigError, match="expected 3 shares, one for each band"):
        SoftLesson(debias=0.5, prior=0.2)(teaching(Constant()), bands((127, 127, 0)))


@pytest.mark.parametrize(
    "options", [{}, {"keep": 0.7}, {"ema": 0.25}, {"mixup": 0.4, "seed": 3}, {"debias": 0.5}]
)
def test_two_bands_say_what_one_says(options: dict[str, Any]) -> None:
    levels = (10, 100, 200, 254)
    lesson = {**options, **({"prior": (0.7, 0.3)} if "debias" in options else {})}
    of_one = {**options, **({"prior": 0.3} if "debias" in options else {})}
    both = SoftLesson(**lesson)(
        teaching(Constant(0.7), Constant(0.2), 0.25), bands(*((254 - v, v) for v in levels))
    )
    one = SoftLesson(**of_one)(teaching(Constant(0.7), Constant(0.2), 0.25), batch(*levels))
    # of two, the logit that is shifted is floored at both ends
    assert float(both.loss) == pytest.approx(float(one.loss), abs=2e-3 if options else 1e-6)
    assert both.count == one.count


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
