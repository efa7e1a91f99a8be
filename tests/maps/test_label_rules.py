"""Rules of pseudo-labels, by hand: soft, hard and negatives, of two classes and of more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from builtup.errors import BuiltupError, InputError
from builtup.maps.label_rules import LabelRule, largest_mapped
from builtup.runs.prediction_tags import PredictionTags
from builtup.sensors.classes import Classes

TWO = Classes.of(("background", "building"))
THREE = Classes.of(("ground", "building", "tree"))


def rule(mode: str, low: float = 0.2, high: float = 0.8, presence: float = 0.2) -> LabelRule:
    return LabelRule(mode, "scene", low, high, None, presence)


def levels(*rows: list[int]) -> np.ndarray:
    return np.array(rows, np.uint8)[:, None]


def test_hard_labels_of_two_classes_by_hand() -> None:
    # .2 * 254 = 50.8, .8 * 254 = 203.2
    values = levels([0, 50, 51, 203, 204, 254, 255])
    assert rule("hard").masks(values, TWO, 0.5).tolist() == [[0, 0, 255, 255, 1, 1, 255]]


def test_hard_labels_where_the_first_class_is_mapped() -> None:
    first = Classes.of(("building", "ground"))
    assert rule("hard").masks(levels([0, 100, 254]), first, 0.5).tolist() == [[1, 255, 0]]


def test_of_more_classes_the_largest_must_reach_high() -> None:
    values = levels([210, 100, 10, 255], [30, 100, 34, 255], [14, 54, 210, 255])
    assert rule("hard").masks(values, THREE, 0.5).tolist() == [[0, 255, 2, 255]]
    assert rule("soft").masks(values, THREE, 0.5).tolist() == [[0, 0, 2, 255]]


def test_soft_masks_are_cut_at_the_threshold_of_the_maps() -> None:
    assert rule("soft").masks(levels([126, 127, 255]), TWO, 0.5).tolist() == [[0, 1, 255]]


def test_a_negative_needs_both_conditions() -> None:
    one = rule("negatives")
    assert one.is_empty(largest=50, presence=0.19)  # 50 / 254 = .197
    assert not one.is_empty(largest=51, presence=0.19)  # a pixel is above .2
    assert not one.is_empty(largest=50, presence=0.2)  # a building may be there
    assert not one.is_empty(largest=51, presence=0.2)
    mask = one.masks(levels([0, 50, 255]), TWO, 0.5)
    assert mask.tolist() == [[0, 0, 255]]


def test_the_largest_probability_is_that_of_the_mapped_class_where_it_is_known() -> None:
    assert largest_mapped(levels([3, 255, 7]), TWO) == 7
    assert largest_mapped(levels([200, 255], [9, 255], [45, 255]), THREE) == 9
    assert largest_mapped(levels([255]), TWO) == -1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "tags"}, "mode=tags: unknown; use soft, hard or negatives"),
        ({"low": 0.9}, "low below high"),
        ({"presence": 0.0}, "presence=0: expected a probability above 0"),
    ],
)
def test_rules_that_make_no_sense_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(BuiltupError, match=message):
        rule(**{"mode": "soft", **options})  # type: ignore[arg-type]


def test_negatives_need_a_presence_head_and_two_classes() -> None:
    tags = PredictionTags("a_{}", "a", 4, 4, "run", 0.5, TWO.names)
    with pytest.raises(InputError, match="its network has no presence head"):
        rule("negatives").require(Path("a_prob.tif"), tags)
    rule("soft").require(Path("a_prob.tif"), tags)
    with pytest.raises(BuiltupError, match="give source=scene"):
        LabelRule("negatives", "city", 0.2, 0.8, None)
    three = PredictionTags("a_{}", "a", 4, 4, "run", 0.5, THREE.names, presence=0.1)
    with pytest.raises(InputError, match="of 3 classes: what is no building"):
        rule("negatives").require(Path("a_prob.tif"), three)
