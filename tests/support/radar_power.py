"""Power of VH and VV with all kinds of gaps, for the tests of channels."""

from __future__ import annotations

import numpy as np


def power(seed=0, bands=2, shape=(9, 11)):
    """Powers with small negatives, zeros, huge values and gaps of every kind."""
    rng = np.random.default_rng(seed)
    p = rng.gamma(1.0, 0.1, (bands, *shape)).astype(np.float32)
    p[:, 0, 0] = np.nan
    p[0, 1, 1], p[1, 2, 2] = np.nan, np.inf
    p[1, 3, 3] = -np.inf
    p[:2, 4, 4] = 0
    p[1, 5, 5] = -12000
    p[0, 6, 6] = -0.01
    p[0, 7, 7] = 0
    p[1, 8, 8] = 12942
    if bands == 3:
        p[2] = (p[0] + p[1]) / 2
    return p
