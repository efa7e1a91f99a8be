"""The part of each tile that is its own: overlaps are split in the middle.

The cores of a scene's tiles partition the ground they cover, so that what is summed over cores
counts no pixel twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from builtup.geo.windows import Window
from builtup.tiles.tile import Tile

__all__ = ["exclusive_cores"]


def exclusive_cores(tiles: Iterable[Tile]) -> dict[str, Window]:
    """The core of each tile, by tile id, in pixels of its scene; tiles of many scenes may come.

    Tiles of a scene form a grid (they may be a part of it): the same columns in every row. Of
    several that begin at one pixel, as those of cells near an edge, the first has the core, the
    others an empty one.
    """
    by_scene: dict[str, list[Tile]] = defaultdict(list)
    for tile in tiles:
        by_scene[tile.scene].append(tile)
    cores = {}
    for of_scene in by_scene.values():
        columns = _axis([(t.x, t.width) for t in of_scene])
        rows = _axis([(t.y, t.height) for t in of_scene])
        taken: set[tuple[int, int]] = set()
        for t in of_scene:
            (left, right), (top, bottom) = columns[t.x], rows[t.y]
            own = (0, 0) if (t.x, t.y) in taken else (bottom - top, right - left)
            taken.add((t.x, t.y))
            cores[t.tile_id] = Window(top, left, *own)
    return cores


def _axis(intervals: Sequence[tuple[int, int]]) -> dict[int, tuple[int, int]]:
    """(first, end) of the core of each start, from (start, length) of the windows of an axis."""
    ordered = sorted(set(intervals))
    cores = {}
    for i, (start, length) in enumerate(ordered):
        first, end = start, start + length
        if i > 0:
            before = sum(ordered[i - 1])
            first = max(first, (before + start) // 2) if before > start else first
        if i + 1 < len(ordered):
            after = ordered[i + 1][0]
            end = min(end, (end + after) // 2) if after < end else end
        cores[start] = (first, end)
    return cores
