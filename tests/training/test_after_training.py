"""What follows the last step of a training is written into its summary and its run."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from builtup.training.after_training import _keep_temperature


def test_a_validated_training_says_its_temperature_and_what_it_was_tuned_on(
    tmp_path: Path,
) -> None:
    (tmp_path / "summary.json").write_text(json.dumps({"threshold": 0.4}))
    logged: dict[str, float] = {}
    data = SimpleNamespace(val_cities=["38SMA_Ardena"])
    recorder = SimpleNamespace(folder=tmp_path, metrics=lambda found, _: logged.update(found))
    progress = SimpleNamespace(best_iteration=7)
    _keep_temperature(3.0, *cast("Any", (data, progress, recorder)))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["temperature"] == 3.0
    assert logged == {"val/temperature": summary["temperature"]}
    assert summary["temperature_tuned_on"] == ["38SMA_Ardena"]
    assert summary["threshold"] == 0.4


def test_where_no_temperature_can_be_fitted_the_summary_stays(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"threshold": 0.4}')
    _keep_temperature(None, *cast("Any", (None, None, SimpleNamespace(folder=tmp_path))))
    assert (tmp_path / "summary.json").read_text() == '{"threshold": 0.4}'
