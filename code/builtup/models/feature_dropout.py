"""Features between encoder and decoder that are hidden in some samples of a batch.

A network that must answer the same without half of its features learns from images that nobody
labelled (Yang et al., UniMatch, CVPR 2023, perturbation of features). Complementary masks show one
view the channels that another one lacks (UniMatch V2, 2024).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from builtup.errors import ConfigError

__all__ = ["Masks", "complementary", "deepest_parts", "dropped", "single"]


class Masks:
    """Factors of channels, (rows, channels) for any number of channels, 1 where nothing is hidden.

    `kind` is "single": channels of the rows `first` are 0 or 2, each as likely; or "complementary":
    those of `first` are m and those of `second` 2 − m, m being 0 or 2, but for half of the pairs,
    of which nothing is hidden. All randomness is that of `generator`.
    """

    def __init__(
        self, rows: int, first: Sequence[int], second: Sequence[int], generator: torch.Generator
    ) -> None:
        self.rows, self.first, self.second = rows, list(first), list(second)
        self.generator = generator

    def __call__(self, channels: int) -> Tensor:
        """Factors (rows, channels) float32 on the CPU."""
        g, count = self.generator, len(self.first)
        factors = torch.ones(self.rows, channels)
        hidden = 2.0 * torch.randint(2, (count, channels), generator=g).float()
        if self.second:
            hidden[torch.randperm(count, generator=g)[: count // 2]] = 1.0
            factors[self.second] = 2.0 - hidden
        factors[self.first] = hidden
        return factors


def single(rows: int, hidden: Sequence[int], generator: torch.Generator) -> Masks:
    """Half of the channels of some rows of a batch are hidden, the others doubled."""
    return Masks(rows, hidden, (), generator)


def complementary(
    rows: int, first: Sequence[int], second: Sequence[int], generator: torch.Generator
) -> Masks:
    """What one view of a sample lacks, its other view has twice; the two sum to 2."""
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} rows: complementary views are pairs")
    return Masks(rows, first, second, generator)


def deepest_parts(network: nn.Module) -> nn.Module:
    """The module of a network that gives what its decoder begins with.

    That is its `encoder`, whose features are hidden at every stride, or the last of its `down`,
    whose deepest features are. Raises ConfigError for a network that has neither, and for one that
    torch.compile took, which does not listen to hooks.
    """
    if any(hasattr(m, "_orig_mod") for m in network.modules()):
        raise ConfigError("feature_dropout: needs the network as it is; set compile = False")
    for module in network.modules():
        encoder, down = (getattr(module, name, None) for name in ("encoder", "down"))
        if isinstance(encoder, nn.Module):
            return encoder
        if isinstance(down, nn.ModuleList) and len(down):
            return down[-1]
    raise ConfigError(
        f"feature_dropout: network {type(network).__name__} has no encoder, and no list `down`; "
        "choose another network, or set feature_dropout to none"
    )


@contextmanager
def dropped(network: nn.Module, masks: Masks) -> Iterator[None]:
    """Hide features in the forward passes of the network that run inside."""
    handle = deepest_parts(network).register_forward_hook(partial(_hide, masks))
    try:
        yield
    finally:
        handle.remove()


def _hide(masks: Masks, module: nn.Module, inputs: Any, outputs: Any) -> Any:
    """What an encoder gave, its features times the factors; what it was given stays, and so do
    whole numbers, such as the places that pooling took."""
    if isinstance(outputs, Tensor):
        given = outputs.is_floating_point() and outputs.ndim == 4
        if not given or any(outputs is i for i in inputs) or len(outputs) != masks.rows:
            return outputs
        factors = masks(outputs.shape[1]).to(outputs.device, outputs.dtype)
        return outputs * factors[:, :, None, None]
    if isinstance(outputs, list | tuple):
        return type(outputs)(_hide(masks, module, inputs, one) for one in outputs)
    return outputs
