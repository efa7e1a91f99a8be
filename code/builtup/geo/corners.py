"""Where the outlines of a mask turn: its corners, found block by block.

Of the raster only a block, the row of pixels above it and its integral image there are held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
from numpy.typing import NDArray

from builtup.geo.columns import Columns
from builtup.geo.prefetch import running_ahead
from builtup.geo.windows import Window

__all__ = ["Corners", "Read", "block_of", "scan"]

#: Columns of the blocks that are read at once, and most rows of them.
BLOCK = 1024
#: Pixels of a row of blocks: what is held follows these, so wide rasters have lower blocks.
STRIP = 2**22

#: Reads a window: (built-up, value), bool and uint8 of the window's shape.
Read = Callable[[Window], tuple[NDArray[np.bool_], NDArray[np.uint8]]]


@dataclass(frozen=True)
class Corners(Columns):
    """Turns of outlines at lattice points (x, y), in scanning order.

    `right` and `down` say where the two edges leave; the horizontal ones pair up, first with
    second, third with fourth, and so on. `sign` is the mixed difference of the region: with it −1
    an outline (region on its left) leaves by the horizontal edge, with +1 by the vertical one.
    `integral` is the sum of the value over all pixels above and left of the point. `twin` marks a
    point where two corners meet.
    """

    x: NDArray[np.int32]
    y: NDArray[np.int32]
    right: NDArray[np.bool_]
    down: NDArray[np.bool_]
    sign: NDArray[np.int8]
    twin: NDArray[np.bool_]
    integral: NDArray[np.int64]

    @classmethod
    def none(cls) -> Self:
        """No corners."""
        ints, bools = np.zeros(0, np.int32), np.zeros(0, bool)
        return cls(
            ints, ints, bools, bools, np.zeros(0, np.int8), bools, np.zeros(0, np.int64)
        )  # fmt: skip


def scan(width: int, height: int, read: Read, block: tuple[int, int]) -> Iterator[Corners]:
    """Yield the corners of each row of blocks, sorted.

    The raster is taken to go on with background beyond its right and lower edges, so that every
    outline closes. Of the rows above only the last one and its integral image are kept.
    """
    above = np.zeros(width + 2, bool)  # the pixel row above; [0] stands left of the raster
    total = np.zeros(width + 1, np.int64)  # integral image at the lattice row of the blocks' top
    found: list[Corners] = []
    prepare = partial(_prepare, read, width, height)
    with running_ahead(prepare, _places(width, height, block)) as blocks:
        for place, padded, local in blocks:
            x, columns = place.x, place.width
            if x == 0:
                left = np.zeros(place.height + 1, bool)
                before = np.zeros(place.height + 1, np.int64)  # integral over these rows, left of x
            padded[0] = above[x : x + columns + 1]
            padded[:, 0] = left
            left = padded[:, -1].copy()
            above[x + 1 : x + columns + 1] = padded[-1, 1:]
            here = total[x : x + columns]
            found.append(_corners(padded, place, (local, here, before)))
            here += before[-1] if local is None else before[-1] + local[-1, :-1]
            if local is not None:
                before = before + local[:, -1]
            if x + columns > width:
                yield _sorted(found, width)
                found = []


def block_of(width: int) -> tuple[int, int]:
    """(rows, columns) of the blocks; rows are a power of two, to lie well on blocks of files."""
    rows = BLOCK
    while rows > 32 and rows * width > STRIP:
        rows //= 2
    return rows, BLOCK


def _places(width: int, height: int, block: tuple[int, int]) -> Iterator[Window]:
    """Blocks over the lattice, which has a column and a row more than the raster has."""
    rows, columns = block
    for y in range(0, height + 1, rows):
        for x in range(0, width + 1, columns):
            yield Window(y, x, min(rows, height + 1 - y), min(columns, width + 1 - x))


def _prepare(
    read: Read, width: int, height: int, place: Window
) -> tuple[Window, NDArray[np.bool_], NDArray[np.uint32] | None]:
    """Read a block: its built-up pixels, with a row above and a column to the left still to be
    filled and background beyond the raster; and the integral image of the value over them, at the
    block's lattice points, None where nothing is built up."""
    padded = np.zeros((place.height + 1, place.width + 1), bool)
    window = place.intersection(Window(0, 0, height, width))
    if window is None:
        return place, padded, None
    built_up, value = read(window)
    padded[1 : window.height + 1, 1 : window.width + 1] = built_up
    if not built_up.any():
        return place, padded, None
    local = np.zeros(padded.shape, np.uint32)  # enough for blocks of 4,096
    part = local[1 : window.height + 1, 1 : window.width + 1]
    np.cumsum(value * built_up, axis=1, dtype=np.uint32, out=part)
    local[1:, window.width + 1 :] = local[1:, window.width : window.width + 1]
    np.cumsum(local, axis=0, out=local)
    return place, padded, local


#: By the four pixels around a point (1 upper left, 2 upper right, 4 lower left, 8 lower right).
_RIGHT = np.array([c in {2, 8, 13, 7} for c in range(16)])
_DOWN = np.array([c in {4, 8, 11, 7} for c in range(16)])
_SIGN = np.array([1 if c in {1, 8, 13, 11} else -1 for c in range(16)], np.int8)


def _corners(
    padded: NDArray[np.bool_],
    place: Window,
    integral: tuple[NDArray[np.uint32] | None, NDArray[np.int64], NDArray[np.int64]],
) -> Corners:
    """The corners at the lattice points of a block; two where pixels touch across a point."""
    turn = padded[:, :-1] ^ padded[:, 1:]
    step = padded[:-1, :-1] ^ padded[1:, :-1]
    crossing = turn[:-1] & turn[1:]
    crossing &= step
    point = turn[:-1] ^ turn[1:]
    point |= crossing
    at = np.flatnonzero(point)
    row, column = np.divmod(at, point.shape[1])
    code = padded[row, column].astype(np.uint8)
    code |= padded[row, column + 1].astype(np.uint8) << 1
    code |= padded[row + 1, column].astype(np.uint8) << 2
    code |= padded[row + 1, column + 1].astype(np.uint8) << 3
    twin = (code == 6) | (code == 9)
    # the one pixel's corner, then the other's: 9 is 1 and 8, 6 is 4 and 2
    order = np.repeat(np.arange(len(at)), 1 + twin)
    second = np.concatenate((np.zeros(1, bool), order[1:] == order[:-1]))[: len(order)]
    code, row, column, twin = code[order], row[order], column[order], twin[order]
    code = np.where(twin & (code == 9), np.where(second, 8, 1), code)
    code = np.where(twin & (code == 6), np.where(second, 2, 4), code)
    local, top, left = integral
    total = top[column] + left[row]
    if local is not None:
        total += local[row, column]
    return Corners(
        (column + place.x).astype(np.int32),
        (row + place.y).astype(np.int32),
        _RIGHT[code],
        _DOWN[code],
        _SIGN[code],
        twin,
        total,
    )


def _sorted(found: list[Corners], width: int) -> Corners:
    corners = found[0].concatenated(*found[1:])
    key = (corners.y.astype(np.int64) * (width + 1) + corners.x) * 2 + corners.right
    return corners.taken(np.argsort(key, kind="stable"))
