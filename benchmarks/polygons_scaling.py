"""How the time of tracing, filling, simplifying and squaring grows with the number of polygons.

Simulated built-up masks of doubling area (so of doubling polygons), in memory, without files:
`python benchmarks/polygons_scaling.py`. Linear time means about 2 in the last column. With
`--one-region` most of what is built up hangs together: a region with thousands of holes that stays
open to the last row, in the low blocks (64 rows) that wide rasters are read in.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from scipy.ndimage import gaussian_filter
from shapely import get_num_coordinates

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "code"))

from builtup.geo.generalise import Generaliser
from builtup.geo.grid import Grid
from builtup.geo.regions import trace
from builtup.geo.vector_writers import Features
from builtup.options import PolygonOptions

PIXEL = 10.0
WIDTH = 2048


def town(rows: int, one_region: bool = False, seed: int = 0) -> NDArray[np.bool_]:
    """A mask (rows, WIDTH) in which about a fifth is built up, in patches of some pixels, or three
    fifths, nearly all in one region."""
    noise = np.random.default_rng(seed).normal(size=(rows, WIDTH)).astype(np.float32)
    smooth = gaussian_filter(noise, 3 if one_region else 1.6)
    return np.asarray(smooth > np.quantile(smooth, 0.4 if one_region else 0.8))


def vectorise(
    mask: NDArray[np.bool_], square: bool, block: tuple[int, int] | None = None
) -> tuple[int, int, float]:
    """Polygons of a mask, the vertices of the largest, and the processor's seconds for all."""
    height, width = mask.shape
    ones = np.ones(mask.shape, np.uint8)
    grid = Grid(CRS.from_epsg(32638), Affine(PIXEL, 0, 3e5, 0, -PIXEL, 4e6), width, height)
    started, count, first, largest = time.process_time(), 0, 0, 0
    generaliser = Generaliser(PolygonOptions(square=square), grid)
    read = lambda w: (mask[w.slices], ones[w.slices])  # noqa: E731
    for regions in trace(width, height, read, block):
        size = len(regions)
        ids = np.arange(first, first + size, dtype=np.int32)
        features = Features(regions.outlines, ids, regions.pixels * PIXEL**2, np.ones(size))
        count += len(generaliser.add(features, regions))
        first += size
        largest = max(largest, int(get_num_coordinates(regions.outlines).max()))
    return count + len(generaliser.rest()), largest, time.process_time() - started


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5, help="how often the area is doubled")
    parser.add_argument("--one-region", action="store_true", help="most of it hangs together")
    options = parser.parse_args()
    one_region = options.one_region
    block = (64, 1024) if one_region else None
    vectorise(town(256), True)  # imports and first calls
    print(f"{'polygons':>9} {'largest':>9} {'square':>7} {'cpu s':>7} {'µs each':>8} {'ratio':>6}")
    for square in (False,) if one_region else (False, True):
        before = None
        for step in range(options.steps):
            mask = town(512 * 2**step, one_region)
            count, largest, seconds = vectorise(mask, square, block)
            ratio = "" if before is None else f"{seconds / before:.2f}"
            each = 1e6 * seconds / count
            print(
                f"{count:9d} {largest:9d} {square!s:>7} {seconds:7.2f} {each:8.1f} {ratio:>6}",
                flush=True,
            )
            before = seconds


if __name__ == "__main__":
    main()
