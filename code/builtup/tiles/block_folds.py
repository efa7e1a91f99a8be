"""Rectangles on the ground that are held out in turn, common to all dates of a city."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rasterio.crs import CRS

from builtup.errors import BuiltupError, InputError
from builtup.geo.grid import Grid, common_grid
from builtup.geo.windows import Window

__all__ = ["Block", "BlockPlan", "city_blocks", "parse_blocks"]

#: Pixel centres this near to an edge (in pixels) count as lying on it.
_ON_EDGE = 1e-3


@dataclass(frozen=True)
class Block:
    """A rectangle (left, bottom, right, top) in CRS units; `gap` is its margin in CRS units.

    Without a CRS it is of the one scene of its city, in units of that scene's transform.
    """

    name: str
    city: str
    crs: CRS | None
    bounds: tuple[float, float, float, float]
    gap: tuple[float, float]

    def window(self, grid: Grid, *, with_gap: bool = False) -> Window | None:
        """The pixels of a north-up `grid` (or of one without a CRS, whose rows may lead down or up)
        whose centres lie in the block (and its gap), or None."""
        left, bottom, right, top = self.bounds
        if with_gap:
            dx, dy = self.gap
            left, bottom, right, top = left - dx, bottom - dy, right + dx, top + dy
        t = grid.transform
        x0, x1 = _first((left - t.c) / t.a), _first((right - t.c) / t.a)
        upper, lower = (top, bottom) if t.e < 0 else (bottom, top)
        y0, y1 = _first((upper - t.f) / t.e), _first((lower - t.f) / t.e)
        whole = Window(0, 0, grid.height, grid.width)
        return whole.intersection(Window(y0, x0, y1 - y0, x1 - x0))


def _first(edge: float) -> int:
    """The first pixel whose centre lies beyond an edge (in pixels)."""
    return math.ceil(edge - 0.5 - _ON_EDGE)


@dataclass(frozen=True)
class BlockPlan:
    """How a city is cut: a number of equal parts along each axis, or the pixels to cut at."""

    rows: int | tuple[int, ...] = 1
    columns: int | tuple[int, ...] = 1


def parse_blocks(text: str) -> BlockPlan:
    """`2x2` (rows x columns), or `rows=560;cols=256` with the pixels at which rows end.

    Edges are pixels of the grid that most dates of the city have; several are separated by commas.
    """
    try:
        if "=" in text:
            parts = [part.split("=") for part in text.replace(" ", "").split(";") if part]
            edges = {key: tuple(int(v) for v in value.split(",")) for key, value in parts}
            once = len(edges) == len(parts)
            known = set(edges) <= {"rows", "cols"}
            if once and known and all(_increasing(e) for e in edges.values()):
                return BlockPlan(edges.get("rows", 1), edges.get("cols", 1))
        else:
            rows, columns = (int(v) for v in text.lower().split("x"))
            if rows >= 1 and columns >= 1 and rows * columns >= 2:
                return BlockPlan(rows, columns)
    except ValueError:
        pass  # refused below
    raise BuiltupError(
        f"blocks={text}: neither rows x columns nor edges; write 2x2, or rows=560;cols=256,512"
    )


def _increasing(edges: Sequence[int]) -> bool:
    return edges[0] > 0 and all(a < b for a, b in pairwise(edges))


def city_blocks(
    city: str, grids: Sequence[Grid], plan: BlockPlan, gap: int, *, alone: bool = False
) -> list[Block]:
    """The blocks of a city, row by row, named `<city>/r0c0`, …; `gap` is in pixels.

    They divide the grid that most dates have (at its pixels) and reach out to the edges of all.
    `alone` says that there is no other city, so that folds=city is no way out. Raises InputError
    where a date has another CRS or is not north-up, or where one of several has no CRS.
    """
    grid = common_grid(grids)
    if not grid.crs and len(grids) > 1:
        raise InputError(
            city,
            f"its {len(grids)} scenes have no CRS, so that no common blocks can be drawn",
            "put each into a folder of its own" + ("" if alone else ", or use folds=city"),
        )
    for other in grids:
        t = other.transform
        if other.crs != grid.crs or t.b or t.d or t.a <= 0 or (t.e >= 0 and bool(grid.crs)):
            raise InputError(
                city,
                "its dates are not north-up in one CRS, so that no common blocks can be drawn",
                "warp them to one grid (gdalwarp)" + ("" if alone else ", or use folds=city"),
            )
    ys = _edges(plan.rows, grid.height, city, "rows")
    xs = _edges(plan.columns, grid.width, city, "columns")
    t = grid.transform
    east, north = [t.c + t.a * x for x in xs], [t.f + t.e * y for y in ys]
    lefts, bottoms, rights, tops = zip(*(g.bounds for g in grids), strict=True)
    east[0], east[-1] = min(lefts), max(rights)
    north[0], north[-1] = (max(tops), min(bottoms)) if t.e < 0 else (min(bottoms), max(tops))
    return [
        Block(
            f"{city}/r{r}c{c}",
            city,
            grid.crs,
            (east[c], min(north[r : r + 2]), east[c + 1], max(north[r : r + 2])),
            (gap * t.a, gap * abs(t.e)),
        )
        for r in range(len(ys) - 1)
        for c in range(len(xs) - 1)
    ]


def _edges(parts: int | tuple[int, ...], length: int, city: str, what: str) -> list[int]:
    if isinstance(parts, int):
        edges = [i * length // parts for i in range(parts + 1)]
        wish, remedy = str(parts), "use fewer blocks"
    else:
        edges = [0, *parts, length]
        wish, remedy = ",".join(map(str, parts)), f"use edges below {length}"
    if not all(a < b for a, b in pairwise(edges)):
        raise InputError(city, f"has {length} {what}, which blocks={wish} cannot divide", remedy)
    return edges
