import pytest
import torch
from torch import nn

from builtup.models.channels import Channels
from builtup.models.segmenter import Segmenter


class Strided(nn.Module):
    """Needs sides that are multiples of 8, and says so."""

    stride = 8

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(tuple(x.shape[-2:]))
        assert x.shape[-1] % 8 == 0 and x.shape[-2] % 8 == 0
        return x[:, :2] * 2


@pytest.mark.parametrize("size", [(16, 24), (17, 23), (1, 1), (33, 8)])
def test_any_size_comes_back_and_each_pixel_keeps_its_place(size):
    segmenter = Segmenter(Channels("linear_3b"), Strided())
    power = torch.rand(2, 3, *size) + 0.1
    logits = segmenter(power)
    assert logits.shape == (2, 2, *size)
    torch.testing.assert_close(logits, power[:, :2] * 2)


def test_padding_looks_to_the_network_like_no_data():
    seen = []

    class Spy(Strided):
        def forward(self, x):
            seen.append(x)
            return x[:, :2]

    segmenter = Segmenter(Channels("db_3b", (-17, -10, -12), (6, 6, 6)), Spy())
    power = torch.rand(1, 2, 5, 8) + 0.1
    padded = torch.full((1, 2, 8, 8), float("nan"))
    padded[..., :5, :] = power
    segmenter(power)
    segmenter(padded)
    torch.testing.assert_close(seen[0], seen[1])


def test_a_network_that_does_not_name_its_stride_gets_32():
    assert Segmenter(Channels("db_3b"), nn.Conv2d(3, 2, 1)).stride == 32
