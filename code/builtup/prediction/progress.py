"""How far a prediction is: one bar for all that is predicted, with Mpx/s and the time left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from builtup.logs import no_bars

__all__ = ["Advance", "progress"]

#: Counts pixels that are done.
Advance = Callable[[int], object]

_FORMAT = (
    "{desc}: {percentage:3.0f} % |{bar}| {n:.1f}/{total:.1f} Mpx, {rate_fmt}, {remaining} left"
)


@contextmanager
def progress(
    name: str, pixels: int, *, position: int = 0, quiet: bool = False
) -> Iterator[Advance]:
    """Show a bar of `pixels` while the context lasts, and give what counts them.

    Nothing is shown where there is no terminal, or where it is `quiet`. `position` is the bar's
    line below the first one.
    """
    with tqdm(
        total=max(pixels, 1) / 1e6,
        desc=name,
        unit="Mpx",
        bar_format=_FORMAT,
        disable=True if quiet else no_bars(),
        leave=False,
        position=position,
    ) as bar:
        yield lambda count: bar.update(count / 1e6)
