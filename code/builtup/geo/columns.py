"""Tables: dataclasses of arrays of one length."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["Columns", "ranges"]


class Columns:
    """Base of frozen dataclasses all of whose fields are arrays of one length."""

    def __len__(self) -> int:
        return len(self._columns[0])

    def taken(self, index: NDArray[Any]) -> Self:
        """The rows at `index` (numbers, or a mask of bools), in its order."""
        return type(self)(*(column[index] for column in self._columns))

    def concatenated(self, *others: Self) -> Self:
        """These rows, then the others."""
        columns = zip(self._columns, *(other._columns for other in others), strict=True)
        return type(self)(*(np.concatenate(parts) for parts in columns))

    @property
    def _columns(self) -> list[NDArray[Any]]:
        return [getattr(self, field.name) for field in fields(self)]  # type: ignore[arg-type]


def ranges(start: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.int64]:
    """`start[0]`, `start[0] + 1`, … (`count[0]` of them), then those from `start[1]` on, …"""
    before = np.cumsum(count) - count
    return np.repeat(start - before, count) + np.arange(count.sum())
