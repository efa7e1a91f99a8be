"""Which scores are of ground that was tuned on."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from builtup.errors import InputError
from builtup.runs.lineage import tuned_ground
from builtup.runs.records import Tuned


@pytest.mark.parametrize(
    ("names", "held_out", "city", "expected"),
    [
        ((), "", "A", False),
        (("A",), "", "A", True),
        (("A",), "", "B", False),
        (("A/r0c1",), "", "A", True),  # a part of it
        (("A/r0c1",), "A/r0c0", "A", False),  # only the held-out block is predicted
        (("A/r0c0",), "A/r0c0", "A", True),
        (("A",), "A/r0c0", "A", True),
        (("AB/r0c0",), "", "A", False),
    ],
)
def test_cities_and_blocks(
    names: tuple[str, ...], held_out: str, city: str, expected: bool
) -> None:
    assert Tuned(names, held_out).on(city) is expected


def test_an_ensemble_says_it_itself(tmp_path: Path) -> None:
    (tmp_path / "ensemble.json").write_text(json.dumps({"tuned_on": ["A"]}))
    assert tuned_ground(tmp_path).on("A")


def test_the_training_s_summary_says_it(tmp_path: Path) -> None:
    run, preds = tmp_path / "run", tmp_path / "preds"
    (run / "config").mkdir(parents=True)
    (run / "config" / "settings.json").write_text("{}")
    summary = {"threshold_tuned_on": ["A"], "trained_on": ["B", "C/r0c1"], "val_cities": None}
    (run / "summary.json").write_text(json.dumps(summary))
    preds.mkdir()
    (preds / "inference.json").write_text(
        json.dumps({"training_run": str(run), "held_out": "C/r0c0"})
    )
    tuned = tuned_ground(preds)
    assert [city for city in "ABCD" if tuned.on(city)] == ["A", "B"]


def test_nothing_is_known_without_a_record_and_said_where_the_run_is_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert tuned_ground(tmp_path) == Tuned()
    assert not caplog.text
    assert tuned_ground(tmp_path, "0123") == Tuned()
    assert "what run 0123 was tuned on cannot be known: no inference.json" in caplog.text
    (tmp_path / "inference.json").write_text(json.dumps({"training_run": str(tmp_path / "gone")}))
    with caplog.at_level(logging.WARNING):
        assert tuned_ground(tmp_path) == Tuned()
    assert "cannot be known" in caplog.text
    (tmp_path / "inference.json").write_text("{")
    with pytest.raises(InputError, match="malformed"):
        tuned_ground(tmp_path)
