"""How the time of tracing, filling, simplifying and squaring grows with the number of polygons.

Simulated built-up masks of doubling area (so of doubling polygons), in memory, without files:
`python benchmarks/polygons_scaling.py`. Linear time means about 2 in the last column.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "code"))

from builtup.labels.features import Features
from builtup.labels.holes import without_small_holes
from builtup.labels.outlines import trace
from builtup.labels.simplify import Simplifier

PIXEL = 10.0
WIDTH = 2048


def town(rows: int, seed: int = 0) -> NDArray[np.bool_]:
    """A mask (rows, WIDTH) in which about a fifth is built up, in patches of some pixels."""
    noise = np.random.default_rng(seed).normal(size=(rows, WIDTH)).astype(np.float32)
    smooth = gaussian_filter(noise, 1.6)
    return np.asarray(smooth > np.quantile(smooth, 0.8))


def vectorise(mask: NDArray[np.bool_], square: bool) -> tuple[int, float]:
    """Polygons of a mask, and the processor's seconds that they took."""
    ones = np.ones(mask.shape, np.uint8)
    started, count, first = time.process_time(), 0, 0
    simplifier = Simplifier(10, (PIXEL, PIXEL), square=square)
    for regions in trace(mask.shape[1], mask.shape[0], lambda w: (mask[w.slices], ones[w.slices])):
        size = len(regions)
        area = regions.pixels * PIXEL**2
        filled = without_small_holes(
            regions.outlines,
            regions.vacant,
            np.full(size, PIXEL**2),
            min_hole=400,
            min_area=400,
        )
        ids = np.arange(first, first + size, dtype=np.int32)
        features = Features(filled, ids, area, np.ones(size)).taken(area >= 400)
        count += len(simplifier.add(features, regions))
        first += size
    return count + len(simplifier.rest()), time.process_time() - started


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5, help="how often the area is doubled")
    options = parser.parse_args()
    vectorise(town(256), True)  # imports and first calls
    print(f"{'polygons':>9} {'square':>7} {'cpu s':>7} {'µs each':>8} {'ratio':>6}")
    for square in (False, True):
        before = None
        for step in range(options.steps):
            count, seconds = vectorise(town(512 * 2**step), square)
            ratio = "" if before is None else f"{seconds / before:.2f}"
            each = 1e6 * seconds / count
            print(f"{count:9d} {square!s:>7} {seconds:7.2f} {each:8.1f} {ratio:>6}")
            before = seconds


if __name__ == "__main__":
    main()
