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
from builtup.sensors.radar.bands import BAND_NAMES
from builtup.tiles.tile import Tile, check_tiles, parse_tile, read_rows

__all__ = ["TILE_STATS_CSV", "TileMeasure", "TrainTile", "read_tile_stats", "write_tile_stats"]

TILE_STATS_CSV = "tile_stats.csv"
_REMEDY = "run generate_tiles_stats again"
_BANDS = range(1, len(BAND_NAMES) + 1)
COLUMNS = (
    *("tile_id", "city", "scene", "date", "x", "y", "width", "height", "path"),
    *("fold_index", "image_path", "mask_path", "valid_fraction", "target_ratio"),
    *(f"img_{what}_{band}" for what in ("min", "max", "mean", "std") for band in _BANDS),
    "skip",
)


@dataclass(frozen=True)
class TileMeasure:
    """What one pass over a tile's pixels gives.

    `valid_fraction` is valid / all pixels, `target_ratio` built-up / labelled valid pixels (0
    where there are none), `skip` says that there are none. `minimum` … `std` are linear power of
    VH, VV and mean over valid pixels, empty where there are none.
    """

    valid_fraction: float
    target_ratio: float
    skip: bool
    minimum: tuple[float, ...]
    maximum: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class TrainTile:
    """An image tile with its mask tile, and what training needs to know of them."""

    tile: Tile
    mask: Tile
    fold_index: int
    valid_fraction: float
    target_ratio: float
    skip: bool


def write_tile_stats(path: Path, rows: Sequence[tuple[Tile, Tile, int, TileMeasure]]) -> None:
    """Write the rows (image tile, mask tile, fold index, measure), paths relative to the list."""
    home = str(path.parent.resolve())
    folders = {t.path.parent for image, mask, _, _ in rows for t in (image, mask)}
    relative = {folder: os.path.relpath(folder.resolve(), home) for folder in folders}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for image, mask, fold_index, measure in rows:
        image_path, mask_path = (
            Path(relative[t.path.parent], t.path.name).as_posix() for t in (image, mask)
        )
        figures = (measure.minimum, measure.maximum, measure.mean, measure.std)
        writer.writerow(
            (
                *(image.tile_id, image.city, image.scene, image.date),
                *(image.x, image.y, image.width, image.height, image_path),
                *(fold_index, image_path, mask_path),
                *(_number(measure.valid_fraction), _number(measure.target_ratio)),
                *(_number(v) for band in figures for v in (band or ("",) * len(BAND_NAMES))),
                "true" if measure.skip else "false",
            )
        )
    write_text_atomically(path, text.getvalue())


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
    return tiles


def _train_tile(path: Path, home: Path, row: Mapping[str, str]) -> TrainTile:
    image = parse_tile(path, home, row, "image_path")
    mask = replace(image, path=parse_tile(path, home, row, "mask_path").path)
    try:
        return TrainTile(
            image,
            mask,
            int(row["fold_index"]),
            float(row["valid_fraction"]),
            float(row["target_ratio"]),
            {"true": True, "false": False}[row["skip"]],
        )
    except (KeyError, ValueError, TypeError) as e:
        raise InputError(path, f"malformed row of tile {image.tile_id} ({e})", _REMEDY) from e
