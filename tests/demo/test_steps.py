"""What the demos share: settings as overrides, and which run a script has made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builtup.config.overrides import split_overrides
from builtup.demo import steps
from builtup.runs import tracking
from builtup.runs.recorder import recording


@pytest.mark.parametrize("folder", ["output/demo", "my maps/demo", "it's"])
def test_overrides_are_read_as_they_were_meant(folder: str) -> None:
    text = steps.overrides_of(seed=3, data_path=Path(folder) / "train_tiles")
    assert split_overrides(text) == (("seed", "3"), ("data_path", f"{folder}/train_tiles"))


def test_a_training_beside_the_demo_is_not_taken_for_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking.setup(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.database_uri(tmp_path))
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    own: list[str] = []

    def script(*paths: Path, **options: Any) -> None:
        with recording("Trainings", "ours") as recorder:
            own.append(recorder.run_id)
        client = tracking.client()
        experiment = client.get_experiment_by_name("Trainings").experiment_id
        other = client.create_run(experiment, tags={"config": "another"})
        client.set_terminated(other.info.run_id)

    monkeypatch.setattr(steps, "run_script", script)
    assert steps.run_logged("training", "configs/train/demo.py", "") == own[0]
    assert str(tracking.newest_run("Trainings").info.run_id) != own[0]
