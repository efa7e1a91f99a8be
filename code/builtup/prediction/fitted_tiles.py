"""The network that predicts a tile: as it is, or adapted to the tile's scene or city."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from builtup.data.pixels import PixelSizes
from builtup.prediction.adapt import (
    ADAPTED,
    MOST,
    SIDE,
    Adapted,
    measure,
    say_adapted,
    spread_windows,
)
from builtup.prediction.network import mark_invalid, resampled, within_memory
from builtup.prediction.recipe import Loaded
from builtup.prediction.tiles import OfTile
from builtup.runs.manifest import DataManifest
from builtup.sensors.radar.names import plain_id
from builtup.tiles.inputs import TileInputs
from builtup.tiles.tile import Tile

__all__ = ["FittedTiles", "adapted_cities", "networks_of"]

log = logging.getLogger(__name__)

#: Numbers i · GOLDEN modulo 1 are spread evenly, as many as one takes.
GOLDEN = 0.6180339887498949


def networks_of(
    loaded: Loaded,
    data_path: Path,
    tiles: Sequence[Tile],
    folder: Path,
    inputs: TileInputs,
    pixels: PixelSizes,
) -> Callable[[Tile], OfTile] | None:
    """The networks of the tiles of `data_path`, None where one predicts them all."""
    if not loaded.adapt.is_on:
        return None
    simulated = bool(DataManifest.of(data_path, tiles).simulated)
    return FittedTiles(loaded, tiles, folder, inputs, pixels, simulated=simulated).of


def adapted_cities(folder: Path | None, tiles: Sequence[Tile]) -> list[str]:
    """The keys of the cities of `tiles` to whose scenes networks were adapted, by what stands in
    `<folder>/adapted`; none where that is not there."""
    files = () if folder is None else sorted((folder / ADAPTED).glob("*.safetensors"))
    scenes = {scene for one in map(Adapted.read, files) if one.moments for scene in one.scenes}
    return sorted({tile.city for tile in tiles if tile.scene in scenes})


class FittedTiles:
    """Streams for `tiles`, one scene's or city's at a time in memory.

    What a scene was adapted to is looked at once and kept in `<folder>/adapted/`, where the next
    process, and a run that goes on, find it. `inputs` reads the tiles, `pixels` says as how large
    ones their pixels are seen; `simulated` says that the simulator made them.
    """

    def __init__(
        self,
        loaded: Loaded,
        tiles: Sequence[Tile],
        folder: Path,
        inputs: TileInputs | None = None,
        pixels: PixelSizes | None = None,
        *,
        simulated: bool = False,
    ) -> None:
        self.loaded = loaded
        self.inputs = inputs or TileInputs()
        self.pixels = pixels or PixelSizes()
        self.folder = folder / ADAPTED
        self.simulated = simulated
        self.together: dict[str, list[Tile]] = defaultdict(list)
        for tile in tiles:
            self.together[self._name(tile)].append(tile)
        self._last: tuple[str, OfTile] = ("", OfTile(loaded.stream, loaded.threshold))

    def of(self, tile: Tile) -> OfTile:
        """What predicts a tile."""
        if not self.loaded.adapt.is_on:
            return self._last[1]
        name = self._name(tile)
        if name != self._last[0]:
            path = self.folder / f"{name}.safetensors"
            if not path.is_file():
                self._look(name).write(path)
            adapted, tag = self.loaded.adapted(path), Adapted.read(path).tag
            self._last = (name, OfTile(adapted.stream, adapted.threshold, tag))
        return self._last[1]

    def _name(self, tile: Tile) -> str:
        return tile.city if self.loaded.adapt.mode == "city" else plain_id(tile.scene)

    def _look(self, name: str) -> Adapted:
        tiles = self.together[name]
        scenes = sorted({tile.scene for tile in tiles})
        found = within_memory(
            name,
            partial(
                measure,
                self.loaded.trained,
                self._windows(tiles, MOST * len(scenes)),
                self.loaded.adapt,
                scenes=scenes,
                simulated=self.simulated,
                device=self.loaded.stream.device,
            ),
        )
        loaded = self.loaded
        say_adapted(found, name, loaded.adapted_threshold if loaded.by_threshold else None)
        return found

    def _windows(self, tiles: Sequence[Tile], most: int) -> Iterator[NDArray[np.float32]]:
        """About `most` windows, spread over the tiles and in each, where anything is valid."""
        order = np.argsort([i * GOLDEN % 1 for i in range(len(tiles))], kind="stable")
        chosen = [tiles[i] for i in order[:most]]
        of_each = -(-most // len(chosen))
        for tile in chosen:
            yield from self._of_tile(tile, of_each)

    def _of_tile(self, tile: Tile, most: int) -> Iterator[NDArray[np.float32]]:
        required = self.loaded.stream.required
        shape = self.pixels.shape(tile)
        values = resampled(mark_invalid(self.inputs.read(tile)), shape, required)
        for window in spread_windows(shape[1], shape[0], SIDE)[:most]:
            rows, columns = window.slices
            part = values[:, rows, columns]
            if np.isfinite(part[:required]).all(axis=0).any():
                yield part
