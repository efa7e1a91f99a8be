"""Held-out chips by their loss: figures by hand, and a run whose labels are wrong in one place."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builtup.config.launch import run_script
from builtup.errors import InputError
from builtup.geo.windows import Window
from builtup.report.audit import _measured, _Seen, _windows, audit
from builtup.runs import tracking
from builtup.sensors.classes import Classes
from helpers import ROOT
from tiny_training import write_tiny

SCRIPT = ROOT / "code" / "scripts" / "training.py"
CLASSES = Classes.of(("building", "ground", "car"))

#: Of the third tile that is held out, the upper left corner says building where there is none.
WRONG = """

class Mistaken(Towns):
    def __getitem__(self, index):
        sample = super().__getitem__(index)
        if index == 2:
            sample["mask"][2:16, :16] = 1 - sample["mask"][2:16, :16]
        return sample


def val_loader():
    return DataLoader(Mistaken(5, 100), 2) if held_out else None


held_out = True
"""


def test_the_figures_of_a_chip_by_hand() -> None:
    """Probabilities of the labels .5, .25, 1; a car found as ground twice, an ignored pixel."""
    part = _Seen(
        np.zeros((3, 2, 2), np.float32),
        np.array([[2, 2], [0, 255]], np.uint8),
        np.array([[1, 1], [0, 0]], np.uint8),
        np.array([[0.5, 0.25], [1.0, 0.9]], np.float32),
    )
    found = _measured(part, CLASSES, "t", "City", Window(4, 8, 2, 2))
    assert found is not None
    assert found.loss == pytest.approx((math.log(2) + math.log(4)) / 3)
    assert (found.wrong, found.label, found.found) == (pytest.approx(2 / 3), "car", "ground")
    assert (found.pixels, found.x, found.y) == (3, 8, 4)
    blank = _Seen(part.image, np.full((2, 2), 255, np.uint8), part.found, part.right)
    assert _measured(blank, CLASSES, "t", "City", Window(0, 0, 2, 2)) is None


def test_chips_cover_a_tile_once() -> None:
    seen = np.zeros((50, 70), int)
    for window in _windows(seen.shape, 32):
        seen[window.slices] += 1
    assert (seen == 1).all()


@pytest.fixture
def run_id(project: Path, tmp_path: Path) -> str:
    options = "num_epochs=12 lr=0.2 dropout=0 log_predictions=0"
    run_script(SCRIPT, write_tiny(tmp_path, WRONG), 1, options)
    return tracking.last_run_id()


def test_the_chip_whose_labels_are_wrong_comes_first(run_id: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = audit(run_id=run_id, chip=16, worst=3, output_path=str(out))
    with (out / "audit.csv").open() as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    assert len(rows) == 5 * 4
    assert (rows[0]["tile"], rows[0]["x"], rows[0]["y"]) == ("tile_102", "0", "0")
    losses = [float(row["loss"]) for row in rows]
    assert losses == sorted(losses, reverse=True) and losses[0] > 2 * losses[1]
    assert rows[0]["pixels"] == str(14 * 16)  # two rows are no-data
    page = (out / "audit.html").read_text()
    assert page.count("<img") == 3 and page.count("data:image/jpeg;base64,") == 3
    assert re.findall(r"<h2>(\d\. \w+)", page)[0] == "1. tile_102"
    assert "http" not in page
    assert said.splitlines()[1].split()[-3:] == ["tile_102", "0", "0"]
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    audit(run_id=run_id, chip=16, worst=3, output_path=str(out))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_run_that_holds_nothing_out_is_refused(project: Path, tmp_path: Path) -> None:
    run_script(SCRIPT, write_tiny(tmp_path, WRONG), 1, "held_out=false num_epochs=1")
    with pytest.raises(InputError, match="its training holds out no ground; audit a run"):
        audit(run_id=tracking.last_run_id())
