"""Folding the probabilities of one scene at several scales into one.

From the coarsest scale to the finest, p_d being a scale's probabilities at the scene's own size:

    vote     P ← α · onehot(argmax P) + p_d, in the end divided by 1 + α: what the coarser map says
             decides where the finer margin is below α, and nowhere else (α = ⅓, as in the seed)
    soft     P ← (α · P + p_d) / (1 + α): a mean whose weights fall with the scale
    mean     the plain mean
    logits   softmax of Σ w · log p_d, with a weight for each scale and class that was fitted on
             scenes whose truth is known (`builtup.prediction.cascade_fit`)

With α = 0 vote and soft are the finest scale's probabilities, to the byte. Of two classes P stays
the mapped one's probability, with the threshold as ever: vote takes "the coarser map says" to be
P ≥ threshold, so a pixel of p is mapped from p ≥ t · (1 + α) − α on where the coarser map has the
class, and from p ≥ t · (1 + α) on where it has not. What a scale does not know takes no part.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from builtup.errors import ConfigError

__all__ = ["ALPHA", "FOLDS", "LEAST", "Folding", "Level", "by_class"]

FOLDS = ("vote", "soft", "mean", "logits")
#: The share of the coarser map, as the options have it.
ALPHA = 0.3333
#: Half a step of 8 bits: no probability is taken for 0.
LEAST = 0.5 / 254

#: Probabilities (classes, h, w) float32 and where they are known (h, w) bool, or None: everywhere.
Level = tuple[Tensor, Tensor | None]


@dataclass(frozen=True)
class Folding:
    """How levels are folded: `kind` of FOLDS, `alpha` of vote and soft, `weights` of logits.

    `weights` (scales, classes) belong to the levels in their order, from the coarsest. Of two
    classes there is one band, the probability of the class with the index `mapped`, and
    `threshold` decides.
    """

    kind: str
    alpha: float = ALPHA
    weights: tuple[tuple[float, ...], ...] = ()
    threshold: float = 0.5
    mapped: int = 1

    def __post_init__(self) -> None:
        if self.kind not in FOLDS:
            raise ConfigError(f"fold={self.kind}: unknown; use one of {', '.join(FOLDS)}")
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"alpha={self.alpha:g}: a share of the coarser map is from 0 to 1")

    def fold(self, levels: Iterable[Level]) -> Tensor:
        """Probabilities (bands, h, w) of levels from the coarsest to the finest."""
        if self.kind == "vote":
            return self._vote(levels)
        if self.kind == "logits":
            return self._logits(levels)
        return self._mean(levels)

    def _vote(self, levels: Iterable[Level]) -> Tensor:
        rest = iter(levels)
        voted, seen = next(rest)
        for p, known in rest:
            both = torch.add(p, self._said(voted), alpha=self.alpha).div_(1 + self.alpha)
            if seen is not None:  # where no coarser scale says anything
                both = torch.where(seen, both, p)
            if known is not None:
                both = torch.where(known, both, voted)
                seen = None if seen is None else seen | known
            else:
                seen = None
            voted = both
        return voted

    def _said(self, p: Tensor) -> Tensor:
        """1 for the class that a pixel has, 0 for the others, by band."""
        if len(p) == 1:
            return (p >= self.threshold).to(p.dtype)
        said = p == p.amax(dim=0)  # ten times as fast as argmax along this dimension
        before = said[0].clone()
        for band in said[1:]:  # of classes that are alike the first
            band &= ~before
            before |= band
        return said.to(p.dtype)

    def _mean(self, levels: Iterable[Level]) -> Tensor:
        """The mean by weight, which falls by α / (1 + α) with each scale, or is the same for all.

        P ← (α · P + p) / (1 + α) begins with P = 0, and its weights add up to less than 1.
        """
        before, own = 1.0, 1.0
        if self.kind == "soft":
            before, own = self.alpha / (1 + self.alpha), 1 / (1 + self.alpha)
        total: Tensor | None = None
        weight = torch.zeros(())
        for p, known in levels:
            part = torch.tensor(own) if known is None else own * known
            weight = before * weight + part
            total = part * p if total is None else total.mul_(before).add_(part * p)
        assert total is not None
        return total.div_(weight.clamp(min=1e-12))

    def _logits(self, levels: Iterable[Level]) -> Tensor:
        score: Tensor | float = 0.0
        for (p, known), weights in zip(levels, self.weights, strict=True):
            of_class = torch.tensor(weights, dtype=p.dtype)[:, None, None]
            logs = of_class * by_class(p, self.mapped).clamp(min=LEAST).log()
            score = score + (logs if known is None else logs.mul_(known))
        assert isinstance(score, Tensor)
        folded = score.softmax(dim=0)
        return folded[self.mapped][None] if len(folded) == 2 else folded


def by_class(p: Tensor, mapped: int) -> Tensor:
    """A band for each class, of (bands, …) that may be of two classes, the `mapped` one alone."""
    if len(p) > 1:
        return p
    return torch.cat((1 - p, p) if mapped == 1 else (p, 1 - p))
