"""From logits to probabilities: softmax, temperatures, the mapped class of two."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from builtup.prediction.backends.probabilities import Probabilities, class_probabilities
from small_networks import segmenter


class Fixed(nn.Module):
    """The same logits whatever it is given."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)[None, :, None, None]

    def forward(self, power: Tensor) -> Tensor:
        return self.logits.expand(len(power), -1, *power.shape[2:])


def test_of_two_classes_the_mapped_one_is_given() -> None:
    logits = torch.randn(2, 2, 3, 4)
    softmax = logits.softmax(1)
    for mapped in (0, 1):
        one = class_probabilities(logits.clone(), mapped)
        torch.testing.assert_close(one, softmax[:, mapped : mapped + 1])


def test_of_more_all_are() -> None:
    logits = torch.randn(2, 5, 3, 4)
    torch.testing.assert_close(class_probabilities(logits), logits.softmax(1))


def test_each_temperature_has_bands_of_its_own() -> None:
    power = torch.rand(1, 2, 4, 4)
    both = Probabilities(Fixed(0.0, 2.0), (1.0, 4.0))(power)
    assert both.shape == (1, 2, 4, 4)
    wanted = torch.tensor([2.0, 0.5]).sigmoid()
    torch.testing.assert_close(both[0, :, 0, 0], wanted)


def test_it_knows_how_many_bands_are_read() -> None:
    assert Probabilities(segmenter()).inputs == 2
    assert Probabilities(Fixed(0.0, 1.0)).inputs == 2  # those of the default sensor
