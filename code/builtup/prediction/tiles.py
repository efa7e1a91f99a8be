"""Tiles: which are predicted, what is done with each, and which of their pixels are scored.

A tile is predicted as a small scene that is held in memory. Each is written by the process that
predicted it, none twice: `<folder>/raw/<scene>_tiles/tile_<x>_<y>.tif`, which `merge_tiles` reads.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from builtup.data.pixels import PixelSizes
from builtup.errors import BuiltupError, ConfigError, InputError
from builtup.geo.grid import Grid
from builtup.geo.probability import IGNORE, NODATA
from builtup.geo.rasters import create_raster, gdal_env, open_raster, read_window
from builtup.geo.windows import Window
from builtup.jobs.files import atomic_path
from builtup.models.channels import inputs_of, sensor_of_model
from builtup.prediction.decoders import decoding
from builtup.prediction.network import predict_seen, within_memory
from builtup.prediction.progress import progress
from builtup.prediction.windows import Stream, ahead
from builtup.runs.results import RAW, PredictionTags, read_tags, write_tags
from builtup.scoring.counts import confusion
from builtup.scoring.tile_picture import save_overlay
from builtup.sensors.catalogue import DEFAULT
from builtup.sensors.classes import Classes
from builtup.tiles.folds import Folds
from builtup.tiles.inputs import TileInputs, heights_beside, require_sensor
from builtup.tiles.table import TILE_STATS_CSV, TrainTile, read_tile_stats
from builtup.tiles.tile import TILES_CSV, Tile, open_tile_grid, read_tile, read_tiles, tile_name

__all__ = [
    "OfTile",
    "Selection",
    "Tally",
    "TileWork",
    "inputs_for",
    "predict_tiles",
    "score_tile",
    "select_all",
    "select_held_out",
    "write_tile",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Selection:
    """Tiles to predict. Those of a held-out fold have ground truth, and ground that is theirs.

    `fold_name` is empty where nothing is held out; the other fields serve `held_out` and `truth`.
    """

    tiles: tuple[Tile, ...]
    fold_name: str = ""
    _truth: Mapping[str, TrainTile] = field(default_factory=dict)
    _by_scene: Mapping[str, tuple[TrainTile, ...]] = field(default_factory=dict)
    _folds: Folds | None = None
    _fold: int = 0

    @property
    def rows(self) -> tuple[Tile | TrainTile, ...]:
        """The tiles, those of a held-out fold with their layers."""
        return tuple(self._truth.values()) if self._truth else self.tiles

    @property
    def cities(self) -> tuple[str, ...]:
        """The keys of the cities, sorted."""
        return tuple(sorted({tile.city for tile in self.tiles}))

    def scene_size(self, tile: Tile) -> tuple[int, int]:
        """Width and height of the tile's scene: its tiles reach to the edges."""
        return self._sizes[tile.scene]

    @cached_property
    def _sizes(self) -> dict[str, tuple[int, int]]:
        sizes: dict[str, tuple[int, int]] = {}
        for t in self.tiles:
            width, height = sizes.get(t.scene, (0, 0))
            sizes[t.scene] = (max(width, t.x + t.width), max(height, t.y + t.height))
        return sizes

    def held_out(self, tile: Tile) -> Window | None:
        """The part of the tile (counted from its corner) that may be predicted, or None.

        Outside a held-out block lies ground that the network has learnt from: it stays no-data,
        so that no later score can count it.
        """
        if self._folds is None:
            return Window(0, 0, tile.height, tile.width)
        held = self._folds.held_out(tile, self._fold)
        part = None if held is None else held.intersection(tile.window)
        return None if part is None else part.relative_to(tile.window)

    def truth(self, tile: Tile) -> NDArray[np.uint8]:
        """Ground truth (H, W) of a held-out tile; 255 where unknown, or scored by another tile."""
        if self._folds is None:
            raise ConfigError("has_targets: these tiles have no ground truth; set it to False")
        known = self._truth[tile.tile_id]
        mask: NDArray[Any] = read_tile(known.mask, 1)
        scored = self._folds.validation_scored(known, self._by_scene[tile.scene], self._fold)
        return np.where(scored, mask, np.uint8(IGNORE))


def select_all(data_path: Path) -> Selection:
    """All tiles of `<data_path>/tiles.csv`."""
    return Selection(tuple(read_tiles(data_path / TILES_CSV)))


