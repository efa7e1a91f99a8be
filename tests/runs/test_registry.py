"""Which version of a model is the champion."""

from __future__ import annotations

from pathlib import Path

import pytest

from builtup.runs import tracking
from builtup.runs.registry import Score, champion_by_default, is_model_uri, verdict
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
