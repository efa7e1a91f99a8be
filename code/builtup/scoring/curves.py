"""Curves of a validation: precision and recall over the threshold, calibration, confusion.

All of them from counts that the evaluator keeps anyway: a histogram of the building probability in
255 levels, and a confusion matrix a city. A figure without meaning is None in the JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from builtup.geo.probability import LEVELS
from builtup.jobs.files import atomic_path, write_text_atomically
from builtup.scoring.counts import Counts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "Calibration",
    "ThresholdCurve",
    "calibration",
    "threshold_curve",
    "write_curves",
]

Values = NDArray[np.float64]

#: Bins of equal width between 0 and 1 (Guo, Pleiss, Sun, Weinberger, ICML 2017).
BINS = 15


@dataclass(frozen=True)
class ThresholdCurve:
    """Precision, recall and F1 where a pixel of level ≥ `level` is built-up, level 0 to 254.

    Precision is NaN where nothing is predicted, recall and F1 where the truth has no building.
    """

    level: NDArray[np.int64]
    precision: Values
    recall: Values
    f1: Values

    @property
    def threshold(self) -> Values:
        """The probability of each level."""
        return self.level / (LEVELS - 1)

    @property
    def average_precision(self) -> float:
        """Area below precision over recall in steps, as scikit-learn's average_precision_score."""
        if np.isnan(self.recall).all():
            return math.nan
        gained = self.recall - np.append(self.recall[1:], 0.0)
        return float((gained * np.nan_to_num(self.precision)).sum())


@dataclass(frozen=True)
class Calibration:
    """What is predicted and what is true in bins of equal width of the probability.

    `predicted` and `observed` are NaN in empty bins. `error` is the expected calibration error:
    the mean over pixels of |predicted − observed| of their bins (Naeini, Cooper, Hauskrecht,
    AAAI 2015), `brier` the mean squared error (Brier, 1950).
    """

    predicted: Values
    observed: Values
    pixels: NDArray[np.int64]
    error: float
    brier: float


def threshold_curve(histogram: Counts) -> ThresholdCurve:
    """Read (2, 255) int64 pixels of background and of buildings per level of probability."""
    background, building = histogram
    hit = np.cumsum(building[::-1])[::-1].astype(np.float64)
    false = np.cumsum(background[::-1])[::-1].astype(np.float64)
    true = float(building.sum())
    return ThresholdCurve(
        np.arange(LEVELS),
        _ratio(hit, hit + false),
        _ratio(hit, np.full(LEVELS, true)),
        _ratio(2 * hit, hit + false + true) if true else np.full(LEVELS, np.nan),
    )


def calibration(histogram: Counts, bins: int = BINS) -> Calibration:
    """Bin (2, 255) int64 pixels per level, as sklearn.calibration.calibration_curve does."""
    background, building = (row.astype(np.float64) for row in histogram)
    probability = np.arange(LEVELS) / (LEVELS - 1)
    place = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], probability)
    pixels, true, sums = (
        np.bincount(place, weights, bins)
        for weights in (background + building, building, (background + building) * probability)
    )
    predicted, observed = _ratio(sums, pixels), _ratio(true, pixels)
    total = pixels.sum()
    squares = (background * probability**2 + building * (1 - probability) ** 2).sum()
    gaps = np.nan_to_num(np.abs(predicted - observed))
    return Calibration(
        predicted,
        observed,
        pixels.astype(np.int64),
        float((gaps * pixels).sum() / total) if total else math.nan,
        float(squares / total) if total else math.nan,
    )


def write_curves(
    folder: Path,
    histogram: Counts,
    confusion: Mapping[str, Sequence[Sequence[int]]],
    class_names: Sequence[str],
    threshold: float,
) -> dict[str, float]:
    """Write precision_recall, calibration and confusion as PNG and JSON; return their figures.

    `confusion` holds a matrix [truth][prediction] a city. The figures are average_precision,
    calibration_error and brier, NaN where undefined.
    """
    curve, bins = threshold_curve(histogram), calibration(histogram)
    found = {
        "average_precision": curve.average_precision,
        "calibration_error": bins.error,
        "brier": bins.brier,
    }
    _write_json(
        folder / "precision_recall.json",
        {
            "threshold": curve.threshold,
            "precision": curve.precision,
            "recall": curve.recall,
            "f1": curve.f1,
            "average_precision": curve.average_precision,
            "chosen_threshold": threshold,
        },
    )
    _write_json(
        folder / "calibration.json",
        {
            "predicted": bins.predicted,
            "observed": bins.observed,
            "pixels": bins.pixels,
            "expected_calibration_error": bins.error,
            "brier": bins.brier,
        },
    )
    matrices = {city: np.asarray(matrix, np.int64) for city, matrix in confusion.items()}
    _write_json(
        folder / "confusion.json",
        {"classes": list(class_names), "rows": "truth", "columns": "prediction", **matrices},
    )
    _save(_draw_threshold(curve, threshold), folder / "precision_recall.png")
    _save(_draw_calibration(bins), folder / "calibration.png")
    total = sum(matrices.values(), np.zeros((len(class_names),) * 2, np.int64))
    _save(_draw_confusion(total, class_names), folder / "confusion.png")
    return found


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> Values:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


# --- files ------------------------------------------------------------------------------------


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    record = {key: _plain(value) for key, value in values.items()}
    write_text_atomically(path, json.dumps(record) + "\n")


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as beside:
        figure.savefig(beside, format="png", dpi=120)


def _figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    return figure, list(np.atleast_1d(figure.subplots(1, columns)))


def _draw_threshold(curve: ThresholdCurve, threshold: float) -> Figure:
    figure, (left, right) = _figure(9, 4, 2)
    for name in ("precision", "recall", "f1"):
        left.plot(curve.threshold, getattr(curve, name), label=name.replace("f1", "F1"))
    left.axvline(threshold, color="grey", linestyle="--", label=f"chosen, {threshold:.3f}")
    left.set(xlabel="threshold of the building probability", xlim=(0, 1), ylim=(0, 1.02))
    left.legend()
    right.plot(curve.recall, curve.precision)
    right.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
    right.set_title(f"average precision {curve.average_precision:.3f}")
    return figure


def _draw_calibration(bins: Calibration) -> Figure:
    figure, (left, right) = _figure(9, 4, 2)
    left.plot((0, 1), (0, 1), color="grey", linestyle="--")
    left.plot(bins.predicted, bins.observed, marker="o")
    left.set(xlabel="predicted building probability", ylabel="share of buildings in the truth")
    left.set_title(f"expected calibration error {bins.error:.3f}")
    centres = (np.arange(len(bins.pixels)) + 0.5) / len(bins.pixels)
    right.bar(centres, bins.pixels, width=0.9 / len(bins.pixels))
    right.set(xlabel="predicted building probability", ylabel="pixels", yscale="symlog")
    return figure


def _draw_confusion(matrix: Counts, class_names: Sequence[str]) -> Figure:
    figure, (axes,) = _figure(4.5, 4)
    share = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        axes.text(
            column,
            row,
            f"{count:,}\n{share[row, column]:.1%}",
            ha="center",
            va="center",
            color="white" if share[row, column] > 0.5 else "black",
        )
    ticks = range(len(class_names))
    axes.set_xticks(ticks, class_names)
    axes.set_yticks(ticks, class_names)
    axes.set(xlabel="prediction (likeliest class)", ylabel="truth")
    return figure
