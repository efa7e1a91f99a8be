"""Numbers as they are printed and as JSON has them."""

from __future__ import annotations

import json
import math

import numpy as np

from builtup.scoring.bootstrap import Interval
from builtup.scoring.tables import as_json, markdown, span, three_decimals


def test_a_score_has_three_decimals_or_is_called_undefined() -> None:
    assert [three_decimals(v) for v in (0.12349, 1, math.nan, math.inf)] == [
        *("0.123", "1.000", "undefined", "undefined")
    ]


def test_intervals_are_spans_and_differences_carry_their_sign() -> None:
    assert span(Interval(0.25, 0.5, 0.95)) == "0.250–0.500"
    assert span(Interval(-0.012, 0.034, 0.95), signed=True) == "-0.012 to +0.034"
    assert span(Interval(math.nan, math.nan, 0.95), signed=True) == "undefined–undefined"


def test_the_first_row_of_a_markdown_table_is_its_head() -> None:
    text = markdown([["city", "F1"], ["Alpha", "0.5"]])
    assert text.splitlines() == ["| city | F1 |", "|---|---:|", "| Alpha | 0.5 |"]


def test_json_knows_no_nan_and_no_arrays() -> None:
    value = {"a": np.array([1.0, math.nan]), "b": (math.inf, 2), "c": {"d": np.float64(0.5)}}
    expected = {"a": [1.0, None], "b": [None, 2], "c": {"d": 0.5}}
    assert json.loads(json.dumps(as_json(value), allow_nan=False)) == expected
