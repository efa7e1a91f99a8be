"""Predicting a list of tiles: each written by the process that predicted it, none twice."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from builtup.errors import BuiltupError
from builtup.geo.probability import NODATA
from builtup.geo.rasters import gdal_env, open_raster, read_window
from builtup.prediction.decoders import decoding
from builtup.prediction.network import predict_array, write_tile
from builtup.prediction.selection import Selection
from builtup.prediction.tile_reader import tile_power
from builtup.prediction.windows import Stream, ahead
from builtup.runs.results import RAW, PredictionTags, read_tags
from builtup.scoring.counts import confusion
from builtup.scoring.tile_picture import save_overlay
from builtup.sensors.catalogue import DEFAULT
from builtup.sensors.classes import Classes
from builtup.tiles.tile import Tile, open_tile_grid, tile_name

__all__ = ["Tally", "TileWork", "predict_tiles"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TileWork:
    """What is done with each tile.

    Predictions go to `<folder>/raw/<scene>_tiles/` (unless `save` is False), pictures to
    `<folder>/overlays/` (of the first `overlays` tiles). Tiles found whole in `folder`, or in
    `previous` (the folder of an earlier run), are not predicted again.
    """

    selection: Selection
    stream: Stream
    folder: Path
    run_id: str
    threshold: float
    classes: tuple[str, ...]
    save: bool = True
    scored: bool = False
    overlays: int = 0
    previous: Path | None = None

    def tags(self, tile: Tile) -> PredictionTags:
        """What the tile's raster says of itself."""
        width, height = self.selection.scene_size(tile)
        return PredictionTags(
            tile.scene, tile.city, width, height, self.run_id, self.threshold, self.classes
        )


@dataclass
class Tally:
    """What one process did; `matrix` counts pixels by city, truth and prediction."""

    matrix: NDArray[np.int64]
    predicted: int = 0
    kept: int = 0
    pixels: int = 0
    pictures: list[Path] = field(default_factory=list)


def predict_tiles(work: TileWork, tiles: Sequence[Tile], *, quiet: bool = False) -> Tally:
    """Predict, write and score `tiles`; one is read ahead while another is predicted."""
    cities = work.selection.cities
    classes = Classes.of(work.classes)
    tally = Tally(np.zeros((len(cities), len(classes), len(classes)), np.int64))
    drawn = {tile.tile_id for tile in work.selection.tiles[: work.overlays]}
    disable = True if quiet else None
    bar = tqdm(total=len(tiles), desc="inference", unit="tile", disable=disable, leave=False)
    largest = max((2 * tile.width * tile.height for tile in tiles), default=0)
    with bar, decoding(tile_power, tiles, work.stream.decoders, largest) as read:
        for tile, power in zip(tiles, ahead(read, tiles), strict=True):
            values = _values(work, tile, power, tally)
            truth = work.selection.truth(tile) if work.scored else None
            if truth is not None:
                label = classes.decide(values, work.threshold)
                count = confusion(truth, label, len(classes))
                tally.matrix[cities.index(tile.city)] += count
            if tile.tile_id in drawn:
                path = work.folder / "overlays" / f"{tile.tile_id}.png"
                save_overlay(
                    path, power, values, work.threshold, truth, classes, DEFAULT, tile.tile_id
                )
                tally.pictures.append(path)
            bar.update()
    return tally


def _values(
    work: TileWork, tile: Tile, power: NDArray[np.float32], tally: Tally
) -> NDArray[np.uint8]:
    """The tile's probabilities, as they were found or from the network; written where wanted."""
    folders = [work.folder] if work.previous is None else [work.folder, work.previous]
    found = (_found(_place(folder, tile), work.tags(tile), tile) for folder in folders)
    values = next((array for array in found if array is not None), None)
    if values is None:
        values = _predict_held_out(work, tile, power)
        tally.predicted += 1
        tally.pixels += tile.width * tile.height
    else:
        tally.kept += 1
    if work.save:
        write_tile(_place(work.folder, tile), values, open_tile_grid(tile), work.tags(tile))
    return values


def _place(folder: Path, tile: Tile) -> Path:
    scene = f"{tile.scene.replace('{}', '3b')}_tiles"
    return folder / RAW / scene / tile_name(tile.x, tile.y)


def _found(path: Path, wanted: PredictionTags, tile: Tile) -> NDArray[np.uint8] | None:
    """A tile's probabilities where the file is whole and is of this tile; else None."""
    if not path.exists():
        return None
    try:
        with gdal_env(), open_raster(path) as dataset:
            tags = replace(read_tags(dataset), run_id=wanted.run_id, threshold=wanted.threshold)
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
        values[:, rows, columns] = predict_array(power, work.stream)[:, rows, columns]
    return values
