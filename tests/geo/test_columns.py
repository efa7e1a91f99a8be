from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from builtup.geo.columns import Columns, ranges


@dataclass(frozen=True)
class Points(Columns):
    x: NDArray[np.int32]
    name: NDArray[np.str_]


def test_rows_are_taken_and_appended_in_all_columns() -> None:
    points = Points(np.array([1, 2, 3], np.int32), np.array(["a", "b", "c"]))
    one, other = points.taken(np.array([2, 0])), points.taken(points.x == 2)
    both = one.concatenated(other, other)
    assert (len(points), len(one), len(other), len(both)) == (3, 2, 1, 4)
    assert both.x.tolist() == [3, 1, 2, 2]
    assert both.name.tolist() == ["c", "a", "b", "b"]
    assert both.x.dtype == np.int32


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=8))
def test_ranges_follow_each_other(spans: list[tuple[int, int]]) -> None:
    start, count = (np.array([span[i] for span in spans], np.int64) for i in (0, 1))
    expected = [i for first, n in spans for i in range(first, first + n)]
    assert ranges(start, count).tolist() == expected
