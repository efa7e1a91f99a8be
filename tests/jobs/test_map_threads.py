from __future__ import annotations

import threading
import time

import pytest

from builtup.errors import BuiltupError
from builtup.jobs.map_threads import AT_ONCE, at_once

SOON = 30.0


def test_outcomes_keep_the_order_of_the_items() -> None:
    def call(number: int) -> int:
        time.sleep(0.02 * (number == 0))  # the first is ready last
        if number == 2:
            raise BuiltupError("two")
        return 10 * number

    found = list(at_once(call, range(5)))
    assert [str(x) for x in found] == ["0", "10", "two", "30", "40"]
    assert isinstance(found[2], BuiltupError)
    assert list(at_once(call, [])) == []


def test_items_are_looked_at_together() -> None:
    all_there = threading.Barrier(AT_ONCE, timeout=SOON)
    assert len(list(at_once(lambda _: all_there.wait(), range(AT_ONCE)))) == AT_ONCE


def test_what_is_no_error_of_ours_is_raised_and_nothing_new_begun() -> None:
    begun = []

    def call(number: int) -> None:
        begun.append(number)
        time.sleep(0.01)
        raise KeyError(number)

    with pytest.raises(KeyError):
        list(at_once(call, range(1000)))
    assert len(begun) < 1000
