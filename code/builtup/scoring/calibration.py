"""Whether a probability of p is right in p of the cases.

Guo, Pleiss, Sun and Weinberger (2017), On calibration of modern neural networks. It works on
histograms, so that no number of pixels is too many. What mends it is `training.temperature`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from builtup.geo.probability import LEVELS
from builtup.jobs.files import atomic_path

__all__ = [
    "BINS",
    "Reliability",
    "draw_reliability",
    "reliability",
]

#: Bins of equal width between 0 and 1, as in the paper.
BINS = 15

Histogram = NDArray[np.int64]


@dataclass(frozen=True)
class Reliability:
    """By bin of probability: pixels, their mean probability, the share that is built-up.

    Arrays (bins,), NaN where a bin is empty. `ece` is the expected calibration error: the mean of
    |share − probability| over pixels.
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


def reliability(histogram: Histogram, bins: int = BINS) -> Reliability:
    """The reliability of 8-bit probabilities, `histogram` (2, 255) by truth and level.

    Bins are those of sklearn.calibration.calibration_curve(strategy="uniform").
    """
    values = np.arange(LEVELS) / (LEVELS - 1)
    edges = np.linspace(0, 1, bins + 1)
    place = np.searchsorted(edges[1:-1], values)
    count = histogram.sum(axis=0)
    pixels = np.bincount(place, weights=count, minlength=bins)
    sums = np.bincount(place, weights=count * values, minlength=bins)
    built_up = np.bincount(place, weights=histogram[1], minlength=bins)
    empty = np.full(bins, np.nan)
    return Reliability(
        pixels.astype(np.int64),
        np.divide(sums, pixels, out=empty.copy(), where=pixels > 0),
        np.divide(built_up, pixels, out=empty.copy(), where=pixels > 0),
    )


def draw_reliability(path: Path, curves: Mapping[str, Reliability]) -> None:
    """A picture (PNG) of reliability curves above the number of pixels in each bin."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color="0.6", linewidth=1, label="perfect")
    width = 1 / BINS / max(1, len(curves))
    for i, (name, curve) in enumerate(curves.items()):
        known = ~np.isnan(curve.share)
        label = f"{name}: ECE {curve.ece:.4f}"
        upper.plot(curve.probability[known], curve.share[known], marker="o", label=label)
        lower.bar(np.arange(BINS) / BINS + (i + 0.5) * width, curve.pixels, width)
    upper.set(ylabel="share that is built-up", xlim=(0, 1), ylim=(0, 1))
    upper.legend(loc="upper left", fontsize=8)
    lower.set(xlabel="predicted probability", ylabel="pixels", yscale="log")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
