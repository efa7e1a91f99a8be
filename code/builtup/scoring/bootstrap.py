"""Intervals by resampling blocks of ground, each stratum (fold) within itself.

The bootstrap of Efron (1979) with percentile intervals. Blocks, not pixels, are drawn: neighbours
are alike (Davison and Hinkley 1997, section 8.3). scipy.stats.bootstrap draws one sample without
strata; where there is one stratum the two agree, which a test holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEVEL", "RESAMPLES", "SEED", "Interval", "interval", "resample"]

LEVEL = 0.95
RESAMPLES = 2000
SEED = 0
#: Draws of all blocks at once, at most: 64 MB of weights.
_MOST_DRAWN = 8_000_000

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A percentile interval at `level`; `undefined` is the share of resamples without a value."""

    low: float
    high: float
    level: float
    undefined: float = 0.0


def resample(
    counts: NDArray[np.int64],
    strata: NDArray[np.int64],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Array:
    """Sums over resampled units: (resamples, strata, …) of counts (units, …).

    Each stratum draws as many of its own units as it has, with replacement. Whatever stands on
    the further axes (seeds, models) is drawn together, so that differences are paired.
    """
    generator = np.random.default_rng(seed)
    number = int(strata.max()) + 1 if len(strata) else 0
    flat = counts.reshape(len(counts), -1).astype(np.float64)
    sums = np.zeros((resamples, number, flat.shape[1]))
    for stratum in range(number):
        own = flat[strata == stratum]
        if not len(own):
            continue
        at_once = max(1, _MOST_DRAWN // len(own))
        share = np.full(len(own), 1 / len(own))
        for start in range(0, resamples, at_once):
            size = min(at_once, resamples - start)
            times = generator.multinomial(len(own), share, size=size)
            sums[start : start + size, stratum] = times @ own
    return sums.reshape(resamples, number, *counts.shape[1:])


def interval(values: Array, level: float = LEVEL) -> Interval:
    """The percentile interval of a statistic's resampled values (NaN is left out, and counted)."""
    defined = values[~np.isnan(values)]
    undefined = 1 - len(defined) / max(1, len(values))
    if not len(defined):
        return Interval(float("nan"), float("nan"), level, undefined)
    tail = 50 * (1 - level)
    low, high = np.percentile(defined, [tail, 100 - tail])
    return Interval(float(low), float(high), level, undefined)
