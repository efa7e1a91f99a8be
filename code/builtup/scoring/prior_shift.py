"""A threshold that follows the share of a class where that is another than in training.

Saerens, Latinne and Decaestecker (2002), Adjusting the outputs of a classifier to new a priori
probabilities: a simple procedure, Neural Computation 14.

The posterior of a half is the decision of least error, not of the greatest F1: that lies below it,
at half of the F1 that can be had (Lipton, Elkan and Naryanaswamy 2014, Optimal thresholding of
classifiers to maximize F1 measure). So where a class is much rarer than in training its exact
threshold maps too little, and loses nearly all where a network is less sure than it should be. It
is lowered as far as the share says, and raised by a factor of its odds, RAISED, at most.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from builtup.geo.probability import LEVELS, SCALE

__all__ = ["estimated_share", "prior_shift"]

#: Where the estimate of a share ends: the change of an iteration, and their number.
_TOLERANCE, _ITERATIONS = 1e-6, 1000
#: A map has less than this share of a class, or of the rest, where its probabilities tell nothing
#: apart: the estimate then runs to 0 or 1.
NOTHING = 0.005
#: The most by which the odds of a threshold are raised (docs/results.md, thresholds by rule).
RAISED = 2.0
_PROBABILITY = np.arange(LEVELS) / SCALE


def estimated_share(histogram: NDArray[np.integer], share: float) -> float:
    """The share of a class among the pixels of a `histogram` (255,) of its 8-bit probabilities, by
    expectation maximisation from its training `share` in (0, 1). NaN of an empty histogram."""
    total = histogram.sum()
    if total == 0:
        return float("nan")
    found = share
    for _ in range(_ITERATIONS):
        own = _PROBABILITY * found / share
        rest = (1 - _PROBABILITY) * (1 - found) / (1 - share)
        posterior = np.divide(own, own + rest, out=np.zeros(LEVELS), where=own + rest > 0)
        before, found = found, float((posterior * histogram).sum() / total)
        if abs(found - before) < _TOLERANCE:
            break
    return found


def prior_shift(
    histogram: NDArray[np.integer], threshold: float, share: float, raised: float = RAISED
) -> float:
    """The threshold that is `threshold` once probabilities have the scene's share for a prior, its
    odds at most `raised` times as high.

    `share` is that of the class in training. It is `threshold` where the estimated share is the
    same, where that is all of the map or nothing, and where nothing can be estimated.
    """
    if not (0 < share < 1 and 0 < threshold < 1 and histogram.sum()):
        return threshold
    found = estimated_share(histogram, share)
    if not NOTHING <= found <= 1 - NOTHING:
        return threshold
    more = (share / (1 - share)) / (found / (1 - found))
    odds = threshold / (1 - threshold) * min(more, raised)
    return odds / (1 + odds)
