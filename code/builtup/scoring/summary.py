"""Figures of a cross-validation: mean, worst, spread and intervals, each under its own name.

`pooled` counts all held-out pixels of all folds together, `macro` is the mean of the folds'
scores. A fold whose truth has no building has no score; it is left out of `macro` and named.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builtup.scoring.blocks import BLOCK, LEVELS_AT, BlockTable
from builtup.scoring.bootstrap import LEVEL, RESAMPLES, SEED, Interval, interval, resample
from builtup.scoring.counts import f1, iou
from builtup.scoring.tables import as_json, span, three_decimals
from builtup.text_table import text_table

__all__ = [
    "SCORES",
    "Figures",
    "figures_of",
    "mean_of_defined",
    "statistics",
    "summary_lines",
]

Score = Callable[[NDArray[Any]], NDArray[np.float64]]
SCORES: dict[str, Score] = {"f1": f1, "iou": iou}


@dataclass(frozen=True)
class Figures:
    """One score over all folds at one threshold, means over the seeds.

    `by_fold` are the folds' scores; `spread` is their standard deviation (n − 1) and
    `spread_over_seeds` that of the seeds' macro means, NaN below two. `undefined` names the folds
    without a score. Intervals are over blocks of ground: they show how much the figure depends on
    which ground of these cities was held out, not how another city would do.
    """

    score: str
    threshold: str
    pooled: float
    pooled_interval: Interval
    macro: float
    macro_interval: Interval
    worst: float
    worst_fold: str
    spread: float
    spread_over_seeds: float
    by_fold: dict[str, float]
    undefined: tuple[str, ...]
    blocks: int
    resamples: int

    def to_json(self) -> dict[str, Any]:
        """As JSON values, None for what is undefined."""
        values: dict[str, Any] = as_json(asdict(self))
        return values


def figures_of(
    table: BlockTable, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = SEED
) -> list[Figures]:
    """Figures of F1 and IoU at the chosen threshold and at 0.5."""
    drawn = resample(table.counts, table.strata, resamples=resamples, seed=seed)
    figures = []
    for t, threshold in enumerate(LEVELS_AT):
        for name, score in SCORES.items():
            by_fold = score(table.by_fold()[:, :, t])  # folds, seeds
            pooled, macro = statistics(drawn[:, :, :, t], score)
            figures.append(
                _figures(
                    table,
                    name,
                    threshold,
                    by_fold,
                    float(score(table.counts[:, :, t].sum(axis=0)).mean()),
                    interval(pooled, level),
                    interval(macro, level),
                    resamples,
                )
            )
    return figures


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
                *(three_decimals(f.pooled), span(f.pooled_interval), three_decimals(f.macro)),
                *(span(f.macro_interval), three_decimals(f.worst), three_decimals(f.spread)),
                three_decimals(f.spread_over_seeds),
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


def statistics(
    drawn: NDArray[np.float64], score: Score
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pooled and macro score (resamples,) of sums (resamples, folds, seeds, 4), seeds' means."""
    pooled = score(drawn.sum(axis=1)).mean(axis=1)
    macro = mean_of_defined(score(drawn), axis=1).mean(axis=1)
    return pooled, macro


def _figures(
    table: BlockTable,
    name: str,
    threshold: str,
    by_fold: NDArray[np.float64],
    pooled: float,
    pooled_interval: Interval,
    macro_interval: Interval,
    resamples: int,
) -> Figures:
    of_fold = by_fold.mean(axis=1)
    defined = ~np.isnan(of_fold)
    worst = int(np.nanargmin(of_fold)) if defined.any() else 0
    by_seed = mean_of_defined(by_fold, axis=0)
    return Figures(
        score=name,
        threshold=threshold,
        pooled=pooled,
        pooled_interval=pooled_interval,
        macro=float(mean_of_defined(of_fold)),
        macro_interval=macro_interval,
        worst=float(of_fold[worst]),
        worst_fold=table.folds[worst] if defined.any() else "",
        spread=_deviation(of_fold[defined]),
        spread_over_seeds=_deviation(by_seed),
        by_fold=dict(zip(table.folds, of_fold.tolist(), strict=True)),
        undefined=tuple(f for f, ok in zip(table.folds, defined, strict=True) if not ok),
        blocks=len(table.places),
        resamples=resamples,
    )


def mean_of_defined(values: NDArray[np.float64], axis: int | None = None) -> Any:
    """The mean of what is not NaN; NaN where nothing is left."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of an empty slice
        return np.nanmean(values, axis=axis)


def _deviation(values: NDArray[np.float64]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
