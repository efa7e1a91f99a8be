"""Folding the probabilities of one scene at several scales into one.

From the coarsest scale to the finest, P being what the coarser ones gave, brought to the pixels of
the next, and p_d that one's own probabilities:

    vote     P ← α · onehot(argmax P) + p_d, divided by 1 + α: what the coarser map says decides
             where the finer margin is below α, and nowhere else (α = ⅓, as in the seed)
    soft     P ← (α · P + p_d) / (1 + α): a mean whose weights fall with the scale
    mean     the plain mean
    logits   softmax of Σ w · log p_d, with a weight for each scale and class that was fitted on
             scenes whose truth is known (`builtup.prediction.cascade_fit`)

So a scale is worked on in its own pixels, and all the coarser ones together cost a third of the
finest. With α = 0 vote and soft are the finest scale's probabilities, to the byte. Of two classes P
stays the mapped one's probability, with the threshold as ever: vote takes "the coarser map says" to
be P ≥ threshold, so a pixel of p is mapped from p ≥ t · (1 + α) − α on where the coarser map has
the class, and from p ≥ t · (1 + α) on where it has not. What a scale does not know takes no part.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from builtup.errors import ConfigError

__all__ = [
    "ALPHA",
    "FOLDS",
    "LEAST",
    "Enlarge",
    "Folding",
    "Level",
    "by_class",
]

FOLDS = ("vote", "soft", "mean", "logits")
#: The share of the coarser map, as the options have it.
ALPHA = 0.3333
#: Half a step of 8 bits: no probability is taken for 0.
LEAST = 0.5 / 254

#: Less than this share of a pixel is known by chance of rounding.
_HAIR = 1e-6


@dataclass(frozen=True)
class Enlarge:
    """From the pixels (h, w) of a scale to those of the next: the shares that its `rows` (H, h) and
    `columns` (w, W) have in them, each pixel's with a sum of 1."""

    rows: Tensor
    columns: Tensor

    def __call__(self, values: Tensor) -> Tensor:
        """(…, H, W) of (…, h, w)."""
        return self.rows @ (values @ self.columns)

    def onto(self, p: Tensor, own: float, values: Tensor, by: float) -> Tensor:
        """own · p + by · enlarged values, all of them (bands, …), in one go."""
        rows = self.rows.expand(len(values), -1, -1)
        return torch.baddbmm(p, rows, values @ self.columns, beta=own, alpha=by)

    def known(self, values: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Enlarged from what is `known` (h, w) of the values, and where that gives anything."""
        weight = self(known.to(values.dtype))
        return self(values * known).div_(weight.clamp(min=_HAIR)), weight > _HAIR


@dataclass(frozen=True)
class Level:
    """Probabilities `p` (bands, h, w) float32 of a scale, and where they are `known` (h, w) bool
    (None: everywhere); `enlarge` brings what the coarser scales gave to its pixels, None where they
    have them already."""

    p: Tensor
    known: Tensor | None = None
    enlarge: Enlarge | None = None


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

    def fold(self, levels: Iterable[Level], last: Enlarge | None = None) -> Level:
        """The levels from the coarsest to the finest as one, in the pixels of the finest, or in
        those to which `last` brings it."""
        if self.kind == "vote":
            return self._vote(levels, last)
        if self.kind == "logits":
            return self._logits(levels, last)
        return self._mean(levels, last)

    def _vote(self, levels: Iterable[Level], last: Enlarge | None) -> Level:
        rest = iter(levels)
        voted = next(rest)
        for level in rest:
            before = _enlarged(voted, level.enlarge)
            p = self._joined(level.p, before.p)
            seen = before.known
            if seen is not None:  # where no coarser scale says anything
                p = torch.where(seen, p, level.p)
            if level.known is not None:
                p = torch.where(level.known, p, before.p)
                seen = None if seen is None else seen | level.known
            else:
                seen = None
            voted = Level(p, seen)
        return _enlarged(voted, last)

    def _joined(self, p: Tensor, coarse: Tensor) -> Tensor:
        """(p + α for the class that the coarser map gives a pixel) / (1 + α)."""
        own = p * (1 / (1 + self.alpha))
        share = self.alpha / (1 + self.alpha)
        if len(p) == 1:
            return own.add_(coarse >= self.threshold - _HAIR, alpha=share)
        best = coarse.amax(dim=0).sub_(_HAIR)  # ten times as fast as argmax along this dimension
        said = coarse >= best
        if int(said.count_nonzero()) > best.numel():  # of classes that are alike the first
            taken = said[0].clone()
            for band in said[1:]:
                band &= ~taken
                taken |= band
        return own.add_(said, alpha=share)

    def _mean(self, levels: Iterable[Level], last: Enlarge | None) -> Level:
        """The mean by weight, which falls by α / (1 + α) with each scale, or is the same for all.

        P ← (α · P + p) / (1 + α) begins with P = 0, and its weights add up to less than 1.
        """
        by, own = 1.0, 1.0
        if self.kind == "soft":
            by, own = self.alpha / (1 + self.alpha), 1 / (1 + self.alpha)
        total, weight = torch.zeros(()), torch.zeros(())
        for level in levels:
            known = level.known
            p = level.p if known is None else level.p * known
            if not total.ndim:
                total = own * p
            elif level.enlarge is None:
                total = (own * p).add_(total, alpha=by)
            else:
                total = level.enlarge.onto(p, own, total, by)
            if weight.ndim and level.enlarge is not None:
                weight = level.enlarge(weight)
            weight = by * weight + own * (torch.ones(()) if known is None else known)
        if last is not None:
            total, weight = last(total), last(weight) if weight.ndim else weight
        return Level(total.div_(weight.clamp(min=1e-12)), weight > _HAIR if weight.ndim else None)

    def _logits(self, levels: Iterable[Level], last: Enlarge | None) -> Level:
        """What a scale does not know adds nothing to the score."""
        score: Tensor | None = None
        seen: Tensor | None = torch.zeros((), dtype=torch.bool)
        for level, weights in zip(levels, self.weights, strict=True):
            of_class = torch.tensor(weights, dtype=level.p.dtype)[:, None, None]
            logs = of_class * by_class(level.p, self.mapped).clamp(min=LEAST).log()
            if level.known is not None:
                logs.mul_(level.known)
            if score is not None:
                logs.add_(score if level.enlarge is None else level.enlarge(score))
            score, seen = logs, _seen(seen, level)
        assert score is not None
        if last is not None:
            score, seen = last(score), _seen(seen, Level(score, torch.zeros(()) > 0, last))
        folded = score.softmax(dim=0)
        return Level(folded[self.mapped][None] if len(folded) == 2 else folded, seen)


def _enlarged(level: Level, enlarge: Enlarge | None) -> Level:
    """A level in the pixels of the next, from those around that are known."""
    if enlarge is None:
        return level
    if level.known is None:
        return Level(enlarge(level.p))
    return Level(*enlarge.known(level.p, level.known))


def _seen(before: Tensor | None, level: Level) -> Tensor | None:
    """Where a level or one before it says anything; None: everywhere."""
    if before is None or level.known is None:
        return None
    if before.ndim and level.enlarge is not None:
        before = level.enlarge(before.float()) > _HAIR
    return before | level.known


def by_class(p: Tensor, mapped: int) -> Tensor:
    """A band for each class, of (bands, …) that may be of two classes, the `mapped` one alone."""
    if len(p) > 1:
        return p
    return torch.cat((1 - p, p) if mapped == 1 else (p, 1 - p))
