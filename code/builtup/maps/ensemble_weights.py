"""Weights and threshold of an ensemble: as given, or those that suit its validation ground best.

Fitted weights are not negative and add up to 1, of least mean squared error (Brier 1950) between
the mean of the members' probabilities and the truth: a quadratic problem in sums that are streamed.
All are integers in the end, so that means are exact.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from builtup.errors import BuiltupError, InputError
from builtup.geo.burn import Burner
from builtup.geo.grid import Grid
from builtup.geo.probability import IGNORE, LEVELS, NODATA, SCALE, mapped_band
from builtup.geo.rasters import gdal_env, open_raster, read_window
from builtup.geo.reprojection import reproject
from builtup.geo.vectors import read_polygons
from builtup.geo.windows import aligned
from builtup.maps.label_truth import Truths, open_truth
from builtup.runs.results import PredictionTags, read_tags
from builtup.scoring.counts import level_histogram
from builtup.scoring.curves import choose_threshold
from builtup.scoring.scored_area import SCORED_AREA, truth_below
from builtup.sensors.classes import BUILT_UP
from builtup.sensors.radar.names import plain_id

__all__ = [
    "SharedScene",
    "brier_weights",
    "fit_threshold",
    "fit_weights",
    "parse_weights",
    "weighted_mean",
]

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

    `gt_path` is a split with polygons, or a folder of masks. Of the scenes counts where all members
    are valid and the truth is known. Raises BuiltupError where no such ground is known.
    """
    truths = _truths("weights", gt_path)
    n = len(names)
    squares, products, pixels = np.zeros((n, n), np.int64), np.zeros(n, np.int64), 0
    cities = set()
    for scene in scenes:
        truth = _truth_of(scene, truths)
        if truth is None:
            continue
        own_squares, own_products, own_pixels = _sums(scene, truth)
        squares, products = squares + own_squares, products + own_products
        pixels += own_pixels
        cities |= {scene.tags.city} if own_pixels else set()
    if not pixels:
        raise _no_truth(gt_path, scenes)
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


def fit_threshold(
    scenes: Sequence[SharedScene], weights: Sequence[int], gt_path: str
) -> tuple[float, tuple[str, ...]]:
    """The threshold of the best F1 of the members' mean by `weights`, and the cities that chose it.

    As `fit_weights`; raises BuiltupError for more than two classes, too, which no threshold
    decides.
    """
    truths, cities = _truths("threshold", gt_path), set()
    histogram = np.zeros((2, LEVELS), np.int64)
    for scene in scenes:
        if not scene.tags.class_set.by_threshold:
            raise BuiltupError("threshold=fit: more than two classes are decided by the largest")
        truth = _truth_of(scene, truths)
        if truth is None:
            continue
        for values, built in _shared_pixels(scene, truth):
            mean = weighted_mean([member[None] for member in values], weights)[0]
            histogram += level_histogram(mean, built)
            cities |= {scene.tags.city} if built.size else set()
    if not histogram.sum():
        raise _no_truth(gt_path, scenes)
    best = choose_threshold(histogram)
    if best is None:
        raise InputError(Path(gt_path), "no building where all runs predict", "give a threshold")
    log.info("threshold %.3f, F1 %.3f on %s", best.value, best.f1, ", ".join(sorted(cities)))
    return best.value, tuple(sorted(cities))


def weighted_mean(values: Sequence[NDArray[np.uint8]], weights: Sequence[int]) -> NDArray[np.uint8]:
    """The mean of 8-bit probabilities (bands, …), rounded half up, 255 where none is valid.

    A value counts where it is valid in every band.
    """
    total = np.zeros(values[0].shape, np.int64)
    sum_of_weights = np.zeros(values[0].shape[1:], np.int64)
    for array, weight in zip(values, weights, strict=True):
        valid = (array != NODATA).all(axis=0)
        total += np.where(valid, array, 0).astype(np.int64) * weight
        sum_of_weights += valid * weight
    divisor = np.maximum(sum_of_weights, 1)
    mean = ((2 * total + divisor) // (2 * divisor)).astype(np.uint8)
    mean[:, sum_of_weights == 0] = NODATA
    return mean


# --- pixels whose truth is known ------------------------------------------------------------------


def _truths(option: str, gt_path: str) -> Truths:
    if not gt_path:
        raise BuiltupError(
            f"{option}=fit: no ground truth; give gt_path, a split with polygons or a folder of "
            "masks"
        )
    return Truths(gt_path)


def _no_truth(gt_path: str, scenes: Sequence[SharedScene]) -> InputError:
    if not scenes:
        return InputError(Path(gt_path), "no scene is in all runs", "predict the same with all")
    names = [plain_id(scene.tags.scene) for scene in scenes]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return InputError(
        Path(gt_path),
        f"no ground truth where all runs predict ({', '.join(names[:3])}{more})",
        "predict the scenes of its polygons or masks with all runs",
    )


def _truth_of(scene: SharedScene, truths: Truths) -> Path | None:
    """The mask of a scene, or the polygons of its city and year; None where neither is known."""
    mask = truths.masks.get(scene.tags.scene)
    if mask is not None or truths.folder is None:
        return mask
    return truth_below(truths.folder, scene.tags.city, scene.tags.year)


def _sums(scene: SharedScene, truth: Path) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Σ v v', Σ v · 254 · truth and the number of pixels of one scene, exact."""
    n = len(scene.rasters)
    squares, products, pixels = np.zeros((n, n), np.int64), np.zeros(n, np.int64), 0
    for values, built in _shared_pixels(scene, truth):
        v, y = values.astype(np.float64), built.astype(np.float64)  # sums below 2^53 are exact
        squares += (v @ v.T).astype(np.int64)
        products += (SCALE * (v @ y)).astype(np.int64)
        pixels += len(y)
    return squares, products, pixels


def _shared_pixels(
    scene: SharedScene, truth: Path
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """By windows, each member's 8-bit probabilities of the mapped class (members, pixels), and
    whether they are of it (pixels,): where all members are valid and the truth is known."""
    scored = [path for folder in scene.folders if (path := folder / SCORED_AREA).exists()]
    with gdal_env(), ExitStack() as stack:
        sources = [stack.enter_context(open_raster(path)) for path in scene.rasters]
        grid, classes = Grid.of(sources[0]), read_tags(sources[0]).class_set
        # polygons tell the mapped class from all others, whatever these are
        told = classes if truth.suffix == ".tif" else BUILT_UP
        read_truth = stack.enter_context(open_truth(truth, grid, told))
        areas = [
            Burner.of(reproject(read_polygons(path), grid.crs), grid, all_touched=False)
            for path in scored
        ]
        band = mapped_band(sources[0].count, classes.mapped_index)
        for window in aligned(grid.width, grid.height, WINDOW):
            values = np.stack([read_window(source, window, band) for source in sources])
            true = read_truth(window)
            counted = (values != NODATA).all(axis=0) & (true != IGNORE)
            for area in areas:
                counted &= area.burn(window) == 1
            yield values[:, counted], true[counted] == told.mapped_index