def select_held_out(data_path: Path, val_fold: int | str | None) -> Selection:
    """All tiles of the scenes in which the fold holds ground out (`<data_path>/tile_stats.csv`).

    Raises ConfigError where no fold is held out, InputError where the data do not know it.
    """
    if val_fold is None:
        raise ConfigError(
            "val_fold: the network was trained on every city, nothing is held out; "
            "use a test_ config, or name the fold to score"
        )
    folds = Folds.read(data_path)
    fold = folds.index_of(val_fold)
    rows = read_tile_stats(data_path / TILE_STATS_CSV)
    by_scene: dict[str, list[TrainTile]] = defaultdict(list)
    for row in rows:
        by_scene[row.tile.scene].append(row)
    chosen = {row.tile.scene for row in rows if folds.held_out(row.tile, fold) is not None}
    kept = [row for row in rows if row.tile.scene in chosen]
    if not kept:
        raise InputError(
            data_path / TILE_STATS_CSV,
            f"no tile of the fold {folds.names[fold]}",
            "run generate_tiles_stats again",
        )
    return Selection(
        tiles=tuple(row.tile for row in kept),
        fold_name=folds.names[fold],
        _truth={row.tile.tile_id: row for row in kept},
        _by_scene={scene: tuple(of) for scene, of in by_scene.items()},
        _folds=folds,
        _fold=fold,
    )


def inputs_for(model: nn.Module, data_path: Path, selection: Selection) -> TileInputs:
    """What a model reads of the tiles of `data_path`; InputError where they are of another sensor
    than its own."""
    sensor, inputs = sensor_of_model(model), inputs_of(model)
    require_sensor(selection.tiles, sensor)
    heights = {} if inputs == sensor.names else heights_beside(data_path, selection.rows)
    return TileInputs.of(sensor, inputs, heights)


# --- prediction ---------------------------------------------------------------------------------


class OfTile(NamedTuple):
    """What predicts a tile, from what probability on it is mapped, and to what that was adapted."""

    stream: Stream
    threshold: float
    adapted: str = ""


@dataclass(frozen=True)
class TileWork:
    """What is done with each tile of a selection.

    Predictions go to `<folder>/raw/<scene>_tiles/` (unless `save` is False), pictures to
    `<folder>/overlays/` (of the first `overlays` tiles); without a folder nothing is written.
    Tiles found whole in `folder`, or in `previous` (the folder of an earlier run), are not
    predicted again. With `scored` the held-out pixels are counted against their ground truth.
    `networks` gives each tile one of its own, adapted to its scene (fitted_tiles.py). `inputs` is
    what is read of a tile, `pixels` as how large ones its pixels are seen, `share` that of the
    mapped class in training, where maps follow it.
    """

    selection: Selection
    stream: Stream
    threshold: float
    classes: Classes
    run_id: str = ""
    folder: Path | None = None
    save: bool = True
    scored: bool = False
    overlays: int = 0
    previous: Path | None = None
    networks: Callable[[Tile], OfTile] | None = None
    inputs: TileInputs = field(default_factory=TileInputs)
    pixels: PixelSizes = field(default_factory=PixelSizes)
    share: float | None = None

    def network(self, tile: Tile) -> OfTile:
        """What predicts a tile."""
        if self.networks is None:
            return OfTile(self.stream, self.threshold)
        return self.networks(tile)

    def tags(self, tile: Tile) -> PredictionTags:
        """What the tile's raster says of itself."""
        width, height = self.selection.scene_size(tile)
        network = self.network(tile)
        own = (self.run_id, network.threshold, self.classes.names)
        sensor = self.inputs.sensor
        tags = PredictionTags(
            *(tile.scene, tile.city, width, height, *own),
            year=tile.year,
            adapted=network.adapted,
            sensor="" if sensor == DEFAULT else sensor.name,
            share=None if network.adapted else self.share,
        )
        return tags.with_roles(self.classes).of_kind("tile")


@dataclass
class Tally:
    """What one process did; `matrix` (cities, C, C) counts pixels by city, truth and prediction."""

    matrix: NDArray[np.int64]
    predicted: int = 0
    kept: int = 0
    pixels: int = 0
    pictures: list[Path] = field(default_factory=list)


