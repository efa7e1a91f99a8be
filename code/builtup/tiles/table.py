"""tile_stats.csv: what is known of each training tile, one row a tile."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from builtup.errors import InputError
from builtup.jobs.files import write_text_atomically
from builtup.sensors.classes import BUILT_UP
from builtup.tiles.tile import YEAR, Tile, check_tiles, parse_tile, read_rows

__all__ = ["TILE_STATS_CSV", "TileMeasure", "TrainTile", "read_tile_stats", "write_tile_stats"]

TILE_STATS_CSV = "tile_stats.csv"
#: The column of the tiles of heights; lists of data without them lack it.
HEIGHT_PATH = "height_path"
_REMEDY = "run generate_tiles_stats again"


@dataclass(frozen=True)
class TileMeasure:
    """What one pass over a tile's pixels gives.

    `valid_fraction` is valid / all pixels, `target_ratio` built-up / labelled valid pixels (0
    where there are none), `skip` says that there are none. `minimum` … `std` are those of each band
    of the file over valid pixels, empty where there are none. `shares` are those of the classes
    among labelled valid pixels, of the first so many; empty where `target_ratio` says it all.
    """

    valid_fraction: float
    target_ratio: float
    skip: bool
    minimum: tuple[float, ...]
    maximum: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    shares: tuple[float, ...] = ()

    def shares_of(self, classes: int) -> tuple[float, ...]:
        """The shares of so many classes, at least those that occur."""
        known = self.shares or _of_two(self.target_ratio, self.skip)
        return known + (0.0,) * (classes - len(known))


def _of_two(target_ratio: float, skip: bool) -> tuple[float, ...]:
    """The shares of two classes from that of the second."""
    return () if skip else (1 - target_ratio, target_ratio)


@dataclass(frozen=True)
class TrainTile:
    """An image tile with its mask tile, and what training needs to know of them.

    `shares` are those of each class among labelled valid pixels; empty where there are none.
    `height` is the tile of the layer of that name, None where the data have none.
    """

    tile: Tile
    mask: Tile
    fold_index: int
    valid_fraction: float
    target_ratio: float
    skip: bool
    shares: tuple[float, ...] = ()
    height: Tile | None = None

    @property
    def parts(self) -> tuple[Tile, ...]:
        """The tiles of all its layers, the image first."""
        return (self.tile, self.mask, *(() if self.height is None else (self.height,)))


def write_tile_stats(
    path: Path,
    rows: Sequence[tuple[Tile, Tile, Tile | None, int, TileMeasure]],
    *,
    bands: int,
    classes: int = len(BUILT_UP),
) -> None:
    """Write the rows (tiles of image, mask and height, fold index, measure), paths relative to the
    list.

    `bands` and `classes` are how many the data have; of two classes `target_ratio` says all, of
    more there are columns share_0, share_1, …. Data without heights have no column of them.
    """
    home = str(path.parent.resolve())
    tiles = [t for image, mask, height, _, _ in rows for t in (image, mask, height) if t]
    folders = {t.path.parent for t in tiles}
    relative = {folder: os.path.relpath(folder.resolve(), home) for folder in folders}

    def place(tile: Tile | None) -> str:
        return "" if tile is None else Path(relative[tile.path.parent], tile.path.name).as_posix()

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    by_year = any(image.year for image, *_ in rows)
    with_height = any(height is not None for _, _, height, _, _ in rows)
    further = (HEIGHT_PATH,) * with_height + (YEAR,) * by_year
    writer.writerow((*_columns(bands, classes), *further))
    for image, mask, height, fold_index, measure in rows:
        image_path, mask_path = place(image), place(mask)
        figures = (measure.minimum, measure.maximum, measure.mean, measure.std)
        writer.writerow(
            (
                *(image.tile_id, image.city, image.scene, image.date),
                *(image.x, image.y, image.width, image.height, image_path),
                *(fold_index, image_path, mask_path),
                *(_number(measure.valid_fraction), _number(measure.target_ratio)),
                *map(_number, measure.shares_of(classes) if classes > len(BUILT_UP) else ()),
                *(_number(v) for band in figures for v in (band or ("",) * bands)),
                "true" if measure.skip else "false",
                *((place(height),) * with_height + (image.year,) * by_year),
            )
        )
    write_text_atomically(path, text.getvalue())


def _columns(bands: int, classes: int) -> tuple[str, ...]:
    return (
        *("tile_id", "city", "scene", "date", "x", "y", "width", "height", "path"),
        *("fold_index", "image_path", "mask_path", "valid_fraction", "target_ratio"),
        *(f"share_{i}" for i in range(classes if classes > len(BUILT_UP) else 0)),
        *(f"img_{what}_{b + 1}" for what in ("min", "max", "mean", "std") for b in range(bands)),
        "skip",
    )


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.9g}"


def read_tile_stats(path: Path) -> list[TrainTile]:
    """The rows of tile_stats.csv.

    Raises InputError where the list is missing or malformed, or where a tile or mask that it
    names is missing or has another size.
    """
    if not path.is_file():
        raise InputError(path, "no such file", "run generate_tiles_stats first")
    home = path.parent.resolve()
    tiles = [_train_tile(path, home, row) for row in read_rows(path)]
    check_tiles(path, [t.tile for t in tiles])
    check_tiles(path, [t.mask for t in tiles])
    check_tiles(path, [t.height for t in tiles if t.height is not None])
    return tiles


def _train_tile(path: Path, home: Path, row: Mapping[str, str]) -> TrainTile:
    image = parse_tile(path, home, row, "image_path")
    mask = replace(image, path=parse_tile(path, home, row, "mask_path").path)
    height = None
    if row.get(HEIGHT_PATH):
        height = replace(image, path=parse_tile(path, home, row, HEIGHT_PATH).path)
    try:
        target_ratio = float(row["target_ratio"])
        skip = {"true": True, "false": False}[row["skip"]]
        shares = tuple(float(row[name]) for name in row if name.startswith("share_"))
        return TrainTile(
            image,
            mask,
            int(row["fold_index"]),
            float(row["valid_fraction"]),
            target_ratio,
            skip,
            shares or _of_two(target_ratio, skip),
            height,
        )
    except (KeyError, ValueError, TypeError) as e:
        raise InputError(path, f"malformed row of tile {image.tile_id} ({e})", _REMEDY) from e
