"""Statistics of batch normalisation, taken anew from the images that are mapped.

A network with batch normalisation holds the mean and variance that each channel of each layer had
on the ground it was trained on. On other ground (another sensor, season or calibration) they do not
fit, and what was learnt is fed in at the wrong scale. Taking them from the images to be mapped
needs no label (adaptive batch normalisation, Li et al. 2016, arXiv:1603.04779); mixing them with
those of training steadies them where there is little ground (Schneider et al. 2020,
arXiv:2006.16971). No weight changes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from builtup.models.channels import channels_of
from builtup.models.heads import class_logits
from builtup.models.norms import fused_behind

__all__ = ["BatchStatistics", "Moments", "norm_layers", "with_statistics"]

Float = NDArray[np.float64]
Model = TypeVar("Model", bound=nn.Module)

#: A layer that saw fewer positions keeps the statistics of its training: those of pooled images.
LEAST_POSITIONS = 64
#: A position counts where its part of the image is valid, but for rounding.
WHOLE = 0.999
#: Pixels along a side of the blocks whose levels are compared.
BLOCK = 16


@dataclass(frozen=True)
class Moments:
    """What the valid positions of a layer's input had: how many, mean and variance by channel."""

    count: int
    mean: Float
    variance: Float

    def joined(self, other: Moments) -> Moments:
        """The moments of both together (Chan, Golub and LeVeque 1983)."""
        count = self.count + other.count
        if not count:
            return self
        share = other.count / count
        apart = other.mean - self.mean
        return Moments(
            count,
            self.mean + share * apart,
            (1 - share) * self.variance
            + share * other.variance
            + share * (1 - share) * apart * apart,
        )

    def mixed(self, other: Moments, weight: float) -> Moments:
        """Means and variances of both, `other` with that weight; the count is the other's."""
        return Moments(
            other.count,
            (1 - weight) * self.mean + weight * other.mean,
            (1 - weight) * self.variance + weight * other.variance,
        )


def norm_layers(model: nn.Module) -> dict[str, _BatchNorm]:
    """The layers of a model, by name, that normalise images by statistics of their training."""
    return {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.BatchNorm2d | nn.SyncBatchNorm) and layer.running_mean is not None
    }


