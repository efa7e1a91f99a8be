"""Rules of pseudo-labels, by hand: soft, hard and negatives, of two classes and of more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builtup.errors import BuiltupError, ConfigError, InputError
from builtup.maps.label_rules import LabelRule, by_tags, largest_mapped, least_by_class
from builtup.runs.prediction_tags import PredictionTags
from builtup.sensors.classes import Classes

TWO = Classes.of(("background", "building"))
THREE = Classes.of(("ground", "building", "tree"))


def rule(
    mode: str, low: float = 0.2, high: float = 0.8, presence: float = 0.2, **more: Any
) -> LabelRule:
    return LabelRule(mode, "scene", low, high, None, presence, **more)


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
        ({"mode": "some"}, "mode=some: unknown; use soft, hard, tags or negatives"),
        ({"keep": 1.5}, "keep=1.5: expected a probability"),
        ({"per_class": {"car": 0.5}}, "per_class: is of mode=tags"),
        ({"mode": "hard", "low": 0.9}, "low below high"),
        ({"high": 1.5}, "high=1.5: expected probabilities"),
        ({"presence": 0.0}, "presence=0: expected a probability above 0"),
    ],
)
def test_rules_that_make_no_sense_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(BuiltupError, match=message):
        rule(**{"mode": "soft", **options})  # type: ignore[arg-type]


def test_negatives_have_no_high_that_low_must_be_below() -> None:
    assert rule("negatives", low=0.9, presence=0.9).is_empty(228, 0.5)


def allowed(*columns: str) -> np.ndarray:
    """(K, 1, W): of each pixel a digit a class, 1 where it may be."""
    return np.array([[int(c) for c in column] for column in columns], bool).T[:, None]


def test_tags_take_absent_classes_out_of_the_probabilities() -> None:
    # ground .5, building .3, tree .2 of each pixel but the last two, that have none or no map
    values = levels([127] * 5 + [254, 255], [76] * 5 + [0, 255], [51] * 5 + [0, 255])
    may = allowed("111", "011", "101", "001", "000", "011", "111")
    label, share = by_tags(values, THREE, may)
    assert label.tolist() == [[0, 1, 0, 2, 255, 255, 255]]
    expected = [127 / 254, 76 / 127, 127 / 178, 1.0]
    assert share[0, :4] == pytest.approx(expected)


def test_the_only_class_that_tags_leave_is_certain() -> None:
    label, share = by_tags(levels([254], [0], [0]), THREE, allowed("010"))
    assert (label[0, 0], share[0, 0]) == (1, 1.0)


def test_tags_of_two_classes_in_one_band() -> None:
    # .8 building: where it is absent ground, for certain; where ground is absent building
    values = levels([203, 203, 203, 50])
    label, share = by_tags(values, TWO, allowed("11", "10", "01", "11"))
    assert label.tolist() == [[1, 0, 1, 0]]
    assert share[0] == pytest.approx([203 / 254, 1, 1, 204 / 254])
    first = Classes.of(("building", "ground"))
    assert by_tags(values, first, allowed("11", "01", "10", "11"))[0].tolist() == [[0, 1, 0, 1]]


def test_it_is_what_the_teacher_of_a_training_says() -> None:
    import torch

    from builtup.training.consistency import masked_by_tags

    generator = np.random.default_rng(0)
    values = generator.integers(1, 255, (3, 4, 5), dtype=np.uint8)
    tags = torch.tensor([[[1.0, 0.0, float("nan")]]])
    everywhere = torch.ones(1, 1, 4, 5, dtype=torch.bool)
    p = torch.from_numpy(values / values.sum(0))[None]
    masked = masked_by_tags(p, tags, everywhere)[0].numpy()
    label, share = by_tags(values, THREE, np.broadcast_to([[[1]], [[0]], [[1]]], (3, 4, 5)) == 1)
    assert np.array_equal(label, masked.argmax(0))
    np.testing.assert_allclose(share, masked.max(0), rtol=1e-6)


def test_a_class_may_have_a_probability_of_its_own() -> None:
    own = rule("tags", keep=0.9, per_class=least_by_class("tree=0.7; building = 0.5"))
    assert own.least(THREE).tolist() == [0.9, 0.5, 0.7]
    assert rule("tags").least(THREE).tolist() == [0.9] * 3
    with pytest.raises(ConfigError, match="per_class: no class car; choose from ground, building"):
        rule("tags", per_class={"car": 0.5}).least(THREE)
    for text in ("car", "car=2", "=0.5", "car:0.5"):
        with pytest.raises(ConfigError, match="expected classes and probabilities, such as car"):
            least_by_class(text)


def test_what_other_modes_depend_on_has_no_word_of_tags() -> None:
    assert "keep" not in rule("hard").settings
    assert rule("tags", per_class={"tree": 0.5}).settings["per_class"] == {"tree": 0.5}


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
