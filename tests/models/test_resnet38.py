"""ResNet-38d and its weights by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from builtup.errors import BuiltupError
from builtup.models.resnet38 import ResNet38


def test_features_are_at_strides_4_and_8_and_all_learns() -> None:
    network = ResNet38(2, width=4)
    shallow, deep = network(torch.rand(2, 2, 32, 40))
    assert (shallow.shape, deep.shape) == ((2, 16, 8, 10), (2, 256, 4, 5))
    assert network.channels == (16, 256)
    (shallow.square().mean() + deep.square().mean()).backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("width", [4, 8])
def test_narrow_networks_learn_from_crops_of_128_pixels(width: int) -> None:
    """As a CPU trains them, channels last: a gradient of oneDNN's once ended the process here."""
    network = ResNet38(3, width).to(memory_format=torch.channels_last)
    images = torch.rand(8, 3, 128, 128).to(memory_format=torch.channels_last)
    shallow, deep = network(images)
    (shallow.square().mean() + deep.square().mean()).backward()
    layer, x = network.b2.conv_branch1, torch.rand(2, width, 16, 18)
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight, stride=2))


def test_the_published_width_has_the_names_and_shapes_of_the_published_weights() -> None:
    with torch.device("meta"):
        network = ResNet38(3)
    blocks = {name.partition(".")[0] for name in network.state_dict()}
    assert len(blocks) == 1 + 3 + 3 + 6 + 3 + 1 + 1 + 1
    shapes = {k: tuple(v.shape) for k, v in network.state_dict().items()}
    assert shapes["b5.conv_branch1.weight"] == (1024, 512, 1, 1)
    assert shapes["b6.conv_branch2b1.weight"] == (1024, 512, 3, 3)
    assert shapes["b7.conv_branch2b2.weight"] == (4096, 2048, 1, 1)
    assert "b4_5.conv_branch1.weight" not in shapes
    assert network.b5_1.conv_branch2a.dilation == (2, 2)
    assert network.b7.conv_branch2b1.dilation == (4, 4)


def test_a_file_of_weights_is_read_by_name_whatever_its_classifier(tmp_path: Path) -> None:
    donor = ResNet38(3, width=4)
    torch.save({**donor.state_dict(), "fc8.weight": torch.zeros(2)}, tmp_path / "a.pth")
    read = ResNet38(3, 4, str(tmp_path / "a.pth"))
    torch.testing.assert_close(read.b7.conv_branch1.weight, donor.b7.conv_branch1.weight)
    torch.testing.assert_close(read.conv1a.weight, donor.conv1a.weight)
    other = ResNet38(2, 4, str(tmp_path / "a.pth"))  # its first layer begins at random
    torch.testing.assert_close(other.b7.conv_branch1.weight, donor.b7.conv_branch1.weight)
    with pytest.raises(BuiltupError, match=r"of another shape b2\.bn_branch2a\.bias, .*conv1a"):
        ResNet38(3, 8, str(tmp_path / "a.pth"))
    state = donor.state_dict()
    del state["b2.conv_branch1.weight"]
    torch.save(state, tmp_path / "b.pth")
    with pytest.raises(BuiltupError, match=r"missing b2\.conv_branch1\.weight"):
        ResNet38(3, 4, str(tmp_path / "b.pth"))
