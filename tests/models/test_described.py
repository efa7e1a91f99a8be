"""Networks built from names and numbers."""

from __future__ import annotations

import inspect
import json

import pytest
import torch
from torch import nn

from builtup.errors import ConfigError
from builtup.models.channels import Channels
from builtup.models.described import NETWORKS, build_described, describe_network
from builtup.models.norms import with_norm
from builtup.models.segmenter import Segmenter
from builtup.models.small import SmallUNet

MODEL = Segmenter(
    Channels("db_5b", (1.0,) * 5, (2.0,) * 5), SmallUNet(5, 3, widths=(4, 8, 8))
).eval()


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_a_description_builds_the_same_network(norm: str) -> None:
    model = Segmenter(MODEL.channels, with_norm(SmallUNet(5, 3, widths=(4, 8, 8)), norm)).eval()
    said = json.loads(json.dumps([model.channels.describe(), describe_network(model)]))
    again = build_described(*said).eval()
    again.load_state_dict(model.state_dict())  # the channels' mean and deviation are among them
    power = torch.rand(1, 2, 40, 50)
    with torch.no_grad():
        assert torch.equal(again(power), model(power))


@pytest.mark.parametrize("kind", NETWORKS.values())
def test_no_argument_of_a_network_is_left_out(kind: type[SmallUNet]) -> None:
    """Heads are among them where there are any: older descriptions know none."""
    arguments = set(inspect.signature(kind).parameters)
    assert set(kind(3, 2, heads=("height",)).settings) == arguments
    assert set(kind(3, 2).settings) == arguments - {"heads"}


def test_a_network_with_heads_is_built_again_with_them() -> None:
    model = Segmenter(MODEL.channels, SmallUNet(5, 3, (4, 8), heads=("height",)))
    said = json.loads(json.dumps([model.channels.describe(), describe_network(model)]))
    build_described(*said).load_state_dict(model.state_dict())


@pytest.mark.parametrize(
    "model",
    [MODEL.network, Segmenter(Channels("db_3b"), nn.Conv2d(3, 2, 1))],
    ids=["no channels", "a network of one's own"],
)
def test_what_needs_its_config_is_refused(model: nn.Module) -> None:
    with pytest.raises(ConfigError, match="cannot be described without its config"):
        describe_network(model)


def test_a_class_of_ones_own_that_has_a_known_name_is_refused() -> None:
    class Other(SmallUNet):
        pass

    Other.__name__ = "SmallUNet"
    with pytest.raises(ConfigError, match="cannot be described"):
        describe_network(Segmenter(Channels("db_3b"), Other(3, 2)))


@pytest.mark.parametrize(
    ("channels", "network", "said"),
    [
        ({"set": "db_3b"}, {"name": "Transformer"}, "network 'Transformer': unknown"),
        ({"set": "db_3b"}, {}, "network None: unknown"),
        ({"set": "ir"}, {"name": "SmallUNet", "in_channels": 3, "num_classes": 2}, "'ir': unknown"),
        ({"set": "db_3b"}, {"name": "SmallUNet", "depth": 3}, "cannot be built"),
    ],
)
def test_what_this_version_does_not_know_is_named(channels, network, said) -> None:
    with pytest.raises(ConfigError, match=said):
        build_described(channels, network)
