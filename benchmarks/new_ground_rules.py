"""Thresholds for ground of which nothing is known but the probabilities that a network gives it.

The share of built-up differs between the training ground and a scene by factors, and so does the
best threshold. Each rule takes a histogram (255,) of the pixels by 8-bit probability (level v
means v/254), the threshold of the model, and the share of the mapped class on its training ground;
it returns a threshold in (0, 1). No rule sees a label. How much each loses against the best
threshold is in docs/results.md ("New ground").

A temperature alone is no rule: it moves probabilities and threshold together, and maps the same
pixels. `tempered` gives the probabilities on which `prior_shift` and `expected_share`, which take
them by their value, then work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from builtup.geo.probability import LEVELS, SCALE, level_of
from builtup.scoring.counts import Values
from builtup.scoring.prior_shift import prior_shift

__all__ = [
    "RULES",
    "Rule",
    "expected_share",
    "fixed",
    "half",
    "otsu",
    "tempered",
    "valley",
]

Histogram = NDArray[np.int64]
#: (histogram, threshold of the model, share of the training ground) → threshold.
Rule = Callable[[Histogram, float, float], float]

_LEVEL = np.arange(LEVELS)
#: Of a level's logit: that of 0 and 254 would be infinite.
_LOGIT = np.log((_LEVEL + 0.5) / (LEVELS - _LEVEL - 0.5))
#: Standard deviation, in levels, of the kernel that smooths a histogram.
SMOOTHING = 6.0


def _above(level: int) -> float:
    """The threshold that maps from `level` (1 to 254) on, half a level below it."""
    return (min(max(level, 1), SCALE) - 0.5) / SCALE


def fixed(histogram: Histogram, threshold: float, share: float) -> float:
    """The model's own threshold."""
    return threshold


def half(histogram: Histogram, threshold: float, share: float) -> float:
    """0.5, the decision of least error where probabilities are right."""
    return 0.5


# --- by the value of the probabilities ------------------------------------------------------------


def tempered(histogram: Histogram, temperature: float) -> Histogram:
    """The histogram once logits are divided by `temperature` (above 0), (255,)."""
    logit = np.log(np.maximum(_LEVEL, 1e-9) / np.maximum(SCALE - _LEVEL, 1e-9)) / temperature
    level = np.rint(SCALE / (1 + np.exp(-logit))).astype(np.int64)
    return np.bincount(level, weights=histogram, minlength=LEVELS).astype(np.int64)


def exact_prior_shift(histogram: Histogram, threshold: float, share: float) -> float:
    """`prior_shift`, raised as far as the share says."""
    return prior_shift(histogram, threshold, share, raised=math.inf)


def expected_share(histogram: Histogram, threshold: float, share: float) -> float:
    """The threshold at which as much is mapped as the probabilities say on their mean."""
    total = histogram.sum()
    if total == 0:
        return threshold
    expected = (histogram * _LEVEL).sum() / SCALE
    mapped = np.cumsum(histogram[::-1])[::-1]  # pixels of a level or above
    gap = np.abs(mapped[1:] - expected)
    nearest = np.flatnonzero(gap == gap.min()) + 1
    return _above(int(nearest[np.argmin(np.abs(nearest - level_of(threshold)))]))


# --- by the shape of the histogram ----------------------------------------------------------------


def valley(histogram: Histogram, threshold: float, share: float) -> float:
    """The lowest point between the two modes of the smoothed histogram; else the model's own.

    The modes are the highest one and that which rises most above the lowest point between; counts
    are smoothed as their logarithm, since both modes of a sure network lie at the ends.
    """
    if not histogram.sum():
        return threshold
    height = smoothed(np.log1p(histogram))
    first = int(np.argmax(height))
    best, place = 0.0, 0
    for other in range(LEVELS):
        low, high = min(first, other), max(first, other)
        if high - low < 2:
            continue
        between = height[low : high + 1]
        rise = float(height[other] - between.min())
        if rise > best + 1e-9:
            flat = np.flatnonzero(between <= between.min() + 1e-9)
            best, place = rise, low + int(flat[len(flat) // 2])
    return _above(place) if best > 0 else threshold


def smoothed(values: Values) -> Values:
    """Values (N,) under a Gaussian kernel of SMOOTHING; what lies beyond the ends is no part."""
    reach = int(4 * SMOOTHING)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / SMOOTHING) ** 2)
    weight = np.convolve(np.ones(len(values)), kernel, mode="same")
    return np.asarray(np.convolve(values, kernel, mode="same") / weight)


def otsu(histogram: Histogram, threshold: float, share: float) -> float:
    """The threshold of greatest variance between its two sides, on logits; else the model's own.

    Otsu (1979), A threshold selection method from gray-level histograms, IEEE Transactions on
    Systems, Man and Cybernetics 9.
    """
    total = histogram.sum()
    below = np.cumsum(histogram)[:-1]  # of levels under each threshold from level 1 on
    split = (below > 0) & (below < total)
    if not split.any():
        return threshold
    sums = np.cumsum(histogram * _LOGIT)
    above = total - below
    means = np.divide(sums[:-1], below, out=np.zeros(LEVELS - 1), where=split)
    others = np.divide(sums[-1] - sums[:-1], above, out=np.zeros(LEVELS - 1), where=split)
    variance = np.where(split, below * above * ((means - others) / total) ** 2, -1)
    flat = np.flatnonzero(variance >= variance.max() * (1 - 1e-12))
    return _above(int(flat[len(flat) // 2]) + 1)


#: The rules by name.
RULES: Mapping[str, Rule] = {
    "fixed": fixed,
    "half": half,
    "prior shift": prior_shift,
    "exact prior shift": exact_prior_shift,
    "expected share": expected_share,
    "valley": valley,
    "otsu": otsu,
}
