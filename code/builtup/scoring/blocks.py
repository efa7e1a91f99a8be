"""Counts of held-out pixels by blocks of ground: what intervals and comparisons are made from.

A block is a square of the ground, the same for every date of a city and for every model, so that
resampling blocks keeps what belongs to one place together.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from builtup.errors import InputError
from builtup.geo.grid import Grid
from builtup.geo.lengths import Length
from builtup.geo.windows import Window
from builtup.jobs.files import write_text_atomically
from builtup.scoring.counts import CELLS, Counts, confusion

__all__ = [
    "BLOCK",
    "LEVELS_AT",
    "BlockCounter",
    "BlockMatrices",
    "BlockRow",
    "BlockTable",
    "Place",
    "block_side",
    "read_blocks",
    "write_blocks",
]

#: Side of a block in pixels: 640 m at 10 m, a few times the reach of a town's streets.
BLOCK = 64
#: Of images from the air: so long on the ground, of pixels of unknown size by those of a drone.
BLOCK_LENGTH, UNKNOWN_METRES = Length(100, metres=True), 0.1
#: The thresholds at which pixels are counted: chosen on left-in ground, and the fixed 0.5.
LEVELS_AT = ("chosen", "half")
_COLUMNS = ("seed", "fold", "city", "scene", "row", "column")


@dataclass(frozen=True, order=True)
class Place:
    """A block of ground in the fold that holds it out; row and column count blocks of its CRS."""

    fold: str
    city: str
    row: int
    column: int


@dataclass(frozen=True)
class BlockRow:
    """One block of one scene: `counts` (2, 4), by threshold (`LEVELS_AT`) and cell (`CELLS`)."""

    seed: int
    place: Place
    scene: str
    counts: Counts


@dataclass(frozen=True)
class BlockTable:
    """Counts (places, seeds, 2, 4) int64 of all scenes together, by place and seed."""

    places: tuple[Place, ...]
    seeds: tuple[int, ...]
    counts: Counts

    @classmethod
    def of(cls, rows: Iterable[BlockRow]) -> BlockTable:
        """Sum the scenes of each place."""
        rows = list(rows)
        places = tuple(sorted({row.place for row in rows}))
        seeds = tuple(sorted({row.seed for row in rows}))
        at, by_seed = {p: i for i, p in enumerate(places)}, {s: i for i, s in enumerate(seeds)}
        counts = np.zeros((len(places), len(seeds), len(LEVELS_AT), len(CELLS)), np.int64)
        for row in rows:
            counts[at[row.place], by_seed[row.seed]] += row.counts
        return cls(places, seeds, counts)

    @property
    def folds(self) -> tuple[str, ...]:
        """The folds, sorted."""
        return tuple(sorted({place.fold for place in self.places}))

    @property
    def strata(self) -> NDArray[np.int64]:
        """The index into `folds` of each place (a fold lies in one city)."""
        index = {fold: i for i, fold in enumerate(self.folds)}
        return np.array([index[place.fold] for place in self.places], np.int64)

    def by_fold(self) -> Counts:
        """Counts (folds, seeds, 2, 4)."""
        total = np.zeros((len(self.folds), *self.counts.shape[1:]), np.int64)
        np.add.at(total, self.strata, self.counts)
        return total


class BlockCounter:
    """Adds up tiles' pixels by scene and block of ground."""

    def __init__(self, fold: str, seed: int, side: int = BLOCK) -> None:
        """`side` is that of a block in pixels."""
        self.fold, self.seed, self.side = fold, seed, side
        self._counts: dict[tuple[Place, str], Counts] = {}

    def add(
        self,
        city: str,
        scene: str,
        tile: Grid,
        mapped: NDArray[np.bool_],
        true: NDArray[np.bool_],
        valid: NDArray[np.bool_],
    ) -> None:
        """Count the `valid` pixels (H, W) of a tile on its own grid.

        `mapped` (len(LEVELS_AT), H, W) is what is mapped at each threshold, `true` (H, W) where
        the truth has the class.
        """
        if not valid.any():
            return
        rows, columns = _block_numbers(tile, self.side)
        first_row, first_column = int(rows.min()), int(columns.min())
        across = int(columns.max()) - first_column + 1
        block = (rows - first_row)[:, None] * across + (columns - first_column)[None, :]
        blocks = (int(rows.max()) - first_row + 1) * across
        inside, of_class = block[valid], true[valid]
        counts = np.zeros((blocks, len(mapped), len(CELLS)), np.int64)
        for i, at_threshold in enumerate(mapped):
            cell = np.where(at_threshold[valid], ~of_class, np.where(of_class, 2, 3))
            by_cell = np.bincount(inside * len(CELLS) + cell, minlength=blocks * len(CELLS))
            counts[:, i] = by_cell.reshape(blocks, len(CELLS))
        for number in np.flatnonzero(counts[:, 0].sum(axis=1)).tolist():
            row, column = divmod(number, across)
            place = Place(self.fold, city, first_row + row, first_column + column)
            key = (place, scene)
            self._counts[key] = self._counts.get(key, 0) + counts[number]

    def rows(self) -> list[BlockRow]:
        """What was counted, sorted."""
        return [
            BlockRow(self.seed, place, scene, counts)
            for (place, scene), counts in sorted(self._counts.items(), key=lambda item: item[0])
        ]


