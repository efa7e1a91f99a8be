"""Which run is meant, and what runs and their metrics are called."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from builtup.errors import NoSuchRunError
from builtup.runs import tracking
from builtup.runs.tracking import listed_places, metric_name


def add(experiment: str, finished: bool = True, **tags: str) -> str:
    own = tracking.client()
    found = own.get_experiment_by_name(experiment)
    assert found is not None
    run_id = str(own.create_run(found.experiment_id, tags=tags).info.run_id)
    if finished:
        own.set_terminated(run_id)
    return run_id


def newest(kind: str, **tags: str) -> str:
    return str(tracking.newest_run(kind, **tags).info.run_id)


def test_the_newest_run_is_one_that_a_user_began_in_whatever_experiment(project: Path) -> None:
    name = "O'Neill"  # a filter of MLflow could not hold it and a double quote
    training = add("Default", config=name)
    add("Trainings", config=name, fold_key="abc")  # a fold
    add("Trainings", finished=False, config=name)
    add("Trainings", compared="a; b")
    parent = add("Default", cross_validation_of=name)
    assert newest("Trainings") == newest("Trainings", config=name) == training
    assert newest("Trainings", cross_validation_of=name) == parent
    inference = add("Default", config="test", training_run=training)
    add("Inferences", training_run=training, inference_run=inference)  # a step's
    add("Inferences")  # a data step's
    assert newest("Inferences") == inference
    assert newest("Trainings") == training
    with pytest.raises(NoSuchRunError, match="no finished run of config nobody"):
        newest("Trainings", config="nobody")


def test_a_run_that_was_gone_on_with_is_the_newest(project: Path) -> None:
    first, second = (add("Inferences", training_run="x") for _ in range(2))
    assert newest("Inferences") == second
    tracking.client().update_run(first, status="RUNNING")
    tracking.client().set_terminated(first)
    assert newest("Inferences") == first


def test_a_step_s_run_is_tagged_and_named_by_what_it_works_on(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tracking.client()
    inference = str(own.create_run("0", run_name="test Aleppo 2015").info.run_id)
    own.set_tag(inference, "training_run", "x")
    opened = add("Default", finished=False, **{"mlflow.project.entryPoint": "to_submission"})
    monkeypatch.setenv("MLFLOW_RUN_ID", opened)
    tracking.name_opened_run("to_submission")
    assert tracking.find_run(opened).info.run_name == "to_submission"
    tracking.link(inference_run=inference, training_run="x")
    run = tracking.find_run(opened)
    assert run.info.run_name == "to_submission of test Aleppo 2015"
    assert run.data.tags["inference_run"] == inference


def test_a_data_step_is_named_by_what_it_reads(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = add("Default", finished=False)
    tracking.client().log_param(opened, "input_path", "'input/my test'")  # as mlflow run quotes it
    monkeypatch.setenv("MLFLOW_RUN_ID", opened)
    tracking.name_opened_run("generate_3b_images")
    assert tracking.find_run(opened).info.run_name == "generate_3b_images input/my test"
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    tracking.name_opened_run("inspect")  # the command itself says that there is no such run


@pytest.mark.parametrize(
    ("scenes", "listed"),
    [
        ([("38SLF_Mosul", "20150108"), ("38SLF_Mosul", "20150201")], "Mosul 2015"),
        ([("38SLF_Mosul", "20150108"), ("38SLF_Mosul", "20170201")], "Mosul"),
        ([("37SBA_Vega_Baja", ""), ("beirut", "2020")], "Vega_Baja, beirut 2020"),
        ([("37SBA_Aleppo_2015", "20150101")], "Aleppo_2015"),
        ([(f"38SLF_{n}", "") for n in "ABCDE"], "A, B, C and 2 more"),
    ],
)
def test_places_stand_in_a_name_with_the_year_where_it_is_one(
    scenes: list[tuple[str, str]], listed: str
) -> None:
    assert listed_places(scenes) == listed


@pytest.mark.parametrize(("asked", "found"), [(None, "true"), ("false", "false")])
def test_mlflow_reports_nothing_over_the_network_unless_asked_to(
    asked: str | None, found: str
) -> None:
    name = "MLFLOW_DISABLE_TELEMETRY"
    environment = {key: value for key, value in os.environ.items() if key != name}
    if asked is not None:
        environment[name] = asked
    code = f"import builtup, os; print(os.environ['{name}'])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == found


def test_metrics_of_any_city_have_a_name_that_mlflow_takes_and_that_is_its_own() -> None:
    from mlflow.utils.validation import _validate_metric_name

    cities = ["Sana'a", "Sana’a (old)", "A[1]", "A(1)", "A,1", "B & H.", "..", "x" * 250, "Łódź"]
    names = [metric_name(f"val/{city}/f1") for city in cities]
    for name in names:
        _validate_metric_name(name)
        assert len(name) <= 250
    assert len(set(names)) == len(cities)
    assert names[0] == "val/Sanaʼa/f1"
    assert metric_name("val/37SLF_Łódź/r0c1/f1") == "val/37SLF_Łódź/r0c1/f1"
