"""Tiles and the lists that name them, read back: tile files and windows of scenes alike."""

from __future__ import annotations

import csv
import os
import struct
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader

from builtup.errors import InputError
from builtup.geo.grid import Grid
from builtup.geo.rasters import as_nan, gdal_env, open_raster, read_window
from builtup.geo.windows import Window
from builtup.sensors.sensor import Sensor

__all__ = [
    "TILES_CSV",
    "YEAR",
    "Tile",
    "band_count",
    "by_scene",
    "check_tiles",
    "open_tile_grid",
    "parse_tile",
    "read_bands",
    "read_list",
    "read_tile",
    "read_tiles",
    "scene_grid",
    "seen_bands",
    "tile_name",
    "tile_tags",
]

#: The list of the tiles below a folder.
TILES_CSV = "tiles.csv"

#: The column of a list in which a city has folders of several years; others lack it.
YEAR = "year"

#: Scenes that a thread keeps open; more than the dates of a few cities are never in turn.
OPEN_SCENES = 32
_REMEDY = "run generate_tiles again"
_TIFF_SHORT, _TIFF_WIDTH, _TIFF_HEIGHT = 3, 256, 257


@dataclass(frozen=True)
class Tile:
    """A window of a scene (`x`, `y`: column and row of its upper left pixel), and its file.

    `city` is the key `<TILE>_<City>`, `scene` the scene id with braces, `date` YYYYMMDD, `path`
    the tile's own file, or the whole scene where tiles were not materialised. Of a city with
    folders of several years `year` says which; else it is empty.
    """

    tile_id: str
    city: str
    scene: str
    date: str
    x: int
    y: int
    width: int
    height: int
    path: Path
    year: str = ""

    @property
    def materialized(self) -> bool:
        """Whether `path` holds this tile alone."""
        return self.path.name == tile_name(self.x, self.y)

    @property
    def window(self) -> Window:
        """The tile's pixels in its scene."""
        return Window(self.y, self.x, self.height, self.width)


def tile_name(x: int, y: int) -> str:
    """The file name of the tile whose upper left pixel is column `x`, row `y`."""
    return f"tile_{x}_{y}.tif"


def read_tiles(path: Path) -> list[Tile]:
    """The tiles of a list that `generate_tiles` or `generate_test_tiles` wrote.

    Raises InputError where the list is missing or malformed, where a tile's file is missing, or
    where it has another size than the list says.
    """
    tiles = read_list(path)
    check_tiles(path, tiles)
    return tiles


def read_list(path: Path) -> list[Tile]:
    """As `read_tiles`, without a look at the tiles themselves."""
    home = path.parent.resolve()
    return [parse_tile(path, home, row, "path") for row in read_rows(path)]


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a list of tiles; raise InputError where there are none."""
    if not path.is_file():
        raise InputError(path, "no such list of tiles", "run generate_tiles first")
    try:
        with path.open(encoding="utf-8", newline="") as f:
            rows = list(csv.DictReader(f))
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise InputError(path, f"cannot be read ({e})", _REMEDY) from e
    if not rows:
        raise InputError(path, "lists no tiles", _REMEDY)
    return rows


def parse_tile(path: Path, home: Path, row: Mapping[str, str], column: str) -> Tile:
    """The tile of one row of the list at `path`; its file stands in `column`, relative to `home`.

    Raises InputError naming the column that is missing or malformed.
    """
    try:
        x, y, width, height = (int(row[key]) for key in ("x", "y", "width", "height"))
        texts = [row[key] for key in ("tile_id", "city", "scene", "date", column)]
    except (KeyError, ValueError, TypeError) as e:
        raise InputError(path, f"malformed list of tiles ({e})", _REMEDY) from e
    if None in texts or min(x, y) < 0 or min(width, height) < 1:
        raise InputError(path, f"malformed row of tile {texts[0]}", _REMEDY)
    tile_id, city, scene, date, place = texts
    folder, _, name = place.rpartition("/")
    file, year = _folder(home, folder) / name, row.get(YEAR) or ""
    return Tile(tile_id, city, scene, date, x, y, width, height, file, year)


@lru_cache
def _folder(home: Path, relative: str) -> Path:
    """The folder, without a detour through `..`: one of a few that thousands of tiles share."""
    return Path(os.path.normpath(home / relative))


def check_tiles(path: Path, tiles: Sequence[Tile]) -> None:
    """Hold the list at `path` to the files it names; raise InputError where they differ."""
    seen: set[str] = set()
    sizes: dict[Path, tuple[int, int]] = {}
    with gdal_env():
        for tile in tiles:
            if tile.tile_id in seen:
                raise InputError(path, f"lists the tile {tile.tile_id} twice", _REMEDY)
            seen.add(tile.tile_id)
            if tile.path not in sizes:
                sizes[tile.path] = _size(path, tile)
            width, height = sizes[tile.path]
            fits = (
                (tile.width, tile.height) == (width, height)
                if tile.materialized
                else tile.x + tile.width <= width and tile.y + tile.height <= height
            )
            if not fits:
                raise InputError(
                    tile.path,
                    f"has {width}x{height} pixels, which does not match the tile "
                    f"{tile.tile_id} ({tile.width}x{tile.height}) in {path}",
                    _REMEDY,
                )


def _size(path: Path, tile: Tile) -> tuple[int, int]:
    try:
        size = tiff_size(tile.path)
    except OSError as e:
        raise InputError(
            tile.path, f"{e.strerror}, but {path} lists it as tile {tile.tile_id}", _REMEDY
        ) from e
    if size is not None:
        return size
    with open_raster(tile.path) as dataset:
        return dataset.width, dataset.height


def tiff_size(path: Path) -> tuple[int, int] | None:
    """Width and height from the head of a TIFF file; None where they do not stand there.

    A list names thousands of tiles, and GDAL takes a hundred times longer to open one.
    """
    with path.open("rb", buffering=0) as f:
        head = f.read(4096)
    if head[:4] != b"II*\0":  # classic TIFF, little-endian: what GDAL writes below 4 GB
        return None
    values = {}
    try:
        (first,) = struct.unpack_from("<I", head, 4)
        (count,) = struct.unpack_from("<H", head, first)
        for i in range(count):
            tag, kind, _, value = struct.unpack_from("<HHII", head, first + 2 + 12 * i)
            values[tag] = value & 0xFFFF if kind == _TIFF_SHORT else value
        return values[_TIFF_WIDTH], values[_TIFF_HEIGHT]
    except (struct.error, KeyError):
        return None


def read_tile(
    tile: Tile, indexes: int | list[int] | None = None, window: Window | None = None
) -> NDArray[Any]:
    """Pixels of a tile: (bands, height, width) float32 with NaN for no-data, or uint8 masks.

    `indexes` chooses bands (an int gives (height, width)), `window` a part of the tile, counted
    from its upper left pixel. Scenes stay open between reads, per process and thread: workers
    may be forked or spawned.
    """
    part = window or Window(0, 0, tile.height, tile.width)
    if not tile.materialized:
        part = Window(part.y + tile.y, part.x + tile.x, part.height, part.width)
    with _opened(tile) as dataset:
        values = read_window(dataset, part, indexes)
        return as_nan(values, dataset.nodata) if values.dtype.kind == "f" else values


def band_count(tile: Tile) -> int:
    """How many bands a tile's file has."""
    with _opened(tile) as dataset:
        return int(dataset.count)


