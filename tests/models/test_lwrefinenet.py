import pytest
import torch
import torchvision.models

from builtup.errors import BuiltupError
from builtup.models.lwrefinenet import ChainedResidualPooling, LightWeightRefineNet


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_it_has_the_papers_parameters():
    network = LightWeightRefineNet(3, 2)
    # by hand: MobileNetV2 without its last 1x1 (320 to 1280 and its norm), 1x1 to 256 from
    # 24+32+64+96+160+320 channels, 16 + 3 convolutions 256 to 256, a 3x3 to two classes
    encoder = parameters(torchvision.models.mobilenet_v2().features) - 320 * 1280 - 2 * 1280
    assert parameters(network.levels) == encoder
    expected = encoder + 256 * 696 + (16 + 3) * 256**2 + 256 * 9 * 2 + 2
    assert parameters(network) == expected
    assert round(parameters(network) / 1e6, 2) == 3.24


def test_levels_have_the_papers_channels_and_strides():
    x = torch.rand(1, 3, 64, 96)
    shapes = []
    with torch.no_grad():
        for level in LightWeightRefineNet(3, 2).eval().levels:
            x = level(x)
            shapes.append((x.shape[1], 64 // x.shape[2]))
    assert shapes == [(24, 4), (32, 8), (64, 16), (96, 16), (160, 32), (320, 32)]


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_logits_have_the_inputs_size_and_every_parameter_learns(channels):
    network = LightWeightRefineNet(channels, 4)
    logits = network(torch.rand(2, channels, 64, 32))
    assert logits.shape == (2, 4, 64, 32)
    logits.square().mean().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_chained_pooling_is_the_sum_of_its_chain():
    block = ChainedResidualPooling(2, stages=2)
    x = torch.rand(1, 2, 7, 7)
    first = block.convs[0](torch.nn.functional.max_pool2d(x, 5, 1, 2))
    second = block.convs[1](torch.nn.functional.max_pool2d(first, 5, 1, 2))
    torch.testing.assert_close(block(x), x + first + second)


def test_pretrained_without_a_network_is_one_clear_line(monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("<urlopen error [Errno -2] Name or service not known>")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    monkeypatch.setattr("torch.hub.get_dir", lambda: "/nonexistent-hub")
    monkeypatch.setattr("os.makedirs", lambda *a, **k: None)
    with pytest.raises(BuiltupError, match=r"mobilenet_v2: cannot be fetched.*pretrained = False"):
        LightWeightRefineNet(3, 2, pretrained=True)


def test_pretrained_filters_serve_other_channel_counts(monkeypatch):
    state = torchvision.models.mobilenet_v2().state_dict()
    monkeypatch.setattr(
        "torchvision.models.MobileNet_V2_Weights.get_state_dict", lambda *a, **k: dict(state)
    )
    network = LightWeightRefineNet(5, 2, pretrained=True)
    original = state["features.0.0.weight"]
    expected = original[:, [0, 1, 2, 0, 1]] * (3 / 5)
    torch.testing.assert_close(network.levels[0][0][0].weight.detach(), expected)


def test_the_rate_of_the_baselines_does_not_diverge_from_random_weights():
    torch.manual_seed(0)
    network = LightWeightRefineNet(3, 2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    losses = []
    for _ in range(6):
        target = torch.randint(0, 2, (2, 64, 64))
        x = torch.randn(2, 3, 64, 64) + target[:, None]
        loss = torch.nn.functional.cross_entropy(network(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert max(losses) < 2  # torch's own initialisation: above 1e9, then NaN
