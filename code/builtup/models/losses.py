"""Losses of a segmentation with ignored pixels (255), and weighted sums of them.

A config writes them as the tables of experiments do: `CrossEntropy(0.75, 1.5) + 2 * Jaccard()`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from builtup.errors import ConfigError
from builtup.sar.bands import IGNORE

__all__ = ["CrossEntropy", "Jaccard", "Loss", "WeightedSum"]


class Loss(nn.Module):
    """A loss of logits (B, C, H, W) and targets (B, H, W) int64, 255 ignored; adds and scales."""

    def __add__(self, other: Loss) -> WeightedSum:
        """The sum of two losses."""
        return WeightedSum(*_terms(self), *_terms(other))

    def __rmul__(self, factor: float) -> WeightedSum:
        """`factor` times this loss."""
        return WeightedSum(*((factor * weight, loss) for weight, loss in _terms(self)))


class CrossEntropy(Loss):
    """Cross-entropy, weighted per class and divided by the weight of the pixels that count.

    That is torch's weighted mean, but 0 (with a gradient of 0) where every pixel is ignored,
    which torch answers with NaN. One weight per class; none means 1 for all.
    """

    weight: Tensor | None

    def __init__(self, *weights: float) -> None:
        super().__init__()
        if any(not 0 <= w < float("inf") for w in weights):
            raise ConfigError(f"class weights {weights}: must be finite and at least 0")
        self.register_buffer(
            "weight", torch.tensor(weights, dtype=torch.float32) if weights else None
        )

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Scalar float32, see the class."""
        classes = logits.shape[1]
        if self.weight is not None and len(self.weight) != classes:
            raise ConfigError(
                f"{self}: {len(self.weight)} class weights for {classes} classes; give one each"
            )
        total = F.cross_entropy(
            logits.float(), target, self.weight, ignore_index=IGNORE, reduction="sum"
        )
        # counts of integers: exact, and the same on every device
        counts = torch.stack([(target == c).sum() for c in range(classes)])
        pixels = counts.sum() if self.weight is None else (counts * self.weight).sum()
        return total / pixels.clamp(min=torch.finfo(torch.float32).tiny)

    def extra_repr(self) -> str:
        """The weights, for print(criterion)."""
        return "" if self.weight is None else ", ".join(f"{w:g}" for w in self.weight.tolist())

    def __str__(self) -> str:
        return f"CE({self.extra_repr()})"


class Jaccard(Loss):
    """1 − soft Jaccard index of each class over the batch, mean of the classes.

    Intersection and union are summed over the valid pixels of the batch, divided class by class
    and only then averaged: an all-background answer costs as much as it misses. A class without
    a pixel in the batch adds 0. The sums are segmentation_models_pytorch's JaccardLoss.
    """

    def __init__(self) -> None:
        super().__init__()
        # imported here: the library takes seconds, and cross-entropy alone does not need it
        from segmentation_models_pytorch.losses import JaccardLoss

        self.loss = JaccardLoss("multiclass", from_logits=True, ignore_index=IGNORE)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Scalar float32, see the class."""
        value: Tensor = self.loss(logits.float(), target)
        return value

    def __str__(self) -> str:
        return "Jaccard"


class WeightedSum(Loss):
    """The sum of losses, each times its weight."""

    def __init__(self, *terms: tuple[float, Loss]) -> None:
        super().__init__()
        self.weights = tuple(float(weight) for weight, _ in terms)
        self.losses = nn.ModuleList(loss for _, loss in terms)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Scalar float32."""
        terms = zip(self.weights, self.losses, strict=True)
        return torch.stack([weight * loss(logits, target) for weight, loss in terms]).sum()

    def __str__(self) -> str:
        terms = zip(self.weights, self.losses, strict=True)
        return " + ".join(str(loss) if w == 1 else f"{w:g}·{loss}" for w, loss in terms)


def _terms(loss: Loss) -> list[tuple[float, Loss]]:
    if isinstance(loss, WeightedSum):
        return [
            (weight, term)
            for weight, term in zip(loss.weights, loss.losses, strict=True)
            if isinstance(term, Loss)
        ]
    return [(1.0, loss)]
