"""Which version of a model is the champion."""

from __future__ import annotations

import pytest

from builtup.runs.registry import Score, is_model_uri, verdict


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
