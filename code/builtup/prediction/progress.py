"""How far a prediction is: one bar for all its scenes, with Mpx/s and the time left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

__all__ = ["advance", "progress"]

_FORMAT = (
    "{desc}: {percentage:3.0f} % |{bar}| {n:.1f}/{total:.1f} Mpx, {rate_fmt}, {remaining} left"
)
_shown: list[tqdm] = []


@contextmanager
def progress(pixels: int) -> Iterator[None]:
    """Show a bar of `pixels` while the context lasts; nothing where there is no terminal."""
    bar = tqdm(
        total=max(pixels, 1) / 1e6,
        desc="predict",
        unit="Mpx",
        bar_format=_FORMAT,
        disable=None,
        leave=False,
        position=1,  # below that of the scenes
    )
    _shown.append(bar)
    try:
        with bar:
            yield
    finally:
        _shown.remove(bar)


def advance(pixels: int) -> None:
    """Count pixels that were written; nothing is shown outside of `progress` (on a worker)."""
    if _shown:
        _shown[-1].update(pixels / 1e6)
