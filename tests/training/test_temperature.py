"""The temperature that training left out, and where it goes."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import log_loss
from torch import Tensor, nn

from builtup.data.datasets import ValidationTiles
from builtup.training.temperature import MARGINS, fit_temperature, margin_histogram, temperature_on


@given(st.floats(0.3, 4.0))
def test_a_temperature_that_was_put_in_is_found(true: float) -> None:
    generator = np.random.default_rng(0)
    margin = generator.normal(-1, 2, 200_000)
    truth = generator.random(200_000) < expit(margin)
    found = fit_temperature(margin_histogram(margin * true, truth))
    assert found == pytest.approx(true, rel=0.03)


def test_the_temperature_lowers_the_log_loss_of_scikit_learn() -> None:
    generator = np.random.default_rng(1)
    margin = generator.normal(0, 6, 5000)
    truth = generator.random(5000) < expit(margin / 3)
    best = fit_temperature(margin_histogram(margin, truth))
    assert best is not None

    def loss(temperature: float) -> float:
        return float(log_loss(truth, expit(margin / temperature)))

    assert loss(best) < loss(1)
    assert loss(best) <= min(loss(best * 1.05), loss(best / 1.05))


def test_one_class_alone_fits_no_temperature() -> None:
    counts = np.zeros((2, len(MARGINS)), int)
    counts[0] = 1
    assert fit_temperature(counts) is None


class TooSure(nn.Module):
    """Logits whose margin is `factor` times the one that the truth was drawn from."""

    def __init__(self, factor: float, classes: int = 2) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))
        self.classes = classes

    def forward(self, power: Tensor) -> Tensor:
        margin = self.factor * torch.nan_to_num(power[:, :1])
        return torch.cat([torch.zeros_like(margin)] * (self.classes - 1) + [margin], dim=1)


def drawn(tiles: int, size: int = 64) -> ValidationTiles:
    """Tiles whose first band is the margin of the chance to be built-up; 255 where unknown."""
    generator = np.random.default_rng(0)
    samples = []
    for _ in range(tiles):
        margin = generator.normal(-1, 2, (size, size))
        mask = (generator.random((size, size)) < expit(margin)).astype(np.uint8)
        mask[0], margin[0] = 255, 1000.0  # would spoil the fit if it were counted
        image = torch.from_numpy(np.stack([margin, margin])).float()
        samples.append({"image": image, "mask": torch.from_numpy(mask)})
    return cast("ValidationTiles", samples)


def test_a_network_that_is_too_sure_of_known_pixels_is_cooled() -> None:
    assert temperature_on(TooSure(2.0), drawn(16)) == pytest.approx(2.0, rel=0.05)


def test_more_classes_have_no_temperature() -> None:
    assert temperature_on(TooSure(2.0, classes=3), drawn(1)) is None
