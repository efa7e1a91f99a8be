"""What a network reads of tiles: the bands of their sensor and, behind them, layers beside them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from builtup.errors import InputError
from builtup.geo.windows import Window
from builtup.sensors.catalogue import DEFAULT
from builtup.sensors.optical.cameras import HEIGHT
from builtup.sensors.sensor import Sensor
from builtup.tiles.table import TrainTile
from builtup.tiles.tile import (
    TILES_CSV,
    Tile,
    by_scene,
    read_bands,
    read_tile,
    read_tiles,
    tile_tags,
)

__all__ = ["TileInputs", "heights_beside", "require_sensor"]

log = logging.getLogger(__name__)

Float = NDArray[np.float32]


@dataclass(frozen=True)
class TileInputs:
    """The bands of `sensor` and, with `with_height`, the height as a further one.

    `heights` are the tiles of that layer by the ids of the images' tiles; where there is none the
    height is unknown, NaN.
    """

    sensor: Sensor = DEFAULT
    with_height: bool = False
    heights: Mapping[str, Tile] = field(default_factory=dict)

    @classmethod
    def of(cls, sensor: Sensor, inputs: Sequence[str], heights: Mapping[str, Tile]) -> TileInputs:
        """For a network with these inputs."""
        wanted = HEIGHT in inputs
        return cls(sensor, wanted, heights if wanted else {})

    def read(self, tile: Tile, window: Window | None = None) -> Float:
        """(inputs, h, w) float32, NaN for no-data and unknown heights; `window` as in `read_tile`.

        Raises InputError where a file cannot be read.
        """
        bands = read_bands(tile, self.sensor, window)
        if not self.with_height:
            return bands
        beside = self.heights.get(tile.tile_id)
        if beside is None:
            height = np.full((1, *bands.shape[1:]), np.nan, np.float32)
        else:
            height = read_tile(beside, [1], window)
        return np.concatenate([bands, height])

    @contextmanager
    def opened(self) -> Iterator[Callable[[Tile], Float]]:
        """What reads whole tiles, as processes that read ahead want it."""
        yield self.read


def heights_beside(folder: Path, tiles: Sequence[Tile | TrainTile]) -> dict[str, Tile]:
    """The tiles of heights of these tiles, by tile id: those of their rows, else of the list in the
    folder `height` beside that of the images; where some have none, this is said.
    """
    found: dict[str, Tile] = {}
    beside = folder.parent / HEIGHT / TILES_CSV
    rows = [t for t in tiles if isinstance(t, TrainTile)]
    if rows:
        found = {t.tile.tile_id: t.height for t in rows if t.height is not None}
    elif beside.is_file():
        listed = {tile.tile_id: tile for tile in read_tiles(beside)}
        for tile in tiles:
            own = listed.get(tile.tile_id) if isinstance(tile, Tile) else None
            if own is not None and isinstance(tile, Tile) and own.window == tile.window:
                found[tile.tile_id] = own
    if len(found) < len(tiles):
        log.warning(
            "%s: no heights of %d of %d tiles: the network maps them without",
            *(folder, len(tiles) - len(found), len(tiles)),
        )
    return found


def require_sensor(tiles: Sequence[Tile], sensor: Sensor) -> None:
    """InputError where scenes of the tiles are of another sensor than the network reads."""
    for own in by_scene(tiles).values():
        said = tile_tags(own[0]).get("BUILTUP_SENSOR", DEFAULT.name)
        if said != sensor.name:
            raise InputError(
                own[0].path,
                f"is of the sensor {said}, and the network reads {sensor.name}",
                "choose a model of that sensor, or tiles of this one",
            )
