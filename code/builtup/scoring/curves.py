"""Precision, recall and F1 over the threshold, and the threshold that is best.

All of it from histograms (2, 255): pixels of the rest and of the mapped class by the 8-bit
probability of the class, so that no number of pixels is too many.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from builtup.geo.probability import LEVELS
from builtup.scoring.counts import Counts, Values, f1, precision, recall

__all__ = [
    "Threshold",
    "ThresholdCurve",
    "average_precision",
    "choose_threshold",
    "threshold_curve",
]


@dataclass(frozen=True)
class Threshold:
    """A threshold of the mapped class's probability, and the F1 reached where it was chosen."""

    value: float
    f1: float


@dataclass(frozen=True)
class ThresholdCurve:
    """Precision, recall and F1 where a pixel of level ≥ `level` is mapped, level 0 to 254.

    Precision is NaN where nothing is mapped, recall and F1 where the truth has none of the class.
    """

    level: NDArray[np.int64]
    precision: Values
    recall: Values
    f1: Values

    @property
    def threshold(self) -> Values:
        """The probability of each level."""
        return self.level / (LEVELS - 1)


def threshold_curve(histogram: Counts) -> ThresholdCurve:
    """The curve of a histogram (2, 255)."""
    false, hit = (np.cumsum(of_truth[::-1])[::-1] for of_truth in histogram)
    rest, true = histogram.sum(axis=1)
    cells = np.stack([hit, false, true - hit, rest - false], axis=-1)
    return ThresholdCurve(np.arange(LEVELS), precision(cells), recall(cells), f1(cells))


def average_precision(histogram: Counts) -> float:
    """Area below precision over recall in steps, as scikit-learn's average_precision_score.

    NaN where the truth has none of the class.
    """
    true = histogram[1].sum()
    if true == 0:
        return float("nan")
    falling = np.nan_to_num(threshold_curve(histogram).precision[::-1])
    return float((falling * histogram[1][::-1]).sum() / true)


def choose_threshold(histogram: Counts) -> Threshold | None:
    """The threshold with the highest F1; None where the truth has none of the class.

    A pixel is mapped where level ≥ ⌈254 · threshold⌉; of equals the one nearest to 0.5 wins.
    """
    if histogram[1].sum() == 0:
        return None
    of_level = threshold_curve(histogram).f1
    levels = np.arange(1, LEVELS)  # at level 0 everything would be mapped
    best = levels[of_level[levels] == of_level[levels].max()]
    level = int(best[np.argmin(np.abs(best - (LEVELS // 2)))])
    # half a level below: ⌈254 · threshold⌉ is then this level, whatever the rounding
    return Threshold((level - 0.5) / (LEVELS - 1), float(of_level[level]))
