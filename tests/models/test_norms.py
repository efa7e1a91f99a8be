import pytest
import torch
from torch import nn

from builtup.errors import ConfigError
from builtup.models.networks import create_network
from builtup.models.norms import with_norm
from builtup.models.small import SmallUNet


def kinds(network):
    return {type(m) for m in network.modules() if "Norm" in type(m).__name__}


def test_batch_leaves_a_network_as_it_is():
    network = SmallUNet(3, 2, (4, 8))
    names = list(network.state_dict())
    assert with_norm(network, "batch") is network
    assert list(network.state_dict()) == names and kinds(network) == {nn.BatchNorm2d}


def test_group_norm_needs_no_statistics_and_every_parameter_learns():
    network = with_norm(SmallUNet(3, 2, (4, 8)), "group")
    assert kinds(network) == {nn.GroupNorm}
    assert not list(network.buffers())
    x = torch.rand(2, 3, 32, 32)
    network(x).square().mean().backward()
    assert all(p.grad is not None for p in network.parameters())
    with torch.no_grad():  # the same in training and in use, and whatever else is in the batch
        torch.testing.assert_close(network.eval()(x[:1]), network.train()(x)[:1])


def test_group_norm_gives_each_group_mean_0_and_variance_1():
    torch.manual_seed(0)
    layer = with_norm(nn.Sequential(nn.BatchNorm2d(12)), "group")
    out = layer(5 + 3 * torch.randn(2, 12, 16, 16)).reshape(2, 4, -1)  # gcd(8, 12) groups
    torch.testing.assert_close(out.mean(-1), torch.zeros(2, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var(-1), torch.ones(2, 4), atol=1e-2, rtol=0)


def test_scale_and_shift_of_a_channel_stay():
    norm = nn.BatchNorm2d(8)
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    layer = with_norm(nn.Sequential(norm), "group")[0]
    assert torch.equal(layer.weight, norm.weight) and torch.equal(layer.bias, norm.bias)


@pytest.mark.parametrize("encoder", ["resnet18", "tu-mobilenetv3_small_050"])
def test_a_librarys_network_keeps_its_activations(encoder):
    torch.manual_seed(0)
    make = {"in_channels": 3, "num_classes": 2}
    batch = create_network("unet", encoder, **make)
    group = create_network("unet", encoder, norm="group", **make)
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in group.modules())

    def activations(network):
        return sum(isinstance(m, nn.ReLU | nn.Hardswish) for m in network.modules())

    assert activations(group) == activations(batch) > 0
    with torch.no_grad():
        assert group.eval()(torch.rand(1, 3, 64, 64)).shape == (1, 2, 64, 64)


def test_another_word_is_refused():
    with pytest.raises(ConfigError, match="norm = 'layer': unknown; choose batch or group"):
        with_norm(SmallUNet(3, 2), "layer")


def test_a_network_without_batch_normalisation_is_named():
    with pytest.raises(ConfigError, match="no batch normalisation"):
        with_norm(nn.Sequential(nn.Conv2d(1, 1, 1)), "group")
