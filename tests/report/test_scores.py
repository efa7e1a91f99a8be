"""Rows of scores: each city, all pixels pooled, the mean of the cities, and their intervals."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import numpy as np
import pytest

from builtup.maps.validate import MACRO, POOLED
from builtup.report.city_counts import CityCounts
from builtup.report.scores import read_polygon_f1, score_rows
from builtup.runs.results import Results
from builtup.scoring.counts import PixelCounts, f1


def city(seed: int, share: float = 0.3) -> CityCounts:
    """A city of 20 blocks, and all its pixels together."""
    generator = np.random.default_rng(seed)
    truth = generator.random(2000) < share
    level = np.clip(generator.normal(90 + 70 * truth, 40), 0, 254).astype(np.uint8)
    mapped = level >= 127
    pixels = PixelCounts.of(truth, mapped, level)
    parts = np.split(np.stack([truth & mapped, ~truth & mapped, truth & ~mapped]), 20, axis=1)
    cells = [part.sum(axis=1).tolist() for part in parts]
    blocks = np.array([[tp, fp, fn, 100 - tp - fp - fn] for tp, fp, fn in cells], np.int64)
    return CityCounts(Path("truth.shp"), pixels, blocks, 0, ())


def test_scores_lie_within_their_intervals(tmp_path: Path) -> None:
    (row,) = score_rows([("A", city(0))], Results(tmp_path))
    assert row.f1.value == pytest.approx(float(f1(city(0).pixels.cells)))
    for score in (row.f1, row.iou):
        assert score.low < score.value < score.high
    assert (row.pixels, row.blocks) == (2000, 20) and math.isnan(row.polygon_f1)


def test_several_cities_are_pooled_and_averaged(tmp_path: Path) -> None:
    one, other, pooled, macro = score_rows([("A", city(0)), ("B", city(1, 0.1))], Results(tmp_path))
    assert (pooled.name, macro.name) == (POOLED, MACRO)
    assert macro.f1.value == pytest.approx((one.f1.value + other.f1.value) / 2)
    assert macro.brier == pytest.approx((one.brier + other.brier) / 2)
    total = city(0).pixels + city(1, 0.1).pixels
    assert pooled.f1.value == pytest.approx(float(f1(total.cells)))
    assert pooled.blocks == macro.blocks == 40


def test_a_city_without_the_class_has_no_score_and_is_left_out_of_the_mean(tmp_path: Path) -> None:
    one, empty, _, macro = score_rows([("A", city(0)), ("B", city(1, 0.0))], Results(tmp_path))
    assert math.isnan(empty.f1.value) and math.isnan(empty.f1.low)
    assert macro.f1.value == one.f1.value


def test_polygon_f1_is_that_of_validate_where_it_counted_the_same_pixels(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pixels = city(0).pixels
    values = {
        "cities": {"A": {"confusion_matrix": pixels.matrix.tolist()}},
        "scores": {"A": {"polygon_f1": 0.25}, POOLED: {"polygon_f1": None}},
    }
    (tmp_path / "validation.json").write_text(json.dumps(values))
    found = read_polygon_f1(Results(tmp_path), {"A": pixels})
    assert found["A"] == 0.25 and math.isnan(found[POOLED])
    with caplog.at_level(logging.WARNING):
        assert read_polygon_f1(Results(tmp_path), {"A": city(1).pixels}) == {}
    assert "of other maps or other ground truth" in caplog.text
