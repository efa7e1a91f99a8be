"""Batch normalisation, or group normalisation in its place.

A batch-normalised network carries the statistics of its training ground, which are what is wrong
on other ground (and what `adapt` takes anew). Group normalisation (Wu & He, ECCV 2018) has none: it
takes those of the window that is mapped, so that a window of one cover is stretched like a town.
"""

from __future__ import annotations

import math

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from builtup.errors import ConfigError

__all__ = ["fused_behind", "with_norm"]

#: Most groups of a layer; one whose channels these do not divide has fewer.
GROUPS = 8


def with_norm(network: nn.Module, norm: str) -> nn.Module:
    """The network itself, its 2-D batch normalisation replaced where `norm` is "group".

    "batch" leaves it as it is, weights and names. Scale and shift of each channel are kept, so
    that pretrained encoders keep theirs; running statistics are dropped. An activation that timm
    fuses with its normalisation stays behind it. Raises ConfigError for another word, and for a
    network that has none to replace.
    """
    if norm == "batch":
        return network
    if norm != "group":
        raise ConfigError(f"norm = {norm!r}: unknown; choose batch or group")
    found = [(name, m) for name, m in network.named_modules() if isinstance(m, _BatchNorm)]
    if not found:
        raise ConfigError("norm = 'group': the network has no batch normalisation; leave norm out")
    for name, layer in found:
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, _grouped(layer))
    return network


def _grouped(layer: _BatchNorm) -> nn.Module:
    channels = layer.num_features
    group = nn.GroupNorm(math.gcd(GROUPS, channels), channels, eps=layer.eps, affine=layer.affine)
    if layer.affine:
        group.weight, group.bias = layer.weight, layer.bias
    behind = fused_behind(layer)
    return nn.Sequential(group, *behind) if behind else group


def fused_behind(layer: nn.Module) -> list[nn.Module]:
    """What a normalisation does after it: timm's BatchNormAct2d drops and activates."""
    return [part for part in (getattr(layer, "drop", None), getattr(layer, "act", None)) if part]
