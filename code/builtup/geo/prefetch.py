"""Reading the next blocks while the last one is worked on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import islice, repeat, takewhile
from typing import TypeVar

__all__ = ["iterating_ahead", "running_ahead"]

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def running_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], depth: int = 1, threads: int = 1
) -> Iterator[Iterator[Result]]:
    """`map(function, items)`, with the next `depth` results computed in a thread, or in several.

    It begins when the context is entered. What `function` raises is raised in its turn. The threads
    have ended when the context is left, also by an error: what they read may be closed then.
    """
    rest = iter(items)
    with ThreadPoolExecutor(threads) as thread:
        coming = deque(thread.submit(function, item) for item in islice(rest, depth))
        try:
            yield _in_turn(thread, function, rest, coming)
        finally:
            for future in coming:
                future.cancel()


@contextmanager
def iterating_ahead(source: Generator[Item, None, None]) -> Iterator[Iterator[Item]]:
    """The items of a generator, with the next one computed in a thread; closed with the context."""
    end = object()
    with closing(source), running_ahead(lambda _: next(source, end), repeat(None)) as results:
        yield takewhile(lambda item: item is not end, results)  # type: ignore[arg-type]


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
