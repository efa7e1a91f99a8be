"""The threshold of a student: what it maps has the share of what its teacher mapped."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from builtup.training.student_threshold import threshold_of_share


class Given(nn.Module):
    """A network that says its first band: the logit of the second class."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, image: Tensor) -> Tensor:
        return torch.stack([0 * image[:, 0], self.scale * image[:, 0]], 1)


def tiles(probabilities: list[float], classes: list[int]) -> Any:
    """One tile of so many pixels: what the student says, and what its teacher's map is."""
    image = torch.tensor(probabilities).logit()[None, None]
    return [{"image": image, "mask": torch.tensor([classes], dtype=torch.uint8)}]


def test_a_student_is_cut_where_it_maps_as_much_as_its_teacher_did() -> None:
    # the teacher maps two of four known pixels: the student says .3 and .4 of its two most
    taught = tiles([0.1, 0.2, 0.3, 0.4, 0.9], [0, 1, 1, 0, 255])
    found = threshold_of_share(Given(), taught, 1)
    assert found is not None and 0.2 < found <= 0.3
    nothing = tiles([0.1, 0.2], [0, 255])
    assert threshold_of_share(Given(), nothing, 1) is None
    # of the first class the same from the other side: .9, .8, .7, .6
    other = threshold_of_share(Given(), taught, 0)
    assert other is not None and 0.7 < other <= 0.8


def test_of_many_pixels_the_shares_are_the_same() -> None:
    generator = np.random.default_rng(0)
    taught = generator.integers(0, 255, 5000)
    says = (np.clip(taught / 254 * 0.5 + generator.normal(0, 0.05, 5000), 0.01, 0.99)).tolist()
    mapped = taught >= 153
    found = threshold_of_share(Given(), tiles(says, mapped.astype(int).tolist()), 1)
    assert found is not None
    assert abs(np.mean(np.array(says) >= found) - mapped.mean()) < 0.01
