"""What speaks against a map, in words: for the log, the tags, the report and the STAC item.

A network on ground that is unlike what it has learnt from gives a map as readily as anywhere else.
What can be told without ground truth is told here; that nothing is told proves nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from builtup.geo.probability import LEVELS, SCALE, level_of

__all__ = ["map_doubts"]

#: Fewer valid pixels than these say nothing of a city.
FEWEST = 1_000
#: Probabilities that vary by less than this (their standard deviation) tell nothing apart.
LEAST_SPREAD = 0.02
#: More than this share of a city is hardly ever built up.
MOST_MAPPED = 0.9
#: Less than this share mapped is next to nothing: 1 ha of 10 x 10 km.
LEAST_MAPPED = 1e-4


def map_doubts(levels: NDArray[np.integer], threshold: float, mapped: str) -> tuple[str, ...]:
    """The doubts about a city's map of a class, from the pixels at each level of its probability.

    `levels` (255,) counts the valid pixels of each 8-bit value, `mapped` is the class's name.
    """
    valid = int(levels.sum())
    if valid < FEWEST:
        return ()
    values = np.arange(LEVELS) / SCALE
    mean = float((levels * values).sum() / valid)
    spread = float(np.sqrt((levels * (values - mean) ** 2).sum() / valid))
    share = float(levels[level_of(threshold) :].sum() / valid)
    found = []
    if spread < LEAST_SPREAD:
        found.append(
            f"the probabilities hardly vary ({mean:.2f} ± {spread:.3f}), so the network tells "
            "nothing apart here"
        )
    if share > MOST_MAPPED:
        found.append(f"{share:.0%} of the ground is mapped as {mapped}")
    elif share == 0:
        found.append(f"nothing is mapped as {mapped}")
    elif share < LEAST_MAPPED:
        found.append(f"next to nothing ({share:.4%} of the ground) is mapped as {mapped}")
    return tuple(found)
