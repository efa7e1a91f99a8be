"""tags.csv: which classes occur in cells of scenes, as a person may write it by hand.

    scene,x,y,impervious,building,tree
    top_mosaic_09cm_area5,0,0,1,0,1
    top_mosaic_09cm_area5,200,0,1,0.25,

`x`, `y` are the column and row of a cell's upper left pixel, the others classes: 1 it occurs, 0 it
does not, between them its share of the pixels, nothing where it is not known. `weaken` writes two
more columns, the tile that shows a cell with its surroundings (`tile_id`), and the cell's size.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from builtup.errors import InputError
from builtup.geo.windows import Window
from builtup.jobs.files import write_text_atomically

__all__ = ["TAGS_CSV", "CellTags", "cells_of", "read_tags", "write_tags"]

TAGS_CSV = "tags.csv"
#: The columns of `weaken` that say where a cell lies, the first three of them also a person's.
_PLACE = ("scene", "x", "y", "width", "height", "tile_id")
_REMEDY = "write the columns scene, x, y and one a class: 1, 0, a share, or nothing"


@dataclass(frozen=True)
class CellTags:
    """What is known of a cell: of each class 1 where it occurs, 0 where not, its share, or NaN.

    `scene` is the scene's id without braces, `window` the cell in it, `tile_id` the tile that shows
    it with its surroundings. Of a hand-written list the size of `window` is 1 by 1: its corner.
    """

    scene: str
    window: Window
    tags: tuple[float, ...]
    tile_id: str = ""


def cells_of(width: int, height: int, cell: int) -> list[Window]:
    """The cells of a scene, row by row, from its upper left pixel: each pixel lies in one.

    Those at the right and lower edge are smaller where the sides are no multiple of `cell`.
    """
    return [
        Window(y, x, min(cell, height - y), min(cell, width - x))
        for y in range(0, height, cell)
        for x in range(0, width, cell)
    ]


def write_tags(path: Path, cells: Iterable[CellTags], names: Sequence[str]) -> None:
    """Write the list, with a column for each class of `names`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*_PLACE, *names))
    for cell in cells:
        w = cell.window
        values = ("" if math.isnan(tag) else f"{tag:.6g}" for tag in cell.tags)
        writer.writerow((cell.scene, w.x, w.y, w.width, w.height, cell.tile_id, *values))
    write_text_atomically(path, text.getvalue())


def read_tags(path: Path, names: Sequence[str], unscored: Sequence[str] = ()) -> list[CellTags]:
    """The cells of a list, with a tag for each class of `names`: NaN where it has no column.

    Raises InputError for classes that are none of `names`, or are `unscored`, for values that are
    neither empty nor from 0 to 1, and for a cell that stands twice.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns, rows = list(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise InputError(path, f"tags cannot be read ({e})", "check the path") from e
    own = [name for name in columns if name not in _PLACE]
    if not {"scene", "x", "y"} <= set(columns) or not own:
        raise InputError(path, "no list of tags", _REMEDY)
    if strangers := [name for name in own if name not in names]:
        remedy = f"use the names of the data's classes: {', '.join(names)}"
        raise InputError(path, f"tags of {', '.join(strangers)}, which is no class", remedy)
    if left := [name for name in own if name in unscored and any(row[name] for row in rows)]:
        raise InputError(path, f"tags of {left[0]}, which is unscored", "leave that column out")
    cells, seen = [], set()
    for number, row in enumerate(rows, 2):
        cell = _cell(path, number, row, names)
        key = (cell.scene, cell.window.x, cell.window.y)
        if key in seen:
            raise InputError(path, f"line {number}: that cell stands twice", "remove one of them")
        seen.add(key)
        cells.append(cell)
    return cells


def _cell(path: Path, number: int, row: Mapping[str, str], names: Sequence[str]) -> CellTags:
    try:
        x, y = int(row["x"]), int(row["y"])
        width, height = int(row.get("width") or 1), int(row.get("height") or 1)
        tags = tuple(float(row.get(name) or "nan") for name in names)
        if min(x, y) < 0 or not row["scene"] or any(tag < 0 or tag > 1 for tag in tags):
            raise ValueError("expected x and y of 0 or more, and tags from 0 to 1")
    except (ValueError, TypeError) as e:
        raise InputError(path, f"line {number}: {e}", _REMEDY) from e
    return CellTags(row["scene"], Window(y, x, height, width), tags, row.get("tile_id") or "")
