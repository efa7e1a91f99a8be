"""Which version of a model is the champion, and what its name may be."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from builtup.errors import ConfigError, RunError
from builtup.runs import registry, tracking
from builtup.runs.registry import Score, champion_by_default, is_model_uri, model_name, verdict
from tiny_model import use_store


@pytest.mark.parametrize(
    ("own", "champion", "expected"),
    [
        (Score(0.5, "A", "x"), None, True),
        (Score(0.6, "A", "x"), Score(0.5, "A", "x"), True),
        (Score(0.5, "A", "x"), Score(0.5, "A", "x"), False),
        (Score(0.9, "B", "x"), Score(0.5, "A", "x"), False),
        (Score(0.9, "A", "y"), Score(0.5, "A", "x"), False),
        (Score(float("nan"), "A", "x"), None, False),
    ],
)
def test_the_champion_is_replaced_only_by_a_better_one_of_the_same_ground(
    own: Score, champion: Score | None, expected: bool
) -> None:
    chosen, reason = verdict(own, champion)
    assert chosen is expected and reason


def test_a_score_survives_the_tags_of_a_version() -> None:
    score = Score(0.5, "38SLF_Alpha", "x")
    assert Score.of(score.tags()) == score


def test_only_the_registry_s_addresses_are_taken_for_models() -> None:
    assert is_model_uri("models:/tiny@champion")
    assert not is_model_uri("output/models/tiny")


def test_a_champion_that_was_never_compared_is_doubted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_store(tmp_path, monkeypatch)
    own = tracking.client()
    for name, tags in (("alone", {"champion_by_default": "true"}), ("best", {})):
        own.create_registered_model(name)
        version = own.create_model_version(name, str(tmp_path), tags=tags).version
        own.set_registered_model_alias(name, "champion", version)
    assert champion_by_default("models:/alone@champion") == [
        "its model became champion of alone because there was no other to compare with"
    ]
    for other in ("models:/best@champion", "models:/alone/1", "models:/none@champion", "alone"):
        assert champion_by_default(other) == []


@pytest.mark.parametrize("name", ["team/model", "a:b", "..", ".", "x" * 251])
def test_a_name_that_mlflow_does_not_take_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^register = .*: MLflow takes no such name"):
        model_name("x", name)


def test_a_config_s_own_name_is_made_one_that_mlflow_takes() -> None:
    assert model_name("no_val/recommended", None) == "no_val-recommended"
    assert model_name("x", "my model (v2)") == "my model (v2)"


def test_a_champion_whose_run_is_gone_is_named_and_gives_way(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = tracking.client()
    run = own.create_run("1")
    folder = tracking.artifact_folder(run)
    assert folder is not None
    folder.mkdir(parents=True)
    own.create_registered_model("lost")
    tags = Score(0.9, "A", "x").tags()
    version = own.create_model_version("lost", str(folder), run.info.run_id, tags=tags)
    own.set_registered_model_alias("lost", "champion", version.version)
    for uri in ("models:/lost@champion", "models:/lost/1"):
        assert registry.run_of_model(uri) == run.info.run_id
    assert registry._lost(version) == ""

    own.delete_run(run.info.run_id)  # its files are there still
    assert registry.run_of_model("models:/lost@champion") == run.info.run_id
    assert "the run of version 1 was deleted in the dashboard" in caplog.text

    own.restore_run(run.info.run_id)
    shutil.rmtree(folder)
    with pytest.raises(RunError, match=r"^models:/lost@champion: the files of version 1 are gone"):
        registry.run_of_model("models:/lost@champion")
    with pytest.raises(RunError, match=r"^models:/lost@nobody: no such model"):
        registry.run_of_model("models:/lost@nobody")