class BatchStatistics:
    """Measures, batch by batch, what the layers of a model see of given images.

    Each layer normalises a batch by that batch's own statistics, mixed with those of training by
    `weight` (1: its own alone), as it will where the result is used: what a layer sees follows from
    the layers before it. Invalid pixels, and positions in whose part of the image some lie, count
    nowhere. So a batch should hold windows from all over a scene. The model is left as it was.
    """

    def __init__(self, model: nn.Module, weight: float) -> None:
        self.model = model
        self.weight = weight
        self.layers = norm_layers(model)
        self.trained = {name: _trained(layer) for name, layer in self.layers.items()}
        self.seen: dict[str, Moments] = {}
        self.pixels = 0
        self.levels: Moments | None = None

    @torch.inference_mode()
    def add(self, bands: Tensor) -> Tensor:
        """Take a batch (B, inputs, H, W), NaN where invalid, sides multiples of the model's stride.

        Returns the logits that the model gives meanwhile, adapted to this batch.
        """
        channels = channels_of(self.model)
        valid = channels.valid(bands) if channels else torch.isfinite(bands).all(1, keepdim=True)
        share = valid.float()
        self.pixels += int(valid.sum())
        with self._measuring(share):
            logits = class_logits(self.model(bands))
        if channels is not None:
            levels = _moments(F.avg_pool2d(channels(bands), BLOCK), share)
            self.levels = levels if self.levels is None else self.levels.joined(levels)
        return logits

    def mixed(self) -> dict[str, Moments]:
        """By layer, what was seen, mixed with what training saw; layers that saw little are left
        out."""
        return {
            name: self.trained[name].mixed(moments, self.weight)
            for name, moments in self.seen.items()
            if moments.count >= LEAST_POSITIONS
        }

    def distance(self) -> float:
        """How far the ground that was seen lies from that of training; 0 where no layer saw enough.

        The shift of a channel's mean in standard deviations of training, root mean square over the
        channels of a layer; of the layers the farthest.
        """
        return max(
            (
                _distance(self.trained[name], moments)
                for name, moments in self.seen.items()
                if moments.count >= LEAST_POSITIONS
            ),
            default=0.0,
        )

    def variety(self) -> float:
        """How much the mean levels of blocks of 16 × 16 pixels vary, in standard deviations of the
        pixels of training, root mean square over the channels; NaN where no block was valid or the
        model has no `Channels`."""
        if self.levels is None or not self.levels.count:
            return math.nan
        return math.sqrt(float(self.levels.variance.mean()))

    @contextmanager
    def _measuring(self, valid: Tensor) -> Iterator[None]:
        for name, layer in self.layers.items():
            # an attribute of the instance goes before the method of its class
            object.__setattr__(layer, "forward", partial(self._normalised, name, layer, valid))
        try:
            yield
        finally:
            for layer in self.layers.values():
                object.__delattr__(layer, "forward")

    def _normalised(self, name: str, layer: _BatchNorm, valid: Tensor, x: Tensor) -> Tensor:
        """What a layer gives while it is measured."""
        found = _moments(x, valid)
        trained = self.trained[name]
        known = self.seen.get(name)
        self.seen[name] = found if known is None else known.joined(found)
        used = trained
        if found.count >= LEAST_POSITIONS:
            used = trained.mixed(found, self.weight)
        mean, variance = (_tensor(values, x) for values in (used.mean, used.variance))
        x = F.batch_norm(x, mean, variance, layer.weight, layer.bias, False, 0.0, layer.eps)
        for part in fused_behind(layer):
            x = part(x)
        return x


def with_statistics(model: Model, moments: Mapping[str, Moments]) -> Model:
    """A copy of a model whose layers of those names normalise by `moments`.

    Raises KeyError for a layer that it does not have.
    """
    made = copy.deepcopy(model)
    layers = norm_layers(made)
    with torch.no_grad():
        for name, of in moments.items():
            layer = layers[name]
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.copy_(torch.from_numpy(of.mean))
            layer.running_var.copy_(torch.from_numpy(of.variance))
    return made


def _trained(layer: _BatchNorm) -> Moments:
    assert layer.running_mean is not None
    assert layer.running_var is not None
    mean, variance = layer.running_mean, layer.running_var
    return Moments(0, mean.double().cpu().numpy(), variance.double().cpu().numpy())


def _distance(trained: Moments, seen: Moments) -> float:
    """Root mean square of the shifts of means, in standard deviations of training."""
    # a channel that was constant in training says nothing of how far others may vary
    usable = trained.variance > 1e-12
    if not usable.any():
        return 0.0
    shift = (seen.mean[usable] - trained.mean[usable]) ** 2 / trained.variance[usable]
    return float(np.sqrt(shift.mean()))


def _moments(x: Tensor, valid: Tensor) -> Moments:
    """Mean and variance of (B, C, h, w) by channel, over positions whose pixels are all valid."""
    whole = F.adaptive_avg_pool2d(valid, (x.shape[-2], x.shape[-1])) > WHOLE
    count = int(whole.sum())
    if count == whole.numel():
        variance, mean = torch.var_mean(x.float(), dim=(0, 2, 3), correction=0)
    else:
        counted = whole.to(torch.float32)
        values = torch.where(whole, x.float(), 0.0)
        mean = values.sum(dim=(0, 2, 3)) / max(count, 1)
        apart = (values - mean[:, None, None]) * counted
        variance = (apart * apart).sum(dim=(0, 2, 3)) / max(count, 1)
    return Moments(count, mean.double().cpu().numpy(), variance.double().cpu().numpy())


def _tensor(values: Float, like: Tensor) -> Tensor:
    return torch.from_numpy(values).to(like.device, torch.float32)