class BlockMatrices:
    """Adds up confusion matrices of `number` classes by blocks of `side` pixels of one raster.

    Blocks begin at its upper left corner: a raster without a CRS has no other place to count from.
    """

    def __init__(self, number: int, side: int) -> None:
        self.number, self.side = number, side
        self._counts: dict[tuple[int, int], Counts] = {}

    def add(self, window: Window, truth: NDArray[np.uint8], label: NDArray[np.uint8]) -> None:
        """Count the pixels (H, W) of a window that are 255 in neither array.

        BuiltupError where the truth holds a class beyond `number`.
        """
        rows = np.arange(window.y, window.y + window.height) // self.side
        columns = np.arange(window.x, window.x + window.width) // self.side
        for row in np.unique(rows).tolist():
            inside = slice(*np.searchsorted(rows, (row, row + 1)).tolist())
            for column in np.unique(columns).tolist():
                across = slice(*np.searchsorted(columns, (column, column + 1)).tolist())
                part = confusion(truth[inside, across], label[inside, across], self.number)
                if part.any():
                    key = (row, column)
                    self._counts[key] = self._counts.get(key, 0) + part

    @property
    def counts(self) -> Counts:
        """`[block, truth, prediction]` of the blocks where pixels count, sorted by their place."""
        found = [counts for _, counts in sorted(self._counts.items())]
        return np.array(found, np.int64).reshape(-1, self.number, self.number)


def _block_numbers(grid: Grid, side: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Block row of each pixel row and block column of each column, counted on the ground.

    From the origin of the CRS, southwards and eastwards, so that dates whose grids begin
    elsewhere share their blocks.
    """
    t = grid.transform
    top, left = math.floor(t.f / t.e + 0.5), math.floor(t.c / t.a + 0.5)
    return (top + np.arange(grid.height)) // side, (left + np.arange(grid.width)) // side


def block_side(metres: float | None) -> int:
    """The side of a block in pixels of `metres` a side: 100 m, but `BLOCK` pixels at least; pixels
    of unknown size (None) are taken for those of a drone."""
    return max(BLOCK, BLOCK_LENGTH.pixels(UNKNOWN_METRES if metres is None else metres))


def write_blocks(path: Path, rows: Iterable[BlockRow]) -> None:
    """Write rows as CSV: seed, fold, city, scene, row, column, tp … tn, and those at 0.5."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*_COLUMNS, *(f"{cell}_{at}" for at in LEVELS_AT for cell in CELLS)))
    for row in rows:
        place = row.place
        where = (row.seed, place.fold, place.city, row.scene, place.row, place.column)
        writer.writerow((*where, *row.counts.ravel().tolist()))
    write_text_atomically(path, text.getvalue())


def read_blocks(path: Path) -> list[BlockRow]:
    """Read what `write_blocks` wrote; InputError where it is missing or malformed."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [_parse(row) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError, TypeError) as e:
        raise InputError(path, f"no counts by block ({e})", "run cross_validate again") from e


def _parse(row: Mapping[str, str]) -> BlockRow:
    place = Place(row["fold"], row["city"], int(row["row"]), int(row["column"]))
    counts = [[int(row[f"{cell}_{at}"]) for cell in CELLS] for at in LEVELS_AT]
    return BlockRow(int(row["seed"]), place, row["scene"], np.array(counts, np.int64))
