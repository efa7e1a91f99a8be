"""Figures of a cross-validation: pooled, macro, worst and spread, from counts by block."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from builtup.scoring.blocks import BlockRow, BlockTable, Place
from builtup.scoring.counts import f1
from builtup.scoring.summary import figures_of, mean_of_defined, summary_lines


def table(counts: dict[str, list[list[int]]]) -> BlockTable:
    """Blocks of one seed by fold, the same counts at both thresholds."""
    return BlockTable.of(
        BlockRow(0, Place(fold, fold, 0, column), "scene", np.array([cells, cells], np.int64))
        for fold, blocks in counts.items()
        for column, cells in enumerate(blocks)
    )


COUNTS = {
    "Alpha": [[30, 10, 5, 55], [20, 2, 8, 70]],
    "Beta": [[5, 20, 15, 60], [1, 0, 9, 90]],
    "Gamma": [[0, 4, 0, 96]],
}


def test_pooled_counts_all_pixels_and_macro_is_the_mean_of_the_folds() -> None:
    figures = figures_of(table(COUNTS), resamples=200)[0]
    folds = {fold: float(f1(np.sum(blocks, axis=0))) for fold, blocks in COUNTS.items()}
    assert (figures.score, figures.threshold) == ("f1", "chosen")
    pooled = np.sum([block for blocks in COUNTS.values() for block in blocks], axis=0)
    assert figures.pooled == pytest.approx(float(f1(pooled)))
    assert figures.macro == pytest.approx((folds["Alpha"] + folds["Beta"]) / 2)
    assert (figures.worst, figures.worst_fold) == (pytest.approx(folds["Beta"]), "Beta")
    assert figures.spread == pytest.approx(np.std([folds["Alpha"], folds["Beta"]], ddof=1))
    assert figures.pooled_interval.low <= figures.pooled <= figures.pooled_interval.high
    assert figures.blocks == 5 and math.isnan(figures.spread_over_seeds)


def test_a_fold_without_the_class_is_left_out_of_the_mean_and_named() -> None:
    figures = figures_of(table(COUNTS), resamples=50)
    assert all(f.undefined == ("Gamma",) for f in figures)
    text = "\n".join(summary_lines(figures, "city"))
    assert "worst city: Beta" in text and "left out of the macro mean: Gamma" in text
    assert "IoU at 0.5" in text and "n = 5 blocks" in text


def test_figures_are_json_with_null_for_what_is_undefined() -> None:
    values = figures_of(table({"Gamma": COUNTS["Gamma"]}), resamples=10)[0].to_json()
    assert json.loads(json.dumps(values, allow_nan=False))["macro"] is None
    assert values["by_fold"] == {"Gamma": None}


def test_the_mean_of_nothing_is_undefined() -> None:
    assert math.isnan(mean_of_defined(np.array([math.nan])))
    assert mean_of_defined(np.array([math.nan, 2.0])) == 2
