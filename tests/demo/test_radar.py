"""The demo's own parts: what it hands to the scripts, and what it says at the end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builtup.config.overrides import split_overrides
from builtup.demo import radar as demo
from builtup.errors import BuiltupError
from builtup.runs import tracking
from builtup.simulate.dataset import simulate


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo")
    tracking.setup(root)
    return root


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
    monkeypatch.setattr(demo, "_shipped", lambda folder, cities: None)
    monkeypatch.setattr(demo, "run_logged", run)
    output = tmp_path / "my demo"
    with pytest.raises(KeyboardInterrupt):
        demo.demo_radar(output)
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
        demo.demo_radar(tmp_path / "demo")
    experiment = tracking.client().get_experiment_by_name("Trainings")
    assert experiment.artifact_location == str(tmp_path / "output" / "mlruns" / "1")


def test_the_model_that_comes_along_maps_whatever_towns_there_are(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.database_uri(project))
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    for seed in (1, 2):  # other towns and dates in the same folder
        towns = tmp_path / f"seed{seed}"
        simulate(
            output_path=towns,
            cities=0,
            test_cities=1,
            dates=1,
            size=128,
            seed=seed,
            num_workers=1,
        )
        demo._shipped(tmp_path / "shipped", towns / "test")
        assert demo._scores(tmp_path / "shipped")["f1"] > 0.7


@pytest.fixture
def outcome(monkeypatch: pytest.MonkeyPatch) -> demo.Outcome:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///unused.db")
    network, shipped, forest = ({"f1": f1} for f1 in (0.85, 0.4, 0.7))
    return demo.Outcome(network, shipped, forest, Path("report.html"), Path("run"), "0123")


def test_the_end_says_what_each_of_the_three_reaches(outcome: demo.Outcome) -> None:
    text = "\n".join(outcome.lines())
    assert (
        "unseen city, building F1: network trained here 0.850, model that comes along 0.400, "
        "random forest 0.700" in text
    )
    assert "builtup predict --model 0123 --input_path <scenes>" in text
    assert "builtup predict --input_path <scenes>" in text


def test_only_the_network_that_it_trains_must_be_good(outcome: demo.Outcome) -> None:
    outcome.check()
    with pytest.raises(BuiltupError, match=r"building F1 0.790 is below 0.8"):
        replace(outcome, network={"f1": 0.79}).check()
    with pytest.raises(BuiltupError, match="does not beat the random forest"):
        replace(outcome, forest={"f1": 0.85}).check()
