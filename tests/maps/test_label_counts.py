"""Counts of labels by hand: shares, means, and scores of each stage."""

from __future__ import annotations

import json

import numpy as np
import pytest

from builtup.maps.label_counts import LabelCounts, mean_of, quality_of, stages_of
from builtup.sensors.classes import Classes

TWO = Classes.of(("background", "building"))
TRUTH = np.array([[0, 0, 1, 1, 255]], np.uint8)


def counted() -> dict[str, object]:
    """Five pixels: raw labels with two of four right, of which tags correct one, and three kept."""
    counts = LabelCounts(TWO)
    levels = np.array([[[127, 254, 0, 254, 255]]], np.uint8)
    raw = np.array([[0, 1, 0, 1, 255]], np.uint8)
    allowed = np.array([[0, 0, 0, 1, 255]], np.uint8)
    kept = np.array([[0, 0, 255, 1, 255]], np.uint8)
    counts.add(np.array([[True, True, True, True, False]]), levels, kept)
    counts.compare(TRUTH, {"raw": raw, "tags": allowed, "kept": kept})
    return json.loads(json.dumps(counts.as_json()))  # type: ignore[no-any-return]


def test_pixels_are_counted_by_what_they_are() -> None:
    found = counted()
    assert [found[name] for name in ("valid", "told", "kept", "mapped")] == [4, 4, 3, 1]
    assert mean_of([found]) == (pytest.approx((127 + 254 + 0 + 254) / 4 / 254),)  # type: ignore[list-item]


def test_each_stage_is_scored_on_the_pixels_with_truth() -> None:
    stages = stages_of([counted(), counted()], TWO)  # type: ignore[list-item]
    assert stages is not None and list(stages) == ["raw", "tags", "kept"]
    assert stages["raw"] == {
        "labelled": 1,
        "macro_iou": pytest.approx(1 / 3),
        "accuracy": 0.5,
        "iou": pytest.approx(1 / 3),
    }
    assert stages["tags"]["accuracy"] == 0.75 and stages["tags"]["iou"] == 0.5
    assert stages["kept"] == {"labelled": 0.75, "macro_iou": 1, "accuracy": 1, "iou": 1}


def test_quality_is_by_city_and_pooled() -> None:
    found = [counted(), counted()]
    quality = quality_of(["a", "b"], found, TWO, "raw")  # type: ignore[arg-type]
    assert quality is not None and list(quality) == ["a", "b", "pooled"]
    assert quality["pooled"] == {"f1": 0.5, "precision": 0.5, "recall": 0.5}


def test_without_truth_nothing_is_scored() -> None:
    counts = [LabelCounts(TWO).as_json()]
    assert stages_of(counts, TWO) is None and quality_of(["a"], counts, TWO, "kept") is None
