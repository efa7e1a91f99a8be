"""Black that is connected to the border of a picture, found window by window.

Only what touches the edges of windows is kept in mind: a few numbers for each window, and one
for each piece of black that leaves it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from builtup.geo.windows import Window

__all__ = ["BorderBlack"]

Mask = NDArray[np.bool_]
Ids = NDArray[np.int64]


class BorderBlack:
    """Which black pixels of a raster are connected to its border, by their sides.

    Two passes over the same windows, side by side and row by row: `add` each, then `outside` of
    those that hold any black.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._parents = [0]  # 0: the border itself, and whatever is connected to it
        self._first: dict[Window, int] = {}
        self._above: Ids = np.full(width, -1, np.int64)
        self._left: tuple[int, Ids] = (-1, np.empty(0, np.int64))

    @property
    def windows(self) -> tuple[Window, ...]:
        """Those with black pixels, in their order."""
        return tuple(self._first)

    def add(self, window: Window, black: Mask) -> None:
        """Take a window into account."""
        columns = slice(window.x, window.x + window.width)
        if not black.any():
            self._above[columns] = -1
            self._left = (window.y, np.full(window.height, -1, np.int64))
            return
        self._first[window] = len(self._parents)
        ids, count = self._ids(window, black)
        self._parents.extend(range(len(self._parents), len(self._parents) + count))
        if window.y:
            self._join(ids[0], self._above[columns])
        if window.x and self._left[0] == window.y:
            self._join(ids[:, 0], self._left[1])
        for edge in self._on_border(window, ids):
            self._join(edge, np.zeros_like(edge))
        self._above[columns] = ids[-1]
        self._left = (window.y, ids[:, -1].copy())

    def outside(self, window: Window, black: Mask) -> Mask:
        """The black pixels (h, w) of a window that are connected to the border of the raster."""
        ids, _ = self._ids(window, black)
        pieces = np.unique(ids)
        at_border = np.array([i >= 0 and self._root(int(i)) == 0 for i in pieces])
        found: Mask = at_border[np.searchsorted(pieces, ids)]
        return found

    def _ids(self, window: Window, black: Mask) -> tuple[Ids, int]:
        """A number for each pixel of a piece that touches an edge of the window, −1 elsewhere; and
        how many pieces these are. The same every time."""
        labels, count = ndimage.label(black)
        edges = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
        touching = np.unique(np.concatenate(edges))
        touching = touching[touching > 0]
        numbers = np.full(count + 1, -1, np.int64)
        numbers[touching] = self._first[window] + np.arange(len(touching))
        return numbers[labels], len(touching)

    def _on_border(self, window: Window, ids: Ids) -> list[Ids]:
        edges = []
        if window.y == 0:
            edges.append(ids[0])
        if window.x == 0:
            edges.append(ids[:, 0])
        if window.y + window.height == self.height:
            edges.append(ids[-1])
        if window.x + window.width == self.width:
            edges.append(ids[:, -1])
        return edges

    def _join(self, one: Ids, other: Ids) -> None:
        both = (one >= 0) & (other >= 0)
        for a, b in np.unique(np.stack((one[both], other[both])), axis=1).T:
            first, second = sorted((self._root(int(a)), self._root(int(b))))
            self._parents[second] = first

    def _root(self, piece: int) -> int:
        while self._parents[piece] != piece:
            self._parents[piece] = self._parents[self._parents[piece]]
            piece = self._parents[piece]
        return piece
