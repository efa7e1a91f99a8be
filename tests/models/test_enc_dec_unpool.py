"""VGG16-BN with unpooling."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from builtup.errors import BuiltupError, ConfigError
from builtup.models.enc_dec_unpool import EncDecUnpool


@pytest.fixture(scope="module")
def network() -> EncDecUnpool:
    torch.manual_seed(0)
    return EncDecUnpool(4, 3)


def test_it_has_the_layers_of_vgg16_and_their_mirror(network: EncDecUnpool) -> None:
    convolutions = [m for m in network.encoder.modules() if isinstance(m, nn.Conv2d)]
    widths = [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6
    assert [m.out_channels for m in convolutions] == widths
    back = [m.out_channels for m in network.decoder.modules() if isinstance(m, nn.Conv2d)]
    assert back == [512] * 3 + [512, 512, 256, 256, 256, 128, 128, 64, 64]
    dropped = [m.p for m in network.decoder.modules() if isinstance(m, nn.Dropout)]
    assert dropped == [0.5] * 5
    kinds = [type(m).__name__ for m in network.encoder.features[:3]]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU"]  # the order of the weights


def test_odd_sizes_come_back_and_every_parameter_learns(network: EncDecUnpool) -> None:
    logits = network(torch.rand(2, 4, 37, 45))
    assert logits.shape == (2, 3, 37, 45)
    logits.square().mean().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_values_go_back_to_where_they_were_pooled(network: EncDecUnpool) -> None:
    network.eval()
    with torch.no_grad():
        features, places, sizes = network.encoder(torch.rand(1, 4, 32, 32))
    assert features.shape == (1, 512, 1, 1) and len(places) == 5
    assert sizes == [(32, 32), (16, 16), (8, 8), (4, 4), (2, 2)]
    back = nn.functional.max_unpool2d(features, places[-1], 2, 2, output_size=[2, 2])
    torch.testing.assert_close(back.flatten(2).amax(2), features[..., 0, 0].clamp(min=0))


def test_weights_are_read_by_name_and_what_does_not_fit_is_listed(tmp_path: Path) -> None:
    donor = EncDecUnpool(3, 2)
    state = dict(donor.encoder.state_dict())
    state["classifier.0.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / "vgg.pth")
    read = EncDecUnpool(3, 2, str(tmp_path / "vgg.pth"))
    torch.testing.assert_close(read.encoder.features[40].weight, donor.encoder.features[40].weight)
    state["features.99.weight"] = state.pop("features.40.weight")
    state["features.37.bias"] = torch.zeros(3)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(BuiltupError) as caught:
        EncDecUnpool(3, 2, str(tmp_path / "other.pth"))
    said = str(caught.value)
    assert "missing features.40.weight" in said and "not expected features.99.weight" in said
    assert "of another shape features.37.bias" in said and "\n" not in said
    with pytest.raises(BuiltupError, match="cannot be read"):
        EncDecUnpool(3, 2, str(tmp_path / "none.pth"))


def test_a_narrow_one_has_all_layers_in_proportion_and_no_weights() -> None:
    narrow = EncDecUnpool(3, 2, width=8)
    convolutions = [m for m in narrow.modules() if isinstance(m, nn.Conv2d)]
    widths = [8] * 2 + [16] * 2 + [32] * 3 + [64] * 6
    widths += [64] * 3 + [64, 64, 32, 32, 32, 16, 16, 8, 8, 2]
    assert [m.out_channels for m in convolutions] == widths
    assert narrow(torch.rand(2, 3, 32, 32)).shape == (2, 2, 32, 32)
    with pytest.raises(ConfigError, match="width = 8: expected 1 or more, and with pretrained 64"):
        EncDecUnpool(3, 2, True, width=8)
