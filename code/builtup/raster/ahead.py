"""Reading the next blocks while the last one is worked on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

__all__ = ["map_ahead", "running_ahead"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`map(function, items)`, with the next result computed in a thread: two are held at once.

    What `function` raises is raised here, in its turn.
    """
    with running_ahead(function, items) as results:
        yield from results


@contextmanager
def running_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], depth: int = 1
) -> Iterator[Iterator[Result]]:
    """`map_ahead` that begins when the context is entered and holds `depth` + 1 results at once.

    The thread has ended when the context is left, also by an error.
    """
    rest = iter(items)
    with ThreadPoolExecutor(1) as thread:
        coming = deque(thread.submit(function, item) for item in islice(rest, depth))
        try:
            yield _in_turn(thread, function, rest, coming)
        finally:
            for future in coming:
                future.cancel()


def _in_turn(
    thread: ThreadPoolExecutor,
    function: Callable[[Item], Result],
    rest: Iterator[Item],
    coming: deque[Future[Result]],
) -> Iterator[Result]:
    for item in rest:
        coming.append(thread.submit(function, item))
        yield coming.popleft().result()
    while coming:
        yield coming.popleft().result()
