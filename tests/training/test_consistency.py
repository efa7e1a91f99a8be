"""What a teacher is sure of in weak views, taught in strong ones."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from builtup.errors import ConfigError
from builtup.models.small import SmallUNet
from builtup.training.consistency import COMPLEMENTARY, SINGLE, WeakToStrong, masked_by_tags
from builtup.training.evaluator import prepare_batch
from builtup.training.lessons import Teaching


class Given(nn.Module):
    """A network that says its bands: the logits of its classes."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, image: Tensor) -> Tensor:
        return self.scale * image.nan_to_num(0.0)


def teaching(network: nn.Module | None = None, average: nn.Module | None = None) -> Teaching:
    own = Given() if network is None else network
    return Teaching(own, average, torch.device("cpu"), prepare_batch, nullcontext)


def batch(image: Tensor, tags: Any = None) -> dict[str, Any]:
    found: dict[str, Any] = {"image": image, "mask": torch.zeros(len(image), *image.shape[2:])}
    found["index"] = torch.arange(len(image))
    return found if tags is None else {**found, "tags": torch.tensor(tags)}


def same(image: Tensor) -> Tensor:
    return image


def halved(image: Tensor) -> Tensor:
    return image / 2


PLAIN = {"views": 1, "cutmix": 0.0, "feature_dropout": ""}


def test_tags_take_absent_classes_out_and_the_rest_sums_to_1() -> None:
    logits = torch.randn(2, 3, 4, 4)
    inside = torch.ones(2, 4, 4, dtype=torch.bool)
    inside[:, :, 0] = False
    tags = torch.tensor([[1.0, 0.0, 1.0], [0.3, torch.nan, 0.0]])
    p = logits.softmax(1)
    masked = masked_by_tags(p, tags[:, None], inside[:, None])
    assert (masked[0, 1, :, 1:] == 0).all() and (masked[1, 2, :, 1:] == 0).all()
    torch.testing.assert_close(masked.sum(1), torch.ones(2, 4, 4))
    allowed = logits.clone()
    allowed[0, 1], allowed[1, 2] = -torch.inf, -torch.inf
    torch.testing.assert_close(masked[..., 1:], allowed.softmax(1)[..., 1:])
    torch.testing.assert_close(masked[..., 0], p[..., 0])  # context: tags say nothing of it


def test_tags_that_leave_no_class_leave_no_label() -> None:
    p = torch.tensor([0.6, 0.4])[None, :, None, None]
    masked = masked_by_tags(p, torch.zeros(1, 1, 2), torch.ones(1, 1, 1, 1, dtype=torch.bool))
    assert (masked == 0).all()


def test_each_cell_of_a_sample_is_masked_by_its_own_tags() -> None:
    p = torch.tensor([0.6, 0.4])[None, :, None, None].expand(1, 2, 1, 3)
    cells = torch.tensor([[True, False, False], [False, True, False]])[None, :, None]
    masked = masked_by_tags(p, torch.tensor([[[1.0, 0.0], [0.0, torch.nan]]]), cells)
    assert masked[0, 1, 0].tolist() == pytest.approx([0.0, 1.0, 0.4])


def test_a_batch_costs_what_is_computed_by_hand() -> None:
    image = torch.tensor([[[[4.0, 1.0, torch.nan]], [[0.0, 0.0, torch.nan]]]])
    sure, unsure = 1 / (1 + math.exp(-4)), 1 / (1 + math.exp(-1))
    assert sure > 0.95 > unsure
    taught = WeakToStrong(halved, **PLAIN)(teaching(), batch(image))  # type: ignore[arg-type]
    # of two valid pixels one is believed; the student's logits are half of the teacher's
    assert taught.count == 2
    expected = 0.5 * math.log(1 + math.exp(-2)) / 2
    assert float(taught.loss.detach()) == pytest.approx(expected, rel=1e-5)
    two = WeakToStrong(halved, views=2, cutmix=0.0, feature_dropout="")(teaching(), batch(image))
    assert float(two.loss.detach()) == pytest.approx(2 * expected, rel=1e-5)


