"""Looking at many scenes at once, before there is a job to hand out.

Headers and samples are small, so what a scene takes is mostly waiting for its storage: a second
where that is elsewhere, and ten thousand scenes one after the other would take hours.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from rasterio.errors import NotGeoreferencedWarning

from builtup.errors import BuiltupError

__all__ = ["AT_ONCE", "at_once"]

Item = TypeVar("Item")
Result = TypeVar("Result")

#: As many as a store answers at once without turning any away.
AT_ONCE = 16


def at_once(
    call: Callable[[Item], Result], items: Sequence[Item]
) -> Iterator[Result | BuiltupError]:
    """What `call` returns of each item, or is wrong with it, in the order of the items.

    Other errors are raised. What has not begun when the caller stops is not begun any more.
    """
    with warnings.catch_warnings(), ThreadPoolExecutor(AT_ONCE) as threads:
        # here, since the filters are those of all threads: each would undo the others'
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        futures = [threads.submit(_outcome, call, item) for item in items]
        try:
            for future in futures:
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


def _outcome(call: Callable[[Item], Result], item: Item) -> Result | BuiltupError:
    try:
        return call(item)
    except BuiltupError as e:
        return e
