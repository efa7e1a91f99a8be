"""Overrides: split as a shell does, parsed as the type of what they replace."""

from __future__ import annotations

import pytest

from builtup.config.overrides import describe_kinds, kinds_of, parse_value, split_overrides
from builtup.errors import ConfigError


def test_pairs_are_split_as_a_shell_splits_words() -> None:
    text = "lr=0.1 run_id='12 3' note=a=b"
    assert split_overrides(text) == (("lr", "0.1"), ("run_id", "12 3"), ("note", "a=b"))
    assert split_overrides("") == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [("lr", "'lr' is no override"), ("2lr=1", "no override"), ("note='a", "close the quotation")],
)
def test_what_is_no_pair_is_one_line(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as e:
        split_overrides(text)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("text", "kinds", "value"),
    [
        ("1", (float,), 1.0),
        ("none", kinds_of(int | None), None),
        ("12345", (str,), "12345"),
        ("1,2", (tuple,), (1, 2)),
        ("off", (str,), "off"),
        ("no", (bool,), False),
    ],
)
def test_text_becomes_the_first_kind_that_it_can_be(
    text: str, kinds: tuple[type, ...], value: object
) -> None:
    assert parse_value(text, kinds) == value


def test_other_text_says_what_was_expected() -> None:
    with pytest.raises(ValueError, match="an integer or none"):
        parse_value("many", kinds_of(int | None))
    assert describe_kinds((bool,)) == "true or false"
