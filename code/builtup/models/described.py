"""A network and its channels as JSON values, and built from them: models without a config.

A config is code; what is described here is built from names and numbers alone. Only networks small
enough to travel with the package can be described: those of `NETWORKS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from builtup.errors import ConfigError
from builtup.models.channels import Channels
from builtup.models.norms import with_norm
from builtup.models.segmenter import Segmenter
from builtup.models.small import SmallUNet

__all__ = ["NETWORKS", "build_described", "describe_network"]

#: What can be described, by name: its attribute `settings` holds the arguments of its class.
NETWORKS: dict[str, type[SmallUNet]] = {"SmallUNet": SmallUNet}


def describe_network(model: nn.Module) -> dict[str, Any]:
    """`name`, `norm` and arguments of a Segmenter's network; ConfigError for one of another class.

    `norm` is batch or group, as `builtup.models.norms` has them.
    """
    network = model.network if isinstance(model, Segmenter) else model
    name = type(network).__name__
    if type(network) is not NETWORKS.get(name) or not isinstance(model, Segmenter):
        raise ConfigError(
            f"{name}: cannot be described without its config; train a config whose network is "
            f"{' or '.join(NETWORKS)}"
        )
    grouped = any(isinstance(module, nn.GroupNorm) for module in network.modules())
    return {"name": name, "norm": "group" if grouped else "batch", **network.settings}


def build_described(channels: Mapping[str, Any], network: Mapping[str, Any]) -> Segmenter:
    """The Segmenter of `Channels.describe` and `describe_network`, with random weights.

    Raises ConfigError for what this version of builtup does not know.
    """
    settings = dict(network)
    name, norm = settings.pop("name", None), settings.pop("norm", "batch")
    if name not in NETWORKS:
        raise ConfigError(f"network {name!r}: unknown; choose one of {', '.join(NETWORKS)}")
    try:
        made = NETWORKS[name](**settings)
    except (TypeError, ValueError, IndexError) as e:
        raise ConfigError(f"network {name} with {settings}: cannot be built ({e})") from e
    return Segmenter(Channels(channels.get("set", "")), with_norm(made, norm))
