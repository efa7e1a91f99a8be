"""Results come in order and in turn; the thread ends with its context."""

from __future__ import annotations

import threading
from collections.abc import Generator
from itertools import count

import pytest

from builtup.geo.prefetch import iterating_ahead, running_ahead


@pytest.mark.parametrize("depth", [1, 3, 50])
def test_results_keep_their_order(depth: int) -> None:
    with running_ahead(lambda x: x * x, range(20), depth) as results:
        assert list(results) == [x * x for x in range(20)]
    with running_ahead(abs, [], depth) as results:
        assert list(results) == []


@pytest.mark.parametrize("depth", [1, 3])
def test_an_error_is_raised_in_its_turn(depth: int) -> None:
    def fail_at_two(x: int) -> int:
        if x == 2:
            raise KeyError(x)
        return x

    with running_ahead(fail_at_two, range(5), depth) as results:
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(KeyError):
            next(results)


def test_no_more_than_the_depth_is_computed_ahead() -> None:
    begun: list[int] = []
    with running_ahead(begun.append, count(), 3) as results:
        next(results)
    assert len(begun) <= 4


def test_the_thread_has_ended_when_the_context_is_left_by_an_error() -> None:
    before = threading.active_count()
    with pytest.raises(ValueError, match="mine"), running_ahead(abs, count(), 2) as results:
        next(results)
        raise ValueError("mine")
    assert threading.active_count() == before


def test_a_generator_is_run_to_its_end_or_closed() -> None:
    closed = []

    def numbers(n: int) -> Generator[int, None, None]:
        try:
            yield from range(n)
        finally:
            closed.append(n)

    with iterating_ahead(numbers(4)) as items:
        assert list(items) == [0, 1, 2, 3]
    with iterating_ahead(numbers(9)) as items:
        assert next(items) == 0
    assert closed == [4, 9]
