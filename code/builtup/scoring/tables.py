"""Tables and sentences about scores, as they are printed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from builtup.scoring.blocks import BLOCK
from builtup.scoring.bootstrap import Interval
from builtup.scoring.summary import Figures
from builtup.text_table import text_table

__all__ = [
    "calibration_line",
    "figure",
    "fold_table",
    "markdown",
    "span",
    "summary_lines",
]


def figure(value: float) -> str:
    """Three decimals, or `undefined`."""
    return f"{value:.3f}" if math.isfinite(value) else "undefined"


def span(interval: Interval, *, signed: bool = False) -> str:
    """`0.612–0.701`, of differences `-0.012 to +0.034`."""
    if signed and math.isfinite(interval.low):
        return f"{interval.low:+.3f} to {interval.high:+.3f}"
    return f"{figure(interval.low)}–{figure(interval.high)}"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as a Markdown table, the first of them its head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|---" + "|---:" * (len(rows[0]) - 1) + "|")
    return "\n".join(lines)


def fold_table(folds: Sequence[Mapping[str, Any]]) -> str:
    """One line a fold and seed."""
    head = ["held out", "seed", "F1", "IoU", "threshold", "F1 at .5", "IoU at .5", "pixels"]
    rows = [head]
    for f in folds:
        scores = [f["f1"], f["iou"], f["threshold"], f["f1_at_half"], f["iou_at_half"]]
        rows.append([f["fold"], str(f["seed"]), *(figure(v) for v in scores), f"{f['pixels']:,}"])
    return text_table(rows)


def summary_lines(figures: Sequence[Figures], kind: str) -> list[str]:
    """The figures as a table, and what their intervals are of."""
    what = "city" if kind == "city" else "block"
    rows = [
        [
            *("building", "pooled", "interval", "macro over folds", "interval", "worst"),
            *("spread over folds", "over seeds"),
        ]
    ]
    for f in figures:
        name = f.score.upper().replace("IOU", "IoU")
        rows.append(
            [
                name + (" at the chosen threshold" if f.threshold == "chosen" else " at 0.5"),
                *(figure(f.pooled), span(f.pooled_interval), figure(f.macro)),
                *(span(f.macro_interval), figure(f.worst), figure(f.spread)),
                figure(f.spread_over_seeds),
            ]
        )
    first = figures[0]
    lines = [
        text_table(rows),
        f"worst {what}: {first.worst_fold or 'undefined'} (F1); spread: standard deviation",
        f"{100 * first.pooled_interval.level:.0f} % intervals: {first.resamples} resamples of "
        f"n = {first.blocks} blocks of {BLOCK} x {BLOCK} pixels, each fold within itself",
    ]
    if first.undefined:
        lines.append(
            f"undefined, and left out of the macro mean: {', '.join(first.undefined)} "
            "(no building in its ground truth)"
        )
    return lines


def calibration_line(calibrated: Mapping[str, float]) -> str:
    """The expected calibration errors of the held-out ground, in words."""
    plain, tempered = calibrated["ece"], calibrated["ece_with_temperature"]
    return (
        f"expected calibration error on held-out ground: {plain:.4f}, "
        f"{tempered:.4f} with each fold's temperature from the folds left in"
    )
