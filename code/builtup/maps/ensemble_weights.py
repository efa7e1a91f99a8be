"""The weights of an ensemble: given as numbers, or those that suit its validation cities best.

Fitted weights are not negative and add up to 1, of least mean squared error (Brier 1950) between
the mean of the members' probabilities and the truth: a quadratic problem in sums that are streamed.
All are integers in the end, so that means are exact.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from builtup.errors import BuiltupError, InputError
from builtup.geo.burn import Burner
from builtup.geo.grid import Grid
from builtup.geo.probability import NODATA, SCALE, mapped_band
from builtup.geo.rasters import gdal_env, open_raster, read_window
from builtup.geo.reprojection import reproject
from builtup.geo.vectors import read_polygons
from builtup.geo.windows import aligned
from builtup.runs.results import PredictionTags, read_tags
from builtup.scoring.scored_area import SCORED_AREA, truth_below
from builtup.sensors.scene_files import require_folder
from builtup.tiles.labels import labelled_area

__all__ = ["SharedScene", "brier_weights", "fit_weights", "parse_weights"]

log = logging.getLogger(__name__)

WINDOW = (512, 2048)
#: The largest integer weight: sums of 254 · weight stay far within 64 bits.
MOST = 1_000_000


@dataclass(frozen=True)
class SharedScene:
    """A scene that all members hold: its tags, and each member's raster and folder."""

    tags: PredictionTags
    rasters: tuple[Path, ...]
    folders: tuple[Path, ...]


def parse_weights(text: str, count: int) -> tuple[int, ...]:
    """Integers in the proportion of the numbers given."""
    numbers = [part.strip() for part in text.split(";") if part.strip()]
    if not numbers:
        return (1,) * count
    try:
        values = [Fraction(number) for number in numbers]
    except (ValueError, ZeroDivisionError) as e:
        raise BuiltupError(f"weights={text}: {e}; give numbers separated by ;, or fit") from e
    if len(values) != count:
        raise BuiltupError(f"weights={text}: {len(values)} for {count} runs; give one a run")
    if min(values) < 0 or sum(values) == 0:
        raise BuiltupError(f"weights={text}: none may be negative, one must be above 0")
    return as_integers(values)


def as_integers(values: Sequence[Fraction]) -> tuple[int, ...]:
    """The least integers in the proportion of `values`, to one part in a million."""
    unit = math.lcm(*(value.denominator for value in values))
    whole = [int(value * unit) for value in values]
    if max(whole) > MOST:
        whole = [round(value * MOST / max(values)) for value in values]
    common = math.gcd(*whole)
    return tuple(value // common for value in whole)


def fit_weights(
    names: Sequence[str], scenes: Sequence[SharedScene], gt_path: str
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Integer weights of the members, and the cities below `gt_path` that they were fitted on.

    Of the scenes counts where all members are valid, inside the labelled area. Raises BuiltupError
    where no such ground is known.
    """
    if not gt_path:
        raise BuiltupError("weights=fit: no ground truth; give gt_path, a split with polygons")
    root = require_folder(Path(gt_path))
    n = len(names)
    squares, products, pixels = np.zeros((n, n), np.int64), np.zeros(n, np.int64), 0
    cities = set()
    for scene in scenes:
        truth = truth_below(root, scene.tags.city, scene.tags.year)
        if truth is None:
            continue
        own_squares, own_products, own_pixels = _sums(scene, truth)
        squares, products = squares + own_squares, products + own_products
        pixels += own_pixels
        cities |= {scene.tags.city} if own_pixels else set()
    if not pixels:
        raise InputError(
            root, "no ground truth where all runs predict", "give the split of the predicted cities"
        )
    weights = brier_weights(squares / pixels, products / pixels)
    log.info(
        "weights fitted on %s: %s",
        ", ".join(sorted(cities)),
        ", ".join(f"{name} {w:.3f}" for name, w in zip(names, weights, strict=True)),
    )
    # to one part in a thousand: more would be noise
    return as_integers([Fraction(round(1000 * w), 1000) for w in weights]), tuple(sorted(cities))


def brier_weights(squares: NDArray[np.float64], products: NDArray[np.float64]) -> list[float]:
    """The w ≥ 0 with sum 1 of least w'Sw − 2 p'w; members that are the same share alike.

    `squares` (n, n) and `products` (n,) are means over pixels of v v' and v · 254 · truth, in
    8-bit steps.
    """
    from scipy.optimize import minimize

    s, p = squares / SCALE**2, products / SCALE**2
    n = len(p)
    s = s + 1e-9 * np.eye(n)  # of equal members none is preferred
    best = minimize(
        lambda w: w @ s @ w - 2 * p @ w,
        np.full(n, 1 / n),
        jac=lambda w: 2 * (s @ w - p),
        bounds=[(0, 1)] * n,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(n)},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    if not best.success:
        raise BuiltupError(f"weights=fit: no optimum was found ({best.message}); give weights")
    weights = np.clip(best.x, 0, None)
    return [float(w) for w in weights / weights.sum()]


def _sums(scene: SharedScene, truth: Path) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Σ v v', Σ v · 254 · truth and the number of pixels of one scene, exact."""
    n = len(scene.rasters)
    squares, products, pixels = np.zeros((n, n), np.int64), np.zeros(n, np.int64), 0
    scored = [folder / SCORED_AREA for folder in scene.folders]
    limits = [labelled_area(truth), *(path for path in scored if path.exists())]
    with gdal_env(), ExitStack() as stack:
        sources = [stack.enter_context(open_raster(path)) for path in scene.rasters]
        grid = Grid.of(sources[0])
        buildings = Burner.of(reproject(read_polygons(truth), grid.crs), grid, all_touched=True)
        areas = [
            Burner.of(reproject(read_polygons(path), grid.crs), grid, all_touched=False)
            for path in limits
            if path is not None
        ]
        mapped = read_tags(sources[0]).class_set.mapped_index
        band = mapped_band(sources[0].count, mapped)
        for window in aligned(grid.width, grid.height, WINDOW):
            values = np.stack([read_window(source, window, band) for source in sources])
            counted = (values != NODATA).all(axis=0)
            for area in areas:
                counted &= area.burn(window) == 1
            v = values[:, counted].astype(np.float64)  # sums below 2^53 are exact
            y = buildings.burn(window)[counted].astype(np.float64)
            squares += (v @ v.T).astype(np.int64)
            products += (SCALE * (v @ y)).astype(np.int64)
            pixels += int(counted.sum())
    return squares, products, pixels