def test_each_class_has_its_own_threshold() -> None:
    image = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    found = []
    for keep in (0.7, (0.7, 0.9), 0.9):
        loss = WeakToStrong(same, keep, **PLAIN)  # type: ignore[arg-type]
        found.append(float(loss(teaching(), batch(image)).loss.detach()))
    assert found[0] == pytest.approx(2 * found[1]) and found[1] > 0 == found[2]
    with pytest.raises(ConfigError, match="3 numbers for 2 classes"):
        WeakToStrong(same, (0.1, 0.2, 0.3), **PLAIN)(teaching(), batch(image))  # type: ignore[arg-type]


def test_tags_change_what_the_teacher_says() -> None:
    image = torch.zeros(1, 2, 2, 2)
    image[:, 0] = 9.0
    loss = WeakToStrong(same, tags=True, **PLAIN)  # type: ignore[arg-type]
    agreed = loss(teaching(), batch(image, [[1.0, 0.0]]))
    against = loss(teaching(), batch(image, [[0.0, 1.0]]))
    assert float(agreed.loss.detach()) < 1e-3 and float(against.loss.detach()) == pytest.approx(
        4.5, rel=1e-3
    )
    with pytest.raises(ConfigError, match="the batches have none; take tag_loader"):
        loss(teaching(), batch(image))


def test_the_teacher_is_the_average_where_there_is_one_and_has_no_gradient() -> None:
    student, average = Given(), Given()
    with torch.no_grad():
        average.scale.fill_(-1.0)
    image = torch.zeros(1, 2, 2, 2)
    image[:, 0] = 9.0
    taught = WeakToStrong(same, **PLAIN)(teaching(student, average), batch(image))  # type: ignore[arg-type]
    assert float(taught.loss.detach()) == pytest.approx(4.5, rel=1e-3)  # the average says class 1
    taught.loss.backward()
    assert student.scale.grad is not None and average.scale.grad is None


@pytest.mark.parametrize("kind", ["", SINGLE, COMPLEMENTARY])
def test_a_network_learns_by_every_kind_and_the_same_batch_is_the_same(kind: str) -> None:
    image = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(0)  # anew: what a step leaves in the norms changes what it believes
        network = SmallUNet(3, 2, (4, 8))
        modes = [m.training for m in network.modules()]
        noise = lambda one: one + 0.1 * torch.randn(one.shape)  # noqa: E731
        loss = WeakToStrong(noise, keep=0.0, cutmix=1.0, feature_dropout=kind, seed=seed)
        state = torch.default_generator.get_state()
        taught = loss(teaching(network), batch(image.clone()))
        assert bool((torch.default_generator.get_state() == state).all())
        taught.loss.backward()
        assert all(p.grad is not None for p in network.parameters())
        found.append(float(taught.loss.detach()))
        assert taught.count == 3 * 32 * 32
        assert [m.training for m in network.modules()] == modes
    assert found[0] == found[1] != found[2]


def test_cutmix_moves_label_and_gap_with_the_image() -> None:
    image = torch.zeros(2, 2, 16, 16)
    image[0, 0], image[1, 1] = 9.0, 9.0
    image[1, :, :8] = torch.nan
    taught = WeakToStrong(same, views=2, cutmix=1.0, feature_dropout="")(teaching(), batch(image))
    # whoever a pixel is of, its label is what its image says: nothing to learn, nothing of gaps
    assert float(taught.loss.detach()) < 1e-3 and taught.count == 256 + 128


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"keep": 1.5}, "expected shares from 0 to 1"),
        ({"keep": ()}, "expected shares from 0 to 1"),
        ({"cutmix": -0.1}, "expected shares from 0 to 1"),
        ({"feature_dropout": "half"}, "feature_dropout = 'half': expected single, complementary"),
        ({"feature_dropout": COMPLEMENTARY, "views": 1}, "expected 2 of complementary features"),
        ({"feature_dropout": "", "views": 0}, "else 1 or more"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WeakToStrong(same, **wrong)
