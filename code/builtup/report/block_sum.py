"""Windows of a large raster added up by the cells of a coarser one, in flat memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from builtup.geo.windows import Window

__all__ = ["CellCounts"]


class CellCounts:
    """Counts of chosen pixels by cell: `counts` (rows, columns) int32.

    Pixel row r of a raster of `shape` falls into cell row `row_cells[r]`, columns likewise; both
    ascend from 0 without a gap. Windows may come in any order and cut through cells.
    """

    def __init__(self, row_cells: NDArray[np.integer], column_cells: NDArray[np.integer]) -> None:
        self._rows, self._columns = row_cells, column_cells
        self.counts = np.zeros((int(row_cells[-1]) + 1, int(column_cells[-1]) + 1), np.int32)

    @classmethod
    def shrunk(cls, shape: tuple[int, int], cells: tuple[int, int]) -> CellCounts:
        """As many cells as a picture of `shape`, shrunk to `cells`, has pixels."""
        return cls(*(np.arange(n) * c // n for n, c in zip(shape, cells, strict=True)))

    @classmethod
    def squares(cls, shape: tuple[int, int], side: int) -> CellCounts:
        """Square cells of `side` pixels from the upper left corner on."""
        return cls(*(np.arange(n) // side for n in shape))

    def add(self, window: Window, chosen: NDArray[np.bool_]) -> None:
        """Count the chosen pixels (H, W) of a window."""
        rows, columns = (
            cells[part]
            for cells, part in zip((self._rows, self._columns), window.slices, strict=True)
        )
        starts = [np.flatnonzero(np.diff(cells, prepend=-1)) for cells in (rows, columns)]
        sums = np.add.reduceat(chosen, starts[1], axis=1, dtype=np.int32)
        sums = np.add.reduceat(sums, starts[0], axis=0)
        self.counts[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] += sums

    @property
    def shares(self) -> NDArray[np.float32]:
        """The chosen share of each cell's pixels, 0 to 1."""
        sizes = np.outer(np.bincount(self._rows), np.bincount(self._columns))
        shares: NDArray[np.float32] = (self.counts / sizes).astype(np.float32)
        return shares
