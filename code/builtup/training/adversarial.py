"""A lesson of images that are moved to where the network errs: the fast gradient sign method."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from builtup.errors import ConfigError
from builtup.models.heads import class_logits
from builtup.models.losses import CrossEntropy, Loss
from builtup.training.lessons import Counted, Teaching

__all__ = ["FastGradientSign"]


@dataclass(frozen=True)
class FastGradientSign:
    """The loss of images moved by `epsilon` along the sign of its gradient.

    Goodfellow, Shlens & Szegedy, Explaining and Harnessing Adversarial Examples, ICLR 2015. Every
    known value of the first `bands` of the image is moved by `epsilon` in its own unit (of colours
    levels of 255), up or down, whichever costs more. A height behind them stays. Raises ConfigError
    for an `epsilon` that moves nothing.
    """

    epsilon: float
    bands: int = 3
    loss: Loss = field(default_factory=CrossEntropy)

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < float("inf"):
            raise ConfigError(f"fast gradient sign: epsilon = {self.epsilon}: expected above 0")

    def __call__(self, teaching: Teaching, batch: Any) -> Counted:
        """The loss on the moved images, and the pixels that it counts."""
        image, target = teaching.image_and_target(batch)
        moved = image.clone()
        step = self.epsilon * self._gradient(teaching, image, target).sign()
        moved[:, : self.bands] += step[:, : self.bands]
        return Counted(self.loss(teaching.student(moved), target), self.loss.count(target))

    def _gradient(self, teaching: Teaching, image: Tensor, target: Tensor) -> Tensor:
        """The gradient of the loss by the image, 0 where it is unknown; none of any weight."""
        # the bare network: the exchange between processes waits for gradients of the weights
        network = getattr(teaching.network, "module", teaching.network)
        wanted = image.detach().clone().requires_grad_()
        with teaching.autocast():
            logits = class_logits(network(wanted))
        (gradient,) = torch.autograd.grad(self.loss(logits, target), wanted)
        return gradient.nan_to_num(0.0, 0.0, 0.0)
