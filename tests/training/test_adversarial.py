"""Images moved along the sign of the gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from builtup.errors import ConfigError
from builtup.models.channels import Channels
from builtup.models.losses import CrossEntropy
from builtup.models.segmenter import Segmenter
from builtup.models.small import SmallUNet
from builtup.training.adversarial import FastGradientSign
from builtup.training.evaluator import prepare_batch
from builtup.training.learner import Learner
from builtup.training.lessons import Lesson, Teaching
from trainings import train


def teaching(network: nn.Module) -> Teaching:
    device = torch.device("cpu")
    return Teaching(
        network, None, device, prepare_batch, lambda: torch.autocast("cpu", enabled=False)
    )


def batch(seed: int = 0) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {
        "image": torch.randn(2, 3, 6, 6, generator=g),
        "mask": torch.randint(0, 2, (2, 6, 6), generator=g),
    }


def test_a_linear_network_by_hand() -> None:
    """Logits (0, x): of class 0 the loss grows with x, of class 1 it falls; x moves by .25."""

    class Ramp(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return torch.cat([0 * image, image], 1)

    image, mask = torch.tensor([[[[1.0, 1.0, 1.0]]]]), torch.tensor([[[0, 1, 255]]])
    counted = FastGradientSign(0.25)(teaching(Ramp()), {"image": image, "mask": mask})
    moved = torch.tensor([[[[1.25, 0.75, 1.0]]]])
    expected = CrossEntropy()(torch.cat([0 * moved, moved], 1), mask)
    torch.testing.assert_close(counted.loss, expected)
    assert counted.count == 2


def test_it_costs_more_than_the_images_did_and_leaves_gaps_and_gradients_alone() -> None:
    torch.manual_seed(0)
    network = Segmenter(Channels("db_3b", (-10.0,) * 3, (5.0,) * 3), SmallUNet(3, 2, (4, 8))).eval()
    one: Any = {"image": torch.rand(1, 2, 16, 16) + 0.5, "mask": torch.randint(0, 2, (1, 16, 16))}
    one["image"][:, :, :4] = float("nan")
    one["mask"][:, :4] = 255
    plain = CrossEntropy()(network(one["image"]), one["mask"])
    counted = FastGradientSign(0.02)(teaching(network), one)
    assert counted.loss.isfinite() and counted.loss > plain
    assert all(p.grad is None for p in network.parameters())


def test_a_training_with_it_follows_the_sum_of_both_losses() -> None:
    def learner(*lessons: Lesson) -> Learner:
        torch.manual_seed(0)
        model = nn.Conv2d(3, 2, 3, padding=1)
        return Learner(
            model, CrossEntropy(), torch.optim.SGD(model.parameters(), lr=0.5), lessons=lessons
        )

    one, two = batch(0), batch(1)
    ours = learner(Lesson("fgsm", [two], FastGradientSign(0.1), weight=0.5))
    by_hand = learner()
    train(ours, [one])
    image = two["image"].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(CrossEntropy()(by_hand.model(image), two["mask"]), image)
    moved = two["image"] + 0.1 * gradient.sign()
    loss = CrossEntropy()(by_hand.model(one["image"]), one["mask"])
    (loss + 0.5 * CrossEntropy()(by_hand.model(moved), two["mask"])).backward()
    by_hand.optimizer.step()
    for a, b in zip(ours.model.parameters(), by_hand.model.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_band_behind_the_colours_stays() -> None:
    class Sums(nn.Module):
        """Logits (0, sum of all bands); keeps what it was given."""

        def forward(self, image: Tensor) -> Tensor:
            self.seen = image.detach()
            total = image.sum(1, keepdim=True)
            return torch.cat([0 * total, total], 1)

    network, image = Sums(), torch.ones(1, 4, 1, 1)
    FastGradientSign(2.0)(teaching(network), {"image": image, "mask": torch.zeros(1, 1, 1).long()})
    assert network.seen.flatten().tolist() == [3.0, 3.0, 3.0, 1.0]
    assert image.flatten().tolist() == [1.0] * 4


def test_nothing_to_move_by_is_refused() -> None:
    with pytest.raises(ConfigError, match="epsilon = 0: expected above 0"):
        FastGradientSign(0)