def predict_tiles(work: TileWork, tiles: Sequence[Tile], *, quiet: bool = False) -> Tally:
    """Predict, write and score `tiles`; one is read ahead while another is predicted."""
    cities, number = work.selection.cities, len(work.classes)
    tally = Tally(np.zeros((len(cities), number, number), np.int64))
    drawn = {tile.tile_id for tile in work.selection.tiles[: work.overlays]}
    pixels = [tile.width * tile.height for tile in tiles]
    largest = work.stream.inputs * max(pixels, default=0)
    with (
        progress("inference", sum(pixels), quiet=quiet) as advance,
        decoding(work.inputs.opened, tiles, work.stream.decoders, largest) as read,
    ):
        for tile, power in zip(tiles, ahead(read, tiles), strict=True):
            values = _values(work, tile, power, tally)
            score_tile(work, tile, values, power if tile.tile_id in drawn else None, tally)
            advance(tile.width * tile.height)
    return tally


def score_tile(
    work: TileWork,
    tile: Tile,
    values: NDArray[np.uint8],
    power: NDArray[np.float32] | None,
    tally: Tally,
) -> None:
    """Count a tile's probabilities against its truth, where it is scored; draw it, with `power`."""
    truth = work.selection.truth(tile) if work.scored else None
    if truth is not None:
        label = work.classes.decide(values, work.network(tile).threshold)
        city = work.selection.cities.index(tile.city)
        tally.matrix[city] += confusion(truth, label, len(work.classes))
    if power is not None and work.folder is not None:
        path = work.folder / "overlays" / f"{tile.tile_id}.png"
        decided = (values, work.network(tile).threshold, truth, work.classes)
        save_overlay(path, power, *decided, work.inputs.sensor, tile.tile_id)
        tally.pictures.append(path)


def _values(
    work: TileWork, tile: Tile, power: NDArray[np.float32], tally: Tally
) -> NDArray[np.uint8]:
    """The tile's probabilities, as they were found or from the network; written where wanted."""
    tags = work.tags(tile)
    folders = [folder for folder in (work.folder, work.previous) if folder is not None]
    kind = work.inputs.sensor.kind
    earlier = (_earlier(_place(folder, tile, kind), tags, tile) for folder in folders)
    values = next((array for array in earlier if array is not None), None)
    if values is None:
        values = _predict_held_out(work, tile, power)
        tally.predicted += 1
        tally.pixels += tile.width * tile.height
    else:
        tally.kept += 1
    if work.save and work.folder is not None:
        write_tile(_place(work.folder, tile, kind), values, open_tile_grid(tile), tags)
    return values


def _place(folder: Path, tile: Tile, kind: str) -> Path:
    scene = f"{tile.scene.replace('{}', kind)}_tiles"
    return folder / RAW / scene / tile_name(tile.x, tile.y)


def _earlier(path: Path, wanted: PredictionTags, tile: Tile) -> NDArray[np.uint8] | None:
    """A tile's probabilities where the file is whole and is of this tile; else None."""
    if not path.exists():
        return None
    try:
        with gdal_env(), open_raster(path) as dataset:
            tags = replace(  # no pixel depends on these
                read_tags(dataset),
                run_id=wanted.run_id,
                threshold=wanted.threshold,
                share=wanted.share,
                year=wanted.year,
            )
            if tags != wanted or dataset.shape != (tile.height, tile.width):
                return None
            values: NDArray[np.uint8] = read_window(dataset)
            return values
    except BuiltupError as e:
        log.warning("predicted again: %s", e)
        return None


def _predict_held_out(work: TileWork, tile: Tile, power: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Predict with all the context, keep what may be predicted."""
    part = work.selection.held_out(tile)
    values = np.full((work.stream.bands, tile.height, tile.width), NODATA, np.uint8)
    if part is not None:
        rows, columns = part.slices
        stream, shape = work.network(tile).stream, work.pixels.shape(tile)
        predicted = within_memory(tile.tile_id, partial(predict_seen, power, stream, shape))
        values[:, rows, columns] = predicted[:, rows, columns]
    return values


def write_tile(path: Path, values: NDArray[np.uint8], grid: Grid, tags: PredictionTags) -> None:
    """Write a tile's prediction (bands, H, W) on its own `grid`, whole or not at all.

    A band's description is the class it holds.
    """
    layout = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "ZSTD"}
    place = {"crs": grid.crs, "transform": grid.transform}
    size = {"width": grid.width, "height": grid.height, "count": len(values)}
    with (
        gdal_env(),
        atomic_path(path) as temporary,
        create_raster(
            temporary, dtype="uint8", nodata=NODATA, **layout, **place, **size
        ) as dataset,
    ):
        write_tags(dataset, tags)
        dataset.descriptions = tags.class_set.bands
        dataset.write(values)
