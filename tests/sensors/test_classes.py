"""Classes: which one is mapped, how pixels are decided, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from builtup.errors import ConfigError
from builtup.sensors.classes import BUILT_UP, Classes

SIX = ("building", "clutter", "vegetation", "water", "ground", "car")


def levels(*bands: list[int]) -> np.ndarray:
    return np.array(bands, np.uint8)[:, None, :]


def test_two_classes_are_decided_by_the_threshold_from_one_band_or_two() -> None:
    one = levels([126, 127, 128, 255])
    both = levels([128, 127, 126, 255], [126, 127, 128, 255])
    for probability in (one, both):
        assert BUILT_UP.decide(probability, 0.5).tolist() == [[0, 1, 1, 255]]
    assert BUILT_UP.decision(0.43) == "threshold:0.43"


def test_the_mapped_class_of_two_may_come_first() -> None:
    classes = Classes.of(("building", "other"))
    assert classes.decide(levels([200, 10]), 0.5).tolist() == [[0, 1]]


def test_more_classes_are_decided_by_the_largest_and_of_equals_by_the_first() -> None:
    classes = Classes.of(("background", "building", "road"))
    probability = levels([100, 10, 80, 0], [100, 200, 80, 255], [54, 44, 94, 0])
    assert classes.decide(probability, 0.9).tolist() == [[0, 1, 2, 255]]
    assert classes.decision(0.9) == "argmax"


@pytest.mark.parametrize(
    ("names", "mapped"),
    [(("background", "building"), "building"), (SIX, "building"), (("sea", "land", "ice"), "land")],
)
def test_the_mapped_class_is_building_where_there_is_one(
    names: tuple[str, ...], mapped: str
) -> None:
    classes = Classes.of(names)
    assert classes.mapped == mapped
    assert classes.mapped_index == names.index(mapped)
    assert len(set(classes.colours)) == len(names)


def test_names_that_do_not_fit_the_network_are_refused_with_the_file() -> None:
    with pytest.raises(ConfigError, match=r"a\.py: class_names has 2 names .*num_classes = 3"):
        Classes.of_config(("background", "building"), 3, Path("a.py"))


@pytest.mark.parametrize(
    ("names", "problem"),
    [(("one",), "1 classes"), (("a", "a"), "name of its own"), (("a,b", "c"), "commas")],
)
def test_names_that_cannot_be_told_apart_are_refused(names: tuple[str, ...], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        Classes.of(names)


def test_unknown_mapped_and_unscored_classes_are_refused() -> None:
    with pytest.raises(ConfigError, match="house: no such class; choose from a, b"):
        Classes.of(("a", "b"), mapped="house")
    with pytest.raises(ConfigError, match="clutter: no such class"):
        Classes(("a", "b"), ((0, 0, 0), (1, 1, 1)), "a", unscored=("clutter",))


def test_what_is_unscored_is_left_out_of_means() -> None:
    colours = Classes.of(SIX).colours
    assert Classes(SIX, colours, "building", unscored=("clutter",)).scored == (0, 2, 3, 4, 5)


def test_classes_are_chosen_by_name_in_the_order_of_their_numbers() -> None:
    classes = Classes.of(SIX)
    assert classes.chosen("") == ("building",)
    assert classes.chosen("all") == SIX
    assert classes.chosen(f"{SIX[3]}; {SIX[0]}") == (SIX[0], SIX[3])
    with pytest.raises(ConfigError, match="classes=boat: no class boat; choose all, or from"):
        classes.chosen("boat")


def test_water_is_blue_and_vegetation_green_and_no_two_are_alike() -> None:
    classes = Classes.of((*SIX, "water", "field") if "water" not in SIX else (*SIX, "field"))
    of = dict(zip(classes.names, classes.colours, strict=True))
    assert of["water"] == (78, 121, 167) and of["building"] == (215, 48, 31)
    assert len(set(classes.colours)) == len(classes.names)


@pytest.mark.parametrize(
    ("classes", "roles"),
    [
        (BUILT_UP, set()),
        (Classes.of(("ground", "building", "tree")), set()),
        (Classes.of(("ground", "building", "tree"), "tree"), {"mapped"}),
        (
            Classes(("a", "b"), ((1, 2, 3), (4, 5, 6)), "a", ("b",)),
            {"mapped", "colours", "unscored"},
        ),
    ],
)
def test_what_names_do_not_say_comes_through_json_and_tags(
    classes: Classes, roles: set[str]
) -> None:
    assert set(classes.roles()) == roles
    said = json.loads(json.dumps(classes.roles()))
    assert Classes.with_roles(classes.names, said) == classes
    assert Classes.of_tags(classes.tags()) == classes
    assert len(classes.tags()) == 1 + len(roles)


def test_tags_without_classes_or_sense_are_told_apart() -> None:
    assert Classes.of_tags({"BUILTUP_SENSOR": "rgb"}) is None
    with pytest.raises(ValueError, match="256"):
        Classes.of_tags({"BUILTUP_CLASSES": "a,b", "BUILTUP_COLOURS": "0 0 0,0 0 256"})
    with pytest.raises(ConfigError, match="no such class"):
        Classes.of_tags({"BUILTUP_CLASSES": "a,b", "BUILTUP_UNSCORED": "c"})
