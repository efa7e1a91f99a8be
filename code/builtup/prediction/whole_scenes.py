"""Whole scenes of an inference config (`by = "scenes"`): what several scales need.

The tiles of the config say which scenes there are, what of them may be predicted and what is
scored; each scene is predicted by the windows of the recipe into `<folder>/raw/`, as `predict` does
it, and there is nothing to merge.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builtup.data.pixels import PixelSizes
from builtup.errors import ConfigError
from builtup.geo.grid import Grid
from builtup.geo.rasters import create_cog, gdal_env, open_raster, read_window
from builtup.geo.windows import Window, aligned
from builtup.jobs.steps import Job, Step, describe_input, is_done, record_done
from builtup.prediction.adapt import ADAPTED
from builtup.prediction.beyond import beyond
from builtup.prediction.cascade import Cascade, predict_source
from builtup.prediction.network import mark_invalid, within_memory
from builtup.prediction.progress import Advance, progress
from builtup.prediction.raster import Source
from builtup.prediction.tiles import Tally, TileWork, score_tile
from builtup.runs.results import RAW, scene_stem, write_tags
from builtup.sensors.radar.names import plain_id
from builtup.tiles.inputs import TileInputs
from builtup.tiles.tile import Tile, open_tile_grid

__all__ = ["predict_whole_scenes", "require_whole_scenes", "scenes_of"]

log = logging.getLogger(__name__)

Float = NDArray[np.float32]
STEP = Step("infer_scenes", 1)


def scenes_of(tiles: Sequence[Tile]) -> list[tuple[Tile, ...]]:
    """The tiles of each scene, in their order."""
    together: dict[str, list[Tile]] = defaultdict(list)
    for tile in tiles:
        together[tile.scene].append(tile)
    return [tuple(of) for of in together.values()]


def require_whole_scenes(data_path: Path, tiles: Sequence[Tile], pixels: PixelSizes) -> None:
    """ConfigError where the list of tiles names files of tiles instead of scenes, or scenes whose
    pixels are far from those that the network has learnt from."""
    if any(tile.materialized for tile in tiles):
        raise ConfigError(
            f"data_path={data_path}: lists files of tiles, and by='scenes' (which several "
            "scales need) reads whole scenes; cut the tiles with materialize=false"
        )
    if other := [tile.path for tile in tiles if not pixels.near(tile)]:
        raise ConfigError(
            f"by='scenes': {other[0]}: the network has learnt from pixels of {pixels.reference:g} "
            "m, and these are others; set by='tiles', which are resampled, or map it by predict"
        )


def predict_whole_scenes(
    work: TileWork,
    scenes: Sequence[tuple[Tile, ...]],
    cascade: Cascade | None,
    settings: Mapping[str, Any],
    *,
    quiet: bool = False,
) -> Tally:
    """Predict, write and score scenes, each given by its tiles.

    `settings` are what pixels depend on. Scenes found whole in the folder of `work`, or in that of
    the run that it goes on with, are not predicted again.
    """
    cities, number = work.selection.cities, len(work.classes)
    tally = Tally(np.zeros((len(cities), number, number), np.int64))
    drawn = {tile.tile_id for tile in work.selection.tiles[: work.overlays]}
    pixels = sum(np.prod(work.selection.scene_size(tiles[0])) for tiles in scenes)
    with progress("inference", int(pixels), quiet=quiet) as advance:
        for tiles in scenes:
            scene = _Scene.of(work, tiles, cascade, settings)
            path = scene.predict(tally, advance)
            with gdal_env(), open_raster(path) as raster:
                for tile in tiles:
                    if work.scored or tile.tile_id in drawn:
                        values = read_window(raster, tile.window)
                        power = work.inputs.read(tile) if tile.tile_id in drawn else None
                        score_tile(work, tile, values, power, tally)
    return tally


@dataclass(frozen=True)
class _Scene:
    """One scene: the tile that is all of it, and how it is predicted."""

    work: TileWork
    tiles: tuple[Tile, ...]
    whole: Tile
    cascade: Cascade | None
    settings: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        work: TileWork,
        tiles: tuple[Tile, ...],
        cascade: Cascade | None,
        settings: Mapping[str, Any],
    ) -> _Scene:
        width, height = work.selection.scene_size(tiles[0])
        whole = replace(tiles[0], x=0, y=0, width=width, height=height)
        return cls(work, tiles, whole, cascade, settings)

    def predict(self, tally: Tally, advance: Advance) -> Path:
        """Its raster, which is predicted where it is not there."""
        work, own = self.work, self.job(self.work.folder)
        if is_done(STEP, own):
            tally.kept += len(self.tiles)
            return own.outputs[0]
        inputs = [describe_input(path) for path in own.inputs]
        own.forget()
        before = None if work.previous is None else self.job(work.previous)
        if before is not None and is_done(STEP, before):
            self._take_over(before.outputs[0], own.outputs[0])
            tally.kept += len(self.tiles)
        else:
            predict = partial(self._predict, own, advance)
            within_memory(own.name, predict)
            tally.predicted += len(self.tiles)
            tally.pixels += self.whole.width * self.whole.height
        record_done(STEP, own, inputs)
        return own.outputs[0]

    def job(self, folder: Path | None) -> Job:
        """What its raster in a folder depends on."""
        work, tile = self.work, self.whole
        assert folder is not None
        network = work.network(tile)  # looks at the scene, where it is adapted to
        adapted = sorted((folder / ADAPTED).glob(f"{plain_id(tile.scene)}.safetensors"))
        heights = [of.path for of in self._inputs().heights.values()]
        held = work.selection.held_out(tile)
        return Job(
            name=plain_id(tile.scene),
            inputs=(tile.path, *heights, *adapted),
            outputs=(folder / RAW / f"{scene_stem(tile.scene, tile.city)}.tif",),
            settings={
                **self.settings,
                "scene": tile.scene,
                "city": tile.city,
                "threshold": network.threshold,
                "adapted": network.adapted,
                "held": None if held is None else [held.y, held.x, held.height, held.width],
                **beyond((self.whole.height, self.whole.width), work.stream.window),
            },
        )

    def _inputs(self) -> TileInputs:
        """What is read of the whole scene: the rasters that its tiles lie in."""
        beside = self.work.inputs.heights.get(self.tiles[0].tile_id)
        width, height = self.whole.width, self.whole.height
        heights = {}
        if beside is not None:
            heights[self.whole.tile_id] = replace(beside, x=0, y=0, width=width, height=height)
        return replace(self.work.inputs, heights=heights)

    def _predict(self, job: Job, advance: Advance) -> None:
        work, tile = self.work, self.whole
        network = work.network(tile)
        grid = open_tile_grid(tile)
        held = work.selection.held_out(tile)
        everything = held == Window(0, 0, tile.height, tile.width)
        limits = None if everything or held is None else _HeldOut(grid, held)
        source = Source(partial(_read, self._inputs(), tile), grid, str(tile.path), area=limits)
        tags = work.tags(tile).of_kind("scene")
        predict_source(source, network.stream, self.cascade, job, tags, advance=advance)

    def _take_over(self, earlier: Path, final: Path) -> None:
        """The pixels of an earlier run, under the tags of this one."""
        tags = self.work.tags(self.whole).of_kind("scene")
        with gdal_env(), open_raster(earlier) as source:
            profile = {"count": source.count, "dtype": "uint8", "nodata": source.nodata}
            with create_cog(final, Grid.of(source), **profile) as out:
                write_tags(out, tags)
                out.descriptions = source.descriptions
                for window in aligned(source.width, source.height, (512, 512)):
                    out.write(read_window(source, window), window=window.rasterio)


@contextmanager
def _read(inputs: TileInputs, tile: Tile) -> Iterator[Callable[[Window], Float]]:
    """What reads windows of a scene, as its tiles are read."""
    yield lambda window: mark_invalid(inputs.read(tile, window))


@dataclass(frozen=True)
class _HeldOut:
    """The part of a scene that may be predicted, as limits on any grid of its ground."""

    full: Grid
    part: Window

    def on(self, grid: Grid) -> _HeldOutOn:
        """On the scene's grid, or on that of a scale."""
        return _HeldOutOn(self.part, grid.resolution[0] / self.full.resolution[0])


@dataclass(frozen=True)
class _HeldOutOn:
    part: Window
    ratio: float  # pixels of the scene for one of the grid

    def meets(self, window: Window) -> bool:
        """Whether any of it lies in a window."""
        return bool(self.holds(window).any())

    def holds(self, window: Window) -> NDArray[np.bool_]:
        """(height, width): the pixels of a window whose centre lies in it."""
        rows = (np.arange(window.y, window.y + window.height) + 0.5) * self.ratio
        columns = (np.arange(window.x, window.x + window.width) + 0.5) * self.ratio
        part = self.part
        down = (rows > part.y) & (rows < part.y + part.height)
        across = (columns > part.x) & (columns < part.x + part.width)
        return np.logical_and.outer(down, across)
