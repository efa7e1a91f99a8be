"""Pictures of scores: precision and recall over the threshold, reliability, confusion."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builtup.jobs.files import atomic_path, write_text_atomically
from builtup.scoring.calibration import BINS, Reliability, brier, reliability
from builtup.scoring.counts import Counts
from builtup.scoring.curves import ThresholdCurve, average_precision, threshold_curve
from builtup.scoring.tables import as_json
from builtup.sensors.classes import Classes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_reliability", "write_curves"]


def write_curves(
    folder: Path,
    histogram: Counts,
    confusion: Mapping[str, Sequence[Sequence[int]]],
    classes: Classes,
    threshold: float,
) -> dict[str, float]:
    """Write precision_recall, calibration and confusion as PNG and JSON; return their figures.

    `histogram` (2, 255) is of the mapped class, `confusion` holds a matrix [truth][prediction] a
    city. The figures are average_precision, calibration_error and brier, NaN where undefined.
    """
    curve, bins = threshold_curve(histogram), reliability(histogram)
    figures = {
        "average_precision": average_precision(histogram),
        "calibration_error": bins.ece,
        "brier": brier(histogram),
    }
    _write_json(
        folder / "precision_recall.json",
        {
            "threshold": curve.threshold,
            "precision": curve.precision,
            "recall": curve.recall,
            "f1": curve.f1,
            "average_precision": figures["average_precision"],
            "chosen_threshold": threshold,
        },
    )
    _write_json(
        folder / "calibration.json",
        {
            "predicted": bins.probability,
            "observed": bins.share,
            "pixels": bins.pixels,
            "expected_calibration_error": bins.ece,
            "brier": figures["brier"],
        },
    )
    _write_json(
        folder / "confusion.json",
        {"classes": classes.names, "rows": "truth", "columns": "prediction", **confusion},
    )
    total = np.sum([np.asarray(matrix, np.int64) for matrix in confusion.values()], axis=0)
    pictures = {
        "precision_recall": _draw_threshold(
            curve, threshold, figures["average_precision"], classes
        ),
        "calibration": _draw_calibration(bins, classes),
        "confusion": _draw_confusion(total, classes),
    }
    for name, figure in pictures.items():
        _save(figure, folder / f"{name}.png")
    return figures


def draw_reliability(path: Path, curves: Mapping[str, Reliability]) -> None:
    """A picture (PNG) of reliability curves above the number of pixels in each bin."""
    figure, (upper, lower) = _figure(5, 6, rows=2, sharex=True, height_ratios=(3, 1))
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
    _save(figure, path)


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    write_text_atomically(path, json.dumps(as_json(dict(values))) + "\n")


def _figure(
    width: float, height: float, *, rows: int = 1, columns: int = 1, **layout: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of so many inches with its axes, without the start-up of pyplot."""
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    return figure, list(np.atleast_1d(figure.subplots(rows, columns, **layout)))


def _save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as beside:
        figure.savefig(beside, format="png", dpi=120)


def _draw_threshold(
    curve: ThresholdCurve, threshold: float, average: float, classes: Classes
) -> Figure:
    figure, (left, right) = _figure(9, 4, columns=2)
    for name in ("precision", "recall", "f1"):
        left.plot(curve.threshold, getattr(curve, name), label=name.replace("f1", "F1"))
    left.axvline(threshold, color="grey", linestyle="--", label=f"chosen, {threshold:.3f}")
    left.set(xlabel=f"threshold of the {classes.mapped} probability", xlim=(0, 1), ylim=(0, 1.02))
    left.legend()
    right.plot(curve.recall, curve.precision)
    right.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
    right.set_title(f"average precision {average:.3f}")
    return figure


def _draw_calibration(bins: Reliability, classes: Classes) -> Figure:
    figure, (left, right) = _figure(9, 4, columns=2)
    predicted = f"predicted {classes.mapped} probability"
    left.plot((0, 1), (0, 1), color="grey", linestyle="--")
    left.plot(bins.probability, bins.share, marker="o")
    left.set(xlabel=predicted, ylabel=f"share of {classes.mapped}s in the truth")
    left.set_title(f"expected calibration error {bins.ece:.3f}")
    centres = (np.arange(len(bins.pixels)) + 0.5) / len(bins.pixels)
    right.bar(centres, bins.pixels, width=0.9 / len(bins.pixels))
    right.set(xlabel=predicted, ylabel="pixels", yscale="symlog")
    return figure


def _draw_confusion(matrix: Counts, classes: Classes) -> Figure:
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
    ticks = range(len(classes))
    axes.set_xticks(ticks, classes.names)
    axes.set_yticks(ticks, classes.names)
    axes.set(xlabel="prediction (likeliest class)", ylabel="truth")
    return figure
