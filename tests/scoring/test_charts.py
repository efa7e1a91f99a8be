"""Pictures of scores, and the figures that are written beside them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from builtup.geo.probability import LEVELS
from builtup.scoring.calibration import brier, reliability
from builtup.scoring.charts import draw_reliability, write_curves
from builtup.scoring.curves import average_precision
from builtup.sensors.classes import Classes

COUNTS = np.random.default_rng(0).integers(0, 50, (2, LEVELS))


def test_curves_are_written_as_json_and_pictures(tmp_path: Path) -> None:
    confusion = {"A": [[5, 1], [2, 3]], "B": [[1, 0], [0, 1]]}
    classes = Classes.of(("ground", "building"))
    figures = write_curves(tmp_path / "curves", COUNTS, confusion, classes, 0.4)
    assert figures == {
        "average_precision": average_precision(COUNTS),
        "calibration_error": reliability(COUNTS).ece,
        "brier": brier(COUNTS),
    }
    for name in ("precision_recall", "calibration", "confusion"):
        assert (tmp_path / "curves" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        record = json.loads((tmp_path / "curves" / f"{name}.json").read_text())
        assert record
    assert record["A"] == confusion["A"] and record["classes"] == ["ground", "building"]
    read = json.loads((tmp_path / "curves" / "precision_recall.json").read_text())
    assert len(read["precision"]) == LEVELS
    assert read["average_precision"] == pytest.approx(figures["average_precision"])


def test_a_curve_without_the_class_in_the_truth_is_null_in_json(tmp_path: Path) -> None:
    empty = COUNTS * [[1], [0]]
    write_curves(tmp_path, empty, {"A": [[3, 0], [0, 0]]}, Classes.of(("a", "b")), 0.5)
    read = json.loads((tmp_path / "precision_recall.json").read_text())
    assert read["average_precision"] is None and set(read["recall"]) == {None}


def test_the_curves_are_drawn(tmp_path: Path) -> None:
    draw_reliability(tmp_path / "curve.png", {"as trained": reliability(COUNTS)})
    with Image.open(tmp_path / "curve.png") as image:
        assert image.size == (600, 720)
