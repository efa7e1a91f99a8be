"""Curves as SVG: their numbers, and text that stays text."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from markupsafe import Markup
from sklearn.metrics import f1_score, precision_score, recall_score

from builtup.report.svg_charts import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    interval_bar,
    precision_recall_chart,
    reliability_chart,
    threshold_chart,
)
from builtup.scoring.calibration import reliability
from builtup.scoring.counts import PixelCounts, precision, recall


@pytest.fixture
def pixels():
    generator = np.random.default_rng(0)
    truth = generator.random(4000) < 0.3
    level = np.clip(generator.normal(90 + 70 * truth, 40), 0, 254).astype(np.uint8)
    return truth, level


def counts(pixels):
    truth, level = pixels
    return PixelCounts.of(truth, level >= 127, level)


def points(path):
    """The (x, y) of a path in units of the axes."""
    numbers = np.array([float(n) for n in re.findall(r"[\d.]+", path)]).reshape(-1, 2)
    x = (numbers[:, 0] - LEFT) / (RIGHT - LEFT)
    return np.stack([x, (BOTTOM - numbers[:, 1]) / (BOTTOM - TOP)], axis=1)


def paths(svg, kind):
    root = ElementTree.fromstring(f"<div>{svg}</div>")
    return [p.attrib["d"] for p in root.iter("path") if p.attrib.get("class") == kind]


@pytest.mark.parametrize(
    ("kind", "score"),
    [("line a", precision_score), ("line b", recall_score), ("line c", f1_score)],
)
def test_curves_over_the_threshold_are_those_of_scikit_learn(pixels, kind, score):
    truth, level = pixels
    (path,) = paths(threshold_chart(counts(pixels), 0.5), kind)
    curve = points(path)
    for threshold in (0.2, 0.5, 0.7):
        cut = math.ceil(254 * threshold)
        at = np.argmin(np.abs(curve[:, 0] - cut / 254))
        assert curve[at, 1] == pytest.approx(score(truth, level >= cut), abs=0.002)


def test_the_map_s_point_lies_on_precision_over_recall(pixels):
    svg = precision_recall_chart(counts(pixels), 0.5)
    root = ElementTree.fromstring(f"<div>{svg}</div>")
    (point,) = root.iter("circle")
    (x, y) = points(f"{point.attrib['cx']} {point.attrib['cy']}")[0]
    assert y == pytest.approx(precision(counts(pixels).cells), abs=0.002)
    assert x == pytest.approx(recall(counts(pixels).cells), abs=0.002)


def test_reliability_shows_the_bins_of_the_calibration(pixels):
    found = reliability(counts(pixels).histogram)
    (line,) = paths(reliability_chart(counts(pixels)), "line c")
    known = ~np.isnan(found.share)
    np.testing.assert_allclose(
        points(line), np.stack([found.probability, found.share], axis=1)[known], atol=0.002
    )


def test_bars_stand_on_an_axis_from_0_to_1_and_names_are_escaped():
    svg = interval_bar(0.5, 0.25, 0.75, '<b>"')
    assert isinstance(svg, Markup)
    root = ElementTree.fromstring(svg)
    assert root.attrib["aria-label"].startswith('<b>": 0.500')
    assert paths(svg, "whisker") == ["M41.0 10H119.0"]
    assert interval_bar(math.nan, math.nan, math.nan, "F1") == ""


def test_curves_without_a_building_are_empty_and_no_error():
    none = np.zeros(9, bool)
    empty = PixelCounts.of(none, none, np.zeros(9, np.uint8))
    for svg in (threshold_chart(empty, 0.5), precision_recall_chart(empty, 0.5)):
        assert paths(svg, "line c") == []
