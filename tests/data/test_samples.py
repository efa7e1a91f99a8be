"""What samples hold beside image and mask."""

from __future__ import annotations

import math

import pytest
import torch

from builtup.data.datasets import collate
from builtup.data.samples import Layers, presence


@pytest.mark.parametrize(
    ("mask", "mapped", "expected"),
    [
        ([[0, 0], [0, 1]], 1, 1),
        ([[0, 0], [255, 0]], 1, 0),
        ([[255, 255]], 1, 255),
        ([[255, 2]], 2, 1),
        ([[0, 1]], 2, 0),
    ],
)
def test_presence_is_any_valid_pixel_of_the_mapped_class(mask, mapped, expected) -> None:
    assert presence(torch.tensor(mask, dtype=torch.uint8), mapped).item() == expected


def test_a_batch_has_a_number_a_sample() -> None:
    layers = Layers(targets=("presence", "log_pixel"))
    image = torch.zeros(2, 3, 4)
    masks = torch.zeros(3, 4, dtype=torch.uint8), torch.full((3, 4), 255, dtype=torch.uint8)
    samples = [
        layers.sample(image, masks[0], None, 0, 0.1),
        layers.sample(image, masks[1], None, 1),
    ]
    batch = collate(samples)
    assert batch["presence"].dtype == torch.uint8 and batch["presence"].tolist() == [0, 255]
    assert batch["log_pixel"].shape == (2,) and batch["log_pixel"].dtype == torch.float32
    assert batch["log_pixel"][0].item() == pytest.approx(math.log(0.1))
    assert batch["log_pixel"][1].isnan()


def test_what_is_not_asked_for_is_not_there() -> None:
    sample = Layers().sample(torch.zeros(2, 3, 4), torch.zeros(3, 4, dtype=torch.uint8), None, 0)
    assert set(sample) == {"image", "mask", "index"}
