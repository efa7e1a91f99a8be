"""Whether a probability of p is right in p of the cases.

Guo, Pleiss, Sun and Weinberger (2017), On calibration of modern neural networks. It works on
histograms, so that no number of pixels is too many. What mends it is `training.temperature`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from builtup.geo.probability import LEVELS
from builtup.scoring.counts import Counts

__all__ = [
    "BINS",
    "Reliability",
    "brier",
    "reliability",
]

#: Bins of equal width between 0 and 1, as in the paper.
BINS = 15
#: The probability of each level.
_PROBABILITY = np.arange(LEVELS) / (LEVELS - 1)


@dataclass(frozen=True)
class Reliability:
    """By bin of probability: pixels, their mean probability, the share that is of the class.

    Arrays (bins,), NaN where a bin is empty. `ece` is the expected calibration error, the mean of
    |share − probability| over pixels (Naeini, Cooper, Hauskrecht, AAAI 2015).
    """

    pixels: NDArray[np.int64]
    probability: NDArray[np.float64]
    share: NDArray[np.float64]

    @property
    def ece(self) -> float:
        """Expected calibration error; NaN without a pixel."""
        total = self.pixels.sum()
        gap = np.nan_to_num(np.abs(self.share - self.probability))
        return float((gap * self.pixels).sum() / total) if total else float("nan")


def reliability(histogram: Counts, bins: int = BINS) -> Reliability:
    """The reliability of 8-bit probabilities, `histogram` (2, 255) by truth and level.

    Bins are those of sklearn.calibration.calibration_curve(strategy="uniform").
    """
    edges = np.linspace(0, 1, bins + 1)
    place = np.searchsorted(edges[1:-1], _PROBABILITY)
    count = histogram.sum(axis=0)
    pixels = np.bincount(place, weights=count, minlength=bins)
    sums = np.bincount(place, weights=count * _PROBABILITY, minlength=bins)
    true = np.bincount(place, weights=histogram[1], minlength=bins)
    empty = np.full(bins, np.nan)
    return Reliability(
        pixels.astype(np.int64),
        np.divide(sums, pixels, out=empty.copy(), where=pixels > 0),
        np.divide(true, pixels, out=empty.copy(), where=pixels > 0),
    )


def brier(histogram: Counts) -> float:
    """Mean squared difference of probability and truth (Brier 1950); 0 is perfect, NaN: no pixel.

    `histogram` (2, 255) by truth and level.
    """
    total = histogram.sum()
    squares = np.stack([_PROBABILITY**2, (1 - _PROBABILITY) ** 2])
    return float((histogram * squares).sum() / total) if total else float("nan")
