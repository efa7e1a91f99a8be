"""Scores of several classes from counts: scene by scene, together, and how sure they are."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builtup.scoring.class_scores import ClassScores, SceneCounts
from builtup.scoring.counts import scores
from builtup.sensors.classes import Classes

CLASSES = Classes.of(("building", "ground", "clutter"))
UNSCORED = Classes(CLASSES.names, CLASSES.colours, "building", unscored=("clutter",))


def counts(*blocks: list[list[int]]) -> np.ndarray:
    return np.array(blocks, np.int64).reshape(-1, 3, 3)


A = counts([[8, 2, 0], [1, 9, 0], [0, 0, 0]], [[4, 0, 0], [0, 16, 0], [0, 0, 0]])
B = counts([[0, 0, 0], [5, 15, 0], [0, 3, 1]])


def test_scores_over_scenes_weigh_scenes_alike_and_those_together_pixels() -> None:
    found = ClassScores((SceneCounts("a", A), SceneCounts("b", B)), CLASSES)
    # a: building tp 12, fp 1, fn 2 of 14; ground tp 25, fp 2, fn 1 of 26
    f1 = (24 / 27 * 14 + 50 / 53 * 26) / 40
    assert found.by_scene()["a"]["f1"] == pytest.approx(f1)
    # b: no building; ground tp 15, fp 3, fn 5 of 20; clutter tp 1, fn 3 of 4
    other = (30 / 38 * 20 + 2 / 5 * 4) / 24
    over = found.over_scenes()
    assert over["f1_mean"] == pytest.approx((f1 + other) / 2)
    assert over["f1_std"] == pytest.approx(abs(f1 - other) / 2)
    assert over["recall_mean"] == pytest.approx((37 / 40 + 16 / 24) / 2)
    together = found.together()
    assert together["mapped_iou"] == pytest.approx(12 / 20)
    assert together["accuracy"] == pytest.approx(53 / 64)
    assert together["miou"] == pytest.approx((12 / 20 + 40 / 51 + 1 / 4) / 3)


def test_a_class_that_is_not_scored_is_shown_and_in_no_mean() -> None:
    found = ClassScores((SceneCounts("a", A), SceneCounts("b", B)), UNSCORED)
    assert found.together()["miou"] == pytest.approx((12 / 20 + 40 / 51) / 2)
    assert found.by_class()["clutter"]["iou"] == pytest.approx(1 / 4)
    assert "clutter (not in means)" in "\n".join(found.lines("64 pixels"))


def test_a_class_that_the_truth_lacks_is_named() -> None:
    text = "\n".join(ClassScores((SceneCounts("a", A),), CLASSES).lines("64 pixels"))
    assert "not in the truth, and so in no mean: clutter" in text
    assert "n = 2 blocks of 64 pixels" in text


def test_one_block_has_no_spread_and_no_block_no_scores() -> None:
    one = ClassScores((SceneCounts("b", B),), CLASSES)
    span = one.intervals()["miou"]
    assert span.low == span.high == pytest.approx(one.together()["miou"])
    empty = ClassScores((SceneCounts("c", counts()),), CLASSES)
    values = json.loads(json.dumps(empty.to_json(), allow_nan=False))
    assert values["scenes"]["c"] == {"precision": None, "recall": None, "f1": None, "pixels": 0}
    assert values["intervals"]["miou"] == [None, None]
    assert "to score: c" in "\n".join(empty.lines("64 pixels"))


@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_intervals_hold_what_all_blocks_say(blocks: int, seed: int) -> None:
    drawn = np.random.default_rng(seed).integers(1, 60, (blocks, 3, 3))
    found = ClassScores((SceneCounts("a", drawn[:2]), SceneCounts("b", drawn[2:])), CLASSES)
    together = found.together()
    assert together["miou"] == pytest.approx(scores(drawn.sum(axis=0), CLASSES)["macro_iou"])
    for name, interval in found.intervals().items():
        assert interval.low - 1e-9 <= together[name] <= interval.high + 1e-9
        assert interval.undefined == 0