def read_bands(
    tile: Tile, sensor: Sensor, window: Window | None = None, *, stored: bool = False
) -> NDArray[np.float32]:
    """The bands of a tile that samples and networks get, (bands, h, w) float32, NaN for no-data.

    With `stored` all that its file holds, but for alpha. `window` as in `read_tile`.
    """
    if sensor.alpha is None:
        return read_tile(tile, None if stored else list(sensor.read), window)
    return seen_bands(read_tile(tile, [*sensor.read, sensor.alpha], window), tile.path)


def seen_bands(values: NDArray[Any], path: Path) -> NDArray[np.float32]:
    """Bands in memory from those of a file, (bands + 1, h, w) of which the last is alpha.

    Raises InputError where they are not of 8 bits.
    """
    if values.dtype != np.uint8:
        raise InputError(path, f"values of type {values.dtype}, not uint8", "run import_scenes")
    bands = values[:-1].astype(np.float32)
    bands[:, values[-1] == 0] = np.nan
    return bands


def tile_tags(tile: Tile) -> dict[str, str]:
    """The tags of a tile's file that begin with BUILTUP_."""
    with _opened(tile) as dataset:
        return {key: text for key, text in dataset.tags().items() if key.startswith("BUILTUP_")}


def open_tile_grid(tile: Tile) -> Grid:
    """The georeference of a tile."""
    with _opened(tile) as dataset:
        grid = Grid.of(dataset)
    return grid if tile.materialized else grid.window(tile.x, tile.y, tile.width, tile.height)


def by_scene(tiles: Iterable[Tile]) -> dict[str, list[Tile]]:
    """The tiles of each scene id, in their order."""
    scenes: dict[str, list[Tile]] = defaultdict(list)
    for tile in tiles:
        scenes[tile.scene].append(tile)
    return scenes


def scene_grid(tiles: Sequence[Tile]) -> Grid:
    """The grid of a whole scene of which these are all tiles, from that of the first."""
    tile = tiles[0]
    grid = open_tile_grid(tile)
    width = max(t.x + t.width for t in tiles)
    height = max(t.y + t.height for t in tiles)
    return grid.window(-tile.x, -tile.y, width, height)


@contextmanager
def _opened(tile: Tile) -> Iterator[DatasetReader]:
    if tile.materialized:
        with gdal_env(), open_raster(tile.path) as dataset:
            yield dataset
    else:
        yield _scenes.get(tile.path)


class _OpenScenes(threading.local):
    """The scenes that this thread of this process reads from, the least used closed first.

    A forked child must not use its parent's datasets, as both would move one file position; and a
    scene written anew must be opened anew. So both are part of the key.
    """

    def __init__(self) -> None:
        self.datasets: OrderedDict[tuple[int, str, int, int], tuple[DatasetReader, ExitStack]]
        self.datasets = OrderedDict()

    def get(self, path: Path) -> DatasetReader:
        try:
            stat = path.stat()
        except OSError as e:
            raise InputError(path, f"cannot be read ({e.strerror})", _REMEDY) from e
        key = (os.getpid(), str(path), stat.st_mtime_ns, stat.st_size)
        if key not in self.datasets:
            stack = ExitStack()
            with gdal_env():
                self.datasets[key] = (stack.enter_context(open_raster(path)), stack)
            if len(self.datasets) > OPEN_SCENES:
                self.datasets.popitem(last=False)[1][1].close()
        self.datasets.move_to_end(key)
        return self.datasets[key][0]


_scenes = _OpenScenes()
