"""The demo from the air: a small one through all of its steps, and what it asks of the network."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from builtup.demo import aerial, demo
from builtup.errors import BuiltupError

ROOT = Path(__file__).parents[2]


def test_every_step_hands_on_to_the_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    for name, value in {"CITIES": 2, "TEST_CITIES": 1, "SIZE": 256, "WINDOW": 128}.items():
        monkeypatch.setattr(aerial, name, value)
    config = tmp_path / "tiny.py"
    config.write_text(
        f"base = {str(ROOT / aerial.CONFIG)!r}\n"
        "samples_per_epoch, num_epochs, num_workers, log_model = 16, 1, 0, False\n"
    )
    monkeypatch.setattr(aerial, "CONFIG", str(config))

    with caplog.at_level(logging.WARNING):
        outcome = demo(tmp_path / "my demo", sensor="aerial")

    maps = tmp_path / "my demo" / "aerial" / "maps"
    assert outcome.report == maps / "report.html"
    assert outcome.report.is_file()
    assert 0 <= outcome.scores["miou"] < 1
    assert len(list((maps / "raw").glob("*.gpkg"))) == 1
    assert "radar" not in caplog.text
    page = outcome.report.read_text(encoding="utf-8")
    assert "radar" not in page.lower()
    assert all(f'class="b b-{name}' in page for name in ("classes", "image", "probability"))
    assert f"{outcome.scores['mapped_iou']:.3f}" in page


def test_the_end_says_what_it_reaches_and_asks_for_more() -> None:
    scores = {"mapped_iou": 0.39, "mapped_f1": 0.56, "miou": 0.3}
    outcome = aerial.Outcome(scores, Path("report.html"), Path("maps"), "0123")

    assert "unseen towns: building IoU 0.390, F1 0.560; mIoU of six classes 0.300" in "\n".join(
        outcome.lines()
    )
    assert "--model 0123" in "\n".join(outcome.lines())
    with pytest.raises(BuiltupError, match=r"building IoU 0.390 is below 0.4"):
        outcome.check()
    aerial.Outcome({**scores, "mapped_iou": 0.41}, Path(), Path(), "").check()
