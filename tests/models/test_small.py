import pytest
import torch

from builtup.models.channels import Channels
from builtup.models.segmenter import Segmenter
from builtup.models.small import SmallUNet


def test_logits_have_the_inputs_size_and_every_parameter_learns():
    network = SmallUNet(5, 3)
    logits = network(torch.rand(2, 5, 48, 32))
    assert logits.shape == (2, 3, 48, 32)
    logits.square().mean().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_it_is_as_small_as_it_says():
    parameters = sum(p.numel() for p in SmallUNet(3, 2).parameters())
    assert 300_000 < parameters < 1_000_000


def test_a_pixel_sees_at_least_a_hundred_pixels_around_it():
    torch.manual_seed(0)  # of so few channels some draws have none that is alive
    network = SmallUNet(1, 2, widths=(4, 4, 4, 4)).eval()
    x = torch.rand(1, 1, 416, 416, requires_grad=True)
    network(x)[0, 1, 208, 208].backward()
    rows = x.grad[0, 0].abs().sum(1).nonzero().flatten()
    assert rows.min() <= 208 - 50 and rows.max() >= 208 + 50


@pytest.mark.parametrize("size", [(37, 50), (16, 16)])
def test_behind_a_segmenter_it_takes_any_size(size):
    segmenter = Segmenter(Channels("db_3b"), SmallUNet(3, 2)).eval()
    with torch.no_grad():
        assert segmenter(torch.rand(1, 3, *size)).shape == (1, 2, *size)


def test_it_learns_to_find_bright_blocks_in_speckle():
    torch.manual_seed(0)
    mask = torch.zeros(4, 64, 64, dtype=torch.int64)
    for i in range(4):
        mask[i, 8 * i + 4 : 8 * i + 24, 20:44] = 1
    gamma = torch.distributions.Gamma(4.4, 4.4)
    power = gamma.sample((4, 2, 64, 64)) * torch.where(mask == 1, 0.3, 0.1)[:, None]
    model = Segmenter(Channels("db_3b", (-10,) * 3, (4,) * 3), SmallUNet(3, 2))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(model(power), mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        found = model.eval()(power).argmax(1)
    assert (found == mask).float().mean() > 0.9
