"""From colours and numbers of labels to classes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builtup.errors import InputError
from builtup.sensors.classes import Classes
from builtup.sensors.optical.label_colours import (
    TOLERANCE,
    Counts,
    classes_table,
    from_colours,
    from_numbers,
    read_classes,
)
from builtup.sensors.optical.layouts.dronedeploy import CLASSES


def numbers(*colours, classes=CLASSES):
    counts = Counts()
    rgb = np.array(colours, np.uint8).T.reshape(3, 1, -1)
    return from_colours(rgb, classes, counts)[0].tolist(), counts


def test_the_benchmark_s_colours_are_its_classes():
    colours = [
        (230, 25, 75), (145, 30, 180), (60, 180, 75), (245, 130, 48), (255, 255, 255),
        (0, 130, 200), (255, 0, 255),
    ]  # fmt: skip
    found, counts = numbers(*colours)
    assert found == [0, 1, 2, 3, 4, 5, 255]
    assert (counts.mixed, counts.unknown) == (0, {})


def test_an_unknown_colour_is_ignored_and_named():
    found, counts = numbers((0, 0, 0), (0, 0, 0), (10, 250, 10), (230, 25, 75))
    assert found == [255, 255, 255, 0]
    assert counts.unknown == {"0,0,0": 2, "10,250,10": 1}
    assert counts.most() == "0,0,0 (2 px), 10,250,10 (1 px)"
    assert counts.most(1) == "0,0,0 (2 px) and 1 more"


def test_a_mixed_colour_is_of_the_nearest_class_within_the_tolerance():
    # 24, 32 away from a building in two bands: 40 in all; one more is too far
    found, counts = numbers((230 - 24, 25 + 32, 75), (230 - 25, 25 + 32, 75))
    assert TOLERANCE == 40
    assert found == [0, 255]
    assert (counts.mixed, counts.unknown) == (1, {"205,57,75": 1})
    found, counts = numbers((250, 10, 250))  # near to what is ignored
    assert (found, counts.mixed) == ([255], 1)


def test_of_two_near_classes_the_nearer_wins_and_of_equally_near_ones_the_first():
    classes = Classes(("a", "b"), ((100, 0, 0), (120, 0, 0)), "b")
    found, counts = numbers((109, 0, 0), (110, 0, 0), (111, 0, 0), (120, 0, 0), classes=classes)
    assert found == [0, 0, 1, 1]
    assert counts.mixed == 3


COLOURS = st.tuples(*[st.integers(0, 255)] * 3)


@given(colours=st.lists(COLOURS, min_size=2, max_size=9, unique=True), data=st.data())
def test_colours_lead_to_classes_and_back(colours, data):
    names = tuple(f"class {i}" for i in range(len(colours)))
    classes = Classes(names, tuple(colours), names[0])
    drawn = data.draw(st.lists(st.sampled_from(range(len(colours))), min_size=1, max_size=30))
    found, counts = numbers(*[colours[i] for i in drawn], classes=classes)
    assert found == drawn
    assert not counts.mixed
    assert not counts.unknown


@given(colours=st.lists(COLOURS, min_size=1, max_size=40))
def test_any_colour_is_that_of_the_nearest_or_ignored(colours):
    table = np.array([*CLASSES.colours, *CLASSES.ignored])
    found, counts = numbers(*colours)
    away = np.sqrt(((np.array(colours)[:, None] - table[None]) ** 2).sum(axis=2))
    nearest = away.argmin(axis=1)
    expected = np.where((away.min(axis=1) <= TOLERANCE) & (nearest < 6), nearest, 255)
    assert found == expected.tolist()
    assert counts.mixed == ((away.min(axis=1) > 0) & (away.min(axis=1) <= TOLERANCE)).sum()
    assert sum(counts.unknown.values()) == (away.min(axis=1) > TOLERANCE).sum()


def test_numbers_count_from_the_first():
    counts = Counts()
    values = np.array([[0, 1, 2, 3, 255]], np.uint8)
    classes = Classes.of(("road", "building"))
    assert from_numbers(values, classes, 1, counts).tolist() == [[255, 0, 1, 255, 255]]
    assert counts.unknown == {"number 3": 1}
    assert from_numbers(values, classes, 0, Counts()).tolist() == [[0, 1, 255, 255, 255]]


def written(tmp_path, text):
    path = tmp_path / "classes.csv"
    path.write_text(text)
    return path


def test_a_user_s_classes_and_the_table_that_is_written_of_them(tmp_path):
    text = "Name,colour,role\nroof,#e6194b,mapped\nroad,10 20 30,\nrest,0 0 0,unscored\n"
    classes = read_classes(written(tmp_path, text + "border,255 0 255,ignored\n"))
    assert classes == Classes(
        names=("roof", "road", "rest"),
        colours=((230, 25, 75), (10, 20, 30), (0, 0, 0)),
        mapped="roof",
        unscored=("rest",),
        ignored=((255, 0, 255),),
    )
    assert classes_table(classes).splitlines() == [
        "number,name,colour,role",
        "0,roof,230 25 75,mapped",
        "1,road,10 20 30,",
        "2,rest,0 0 0,unscored",
        "255,ignored,255 0 255,",
    ]


def test_names_alone_do(tmp_path):
    classes = read_classes(written(tmp_path, "name\nground\nbuilding\n"))
    assert classes == Classes.of(("ground", "building"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column `name`"),
        ("colour\n1 2 3\n", "no column `name`"),
        ("name,colour\na,1 2\nb,3 4 5\n", "colour '1 2' is not red, green and blue"),
        ("name,colour\na,1 2 3\nb,3 4 256\n", "colour '3 4 256' is not"),
        ("name,colour\na,1 2 3\nb,1 2 3\n", "two rows have one colour"),
        ("name,colour\na,1 2 3\nb,\n", "some classes have no colour"),
        ("name,role\na,mapped\nb,mapped\n", "2 classes are mapped"),
        ("name,role\na,best\nb,\n", "role 'best' is unknown"),
        ("name\na\n", "1 classes; name two or more"[:9]),
        ("name\na\na\n", "each needs a name of its own"),
    ],
)
def test_another_file_is_refused_in_one_line(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(InputError) as refused:
        read_classes(path)
    assert str(path) in str(refused.value)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_no_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_classes(tmp_path / "none.csv")


def test_the_table_that_is_written_is_read_as_the_same_classes(tmp_path):
    path = tmp_path / "classes.csv"
    path.write_text(classes_table(CLASSES))
    assert read_classes(path) == CLASSES


def test_classes_out_of_their_order_are_refused(tmp_path):
    path = tmp_path / "classes.csv"
    path.write_text("number,name\n1,house\n0,road\n")
    with pytest.raises(InputError, match="class house has the number 1 in row 0"):
        read_classes(path)
