"""Tables as commands print them."""

from __future__ import annotations

import pytest

from builtup.text_table import counted, text_table

ROWS = [("city", "F1"), ("Paris", "0.9"), ("Ay", "undefined")]


def test_names_are_flush_left_and_numbers_flush_right():
    assert text_table(ROWS) == "city          F1\nParis        0.9\nAy     undefined"


def test_columns_of_words_are_flush_left_with_a_line_below_the_head_and_no_blank_at_the_end():
    assert text_table(ROWS, left=2, ruled=True) == (
        "city   F1\n-----  ---------\nParis  0.9\nAy     undefined"
    )


def test_rows_of_different_lengths_are_no_table():
    with pytest.raises(ValueError):
        text_table([("a", "b"), ("c",)])


@pytest.mark.parametrize(
    ("count", "plural", "expected"),
    [
        (1, "cities", "1 city"),
        (0, "cities", "0 cities"),
        (1, "scenes", "1 scene"),
        (1234, "polygons", "1,234 polygons"),
        (1, "simplified", "1 simplified"),
    ],
)
def test_numbers_and_what_they_are_of(count, plural, expected):
    assert counted(count, plural) == expected
