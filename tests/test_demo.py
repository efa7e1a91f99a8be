"""The demo's own parts: what it hands to the scripts, and which run it goes on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builtup import demo
from builtup.config.overrides import split_overrides
from builtup.runs import tracking
from builtup.runs.recorder import recording


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo")
    tracking.setup(root)
    return root


@pytest.mark.parametrize("folder", ["output/demo", "my maps/demo", "it's"])
def test_overrides_are_read_as_they_were_meant(folder: str) -> None:
    text = demo._overrides(seed=3, data_path=Path(folder) / "train_tiles")
    assert split_overrides(text) == (("seed", "3"), ("data_path", f"{folder}/train_tiles"))


def test_every_script_of_the_demo_finds_its_data_in_a_folder_with_a_space(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = {}

    def run(script: str, config: str, overrides: str) -> str:
        said[script] = dict(split_overrides(overrides))["data_path"]
        if script == "inference":
            raise KeyboardInterrupt  # what follows needs its maps
        return "0"

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///unused.db")
    for name in ("simulate", "prepare"):
        monkeypatch.setattr(demo, name, lambda **options: None)
    monkeypatch.setattr(demo, "_run", run)
    output = tmp_path / "my demo"
    with pytest.raises(KeyboardInterrupt):
        demo.demo(output)
    tiles = {"training": "train_tiles", "inference": "test_tiles/images"}
    assert said == {script: str(output / path) for script, path in tiles.items()}


def test_in_an_empty_folder_its_runs_lie_below_output(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")

    def stop(**options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "simulate", stop)
    with pytest.raises(KeyboardInterrupt):
        demo.demo(tmp_path / "demo")
    experiment = tracking.client().get_experiment_by_name("Trainings")
    assert experiment.artifact_location == str(tmp_path / "output" / "mlruns" / "1")


def test_a_training_beside_the_demo_is_not_taken_for_its_own(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.database_uri(project))
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    own: list[str] = []

    def script(*paths: Path, **options: Any) -> None:
        with recording("Trainings", "ours") as recorder:
            own.append(recorder.run_id)
        client = tracking.client()
        experiment = client.get_experiment_by_name("Trainings").experiment_id
        other = client.create_run(experiment, tags={"config": "another"})
        client.set_terminated(other.info.run_id)

    monkeypatch.setattr(demo, "run_script", script)
    assert demo._run("training", "configs/train/demo.py", "") == own[0]
    assert str(tracking.newest_run("Trainings").info.run_id) != own[0]
