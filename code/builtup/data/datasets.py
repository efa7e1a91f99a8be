"""Tiles as samples: images with NaN as no-data, and masks in which 255 is not learned or scored.

What a fold forbids is put into the mask here, so that loss and metrics need to know of 255 only.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, default_collate
from torchvision import tv_tensors
from torchvision.transforms import v2

from builtup.data.dates import other_dates, random_patch
from builtup.data.radar import Radar
from builtup.data.samplers import Draw
from builtup.data.transforms import Crop, ResizePower, ignore_gaps, pad_sample
from builtup.geo.probability import IGNORE
from builtup.geo.uncompressed_reader import read_direct
from builtup.geo.windows import Window
from builtup.sensors.catalogue import DEFAULT
from builtup.sensors.sensor import Sensor
from builtup.tiles.folds import Folds
from builtup.tiles.partition import exclusive_cores
from builtup.tiles.table import TrainTile
from builtup.tiles.tile import Tile, read_tile

#: Masks kept as they were decoded, and the largest of them: 64 MB in all.
KEPT_TILES, KEPT_PIXELS = 256, 512 * 512

__all__ = ["Batch", "Sample", "TrainTiles", "ValidationTiles", "collate"]


class Sample(TypedDict):
    """`image` (B, H, W) float32, the bands read; `mask` (H, W) uint8; the tile's `index`."""

    image: Tensor
    mask: Tensor
    index: int


class Batch(TypedDict):
    """`image` (N, B, H, W) float32, `mask` (N, H, W) uint8, `index` (N,) int64."""

    image: Tensor
    mask: Tensor
    index: Tensor


class TrainTiles(Dataset[Sample]):
    """Random crops of training tiles, augmented; what the fold forbids is 255 in the mask.

    Indexed by `Draw`, whose seed decides crop and augmentation, or by a plain index, for which
    torch's generator does. `radar` changes the image when the mask is made, and so not the mask.
    Images hold the bands that are read of `sensor`. Patches of other dates come from `tiles`, or
    from `mixable` where that is given. Crops begin at multiples of `cell` pixels of their scene, so
    that those of so many cells hold whole ones, flipped or turned.
    """

    def __init__(
        self,
        tiles: Sequence[TrainTile],
        folds: Folds,
        val_fold: int | None,
        crop: Crop,
        augment: v2.Transform | None = None,
        radar: Radar | None = None,
        mixable: Sequence[TrainTile] | None = None,
        sensor: Sensor = DEFAULT,
        cell: int = 1,
    ) -> None:
        self.tiles = list(tiles)
        self.folds = folds
        self.val_fold = val_fold
        self.crop = crop
        self.cell = cell
        self.resize = ResizePower(crop.size)
        self.augment = augment
        self.radar = radar or Radar()
        self.sensor = sensor
        self.dates: Mapping[str, tuple[TrainTile, ...]] = {}
        if self.radar.mix_dates:
            self.dates = other_dates(self.tiles if mixable is None else mixable, folds)

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, draw: Draw | int) -> Sample:
        index, seed = (draw.index, draw.seed) if isinstance(draw, Draw) else (draw, None)
        tile = self.tiles[index]
        with _seeded(seed):
            window = self._window(tile.tile)
            allowed = self.folds.training_allowed(tile, self.val_fold)
            image, mask = _read(tile, self.sensor, window, allowed, hidden=True)
            self._mix(tile, window, image, mask)
            sample = _sample(*self._transform(image, mask), index)
            sample["image"] = self.radar(sample["image"])
        return sample

    def _window(self, tile: Tile) -> Window:
        """A random crop of the tile, moved up and left to where cells of its scene begin."""
        window = self.crop.window(tile.height, tile.width)
        y, x = (tile.y + window.y) % self.cell, (tile.x + window.x) % self.cell
        return Window(window.y - y, window.x - x, window.height, window.width)

    def _transform(self, image: NDArray[Any], mask: NDArray[Any]) -> tuple[Tensor, Tensor]:
        """Image and mask at the crop's size, flipped and turned; most are of that size already."""
        both: tuple[Tensor, Tensor] = (tv_tensors.Image(image), tv_tensors.Mask(mask))
        if mask.shape != (self.crop.size, self.crop.size):
            both = self.resize(*both)
        return both if self.augment is None else self.augment(*both)

    def _mix(
        self, tile: TrainTile, window: Window, image: NDArray[Any], mask: NDArray[Any]
    ) -> None:
        """Put a patch of another date into image (B, h, w) and mask (h, w) of the window."""
        others = self.dates.get(tile.tile.tile_id)
        if not others or float(torch.rand(())) >= self.radar.mix_dates:
            return
        other = others[int(torch.randint(len(others), ()))]
        patch = random_patch(window)
        rows, columns = patch.relative_to(window).slices
        allowed = self.folds.training_allowed(other, self.val_fold)
        image[:, rows, columns], mask[rows, columns] = _read(
            other, self.sensor, patch, allowed, hidden=True
        )


class ValidationTiles(Dataset[Sample]):
    """Whole tiles, each scored on its own core, so that no pixel of a scene counts twice.

    What is scored is the ground of the fold `val_fold`, or with `of_training` the ground that
    training may learn from. `all_tiles` are those from which the tiles were chosen.
    """

    def __init__(
        self,
        tiles: Sequence[TrainTile],
        all_tiles: Sequence[TrainTile],
        folds: Folds,
        val_fold: int | None,
        *,
        of_training: bool = False,
        sensor: Sensor = DEFAULT,
    ) -> None:
        self.tiles = list(tiles)
        self.folds = folds
        self.val_fold = val_fold
        self.of_training = of_training
        self.sensor = sensor
        self._of_scene: dict[str, list[TrainTile]] = defaultdict(list)
        for tile in all_tiles:
            self._of_scene[tile.tile.scene].append(tile)

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, index: int) -> Sample:
        tile = self.tiles[index]
        image, mask = _read(tile, self.sensor, None, self._scored(tile))
        return _sample(torch.from_numpy(image), torch.from_numpy(mask), index)

    def _scored(self, tile: TrainTile) -> NDArray[np.bool_]:
        of_scene = self._of_scene[tile.tile.scene]
        if not self.of_training and self.val_fold is not None:
            return self.folds.validation_scored(tile, of_scene, self.val_fold)
        core = exclusive_cores(t.tile for t in of_scene)[tile.tile.tile_id]
        scored = np.zeros((tile.tile.height, tile.tile.width), dtype=bool)
        scored[core.relative_to(tile.tile.window).slices] = True
        allowed = self.folds.training_allowed(tile, self.val_fold)
        return scored if allowed is None else scored & allowed


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples, the smaller filled up with no-data to the right and below.

    In a loader process they are stacked in memory that it shares with the one that trains.
    """
    height = max(s["mask"].shape[0] for s in samples)
    width = max(s["mask"].shape[1] for s in samples)
    padded = [pad_sample(s["image"], s["mask"], height, width) for s in samples]
    return {
        "image": default_collate([image for image, _ in padded]),
        "mask": default_collate([mask for _, mask in padded]),
        "index": torch.tensor([s["index"] for s in samples], dtype=torch.int64),
    }


def _sample(image: Tensor, mask: Tensor, index: int) -> Sample:
    image, mask = image.as_subclass(Tensor), mask.as_subclass(Tensor)
    return {"image": image, "mask": ignore_gaps(image, mask), "index": index}


def _read(
    tile: TrainTile,
    sensor: Sensor,
    window: Window | None,
    used: NDArray[np.bool_] | None,
    *,
    hidden: bool = False,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Image (B, h, w) and mask (h, w) of a window of the tile, which may reach over its edges.

    Outside the tile nothing is known: NaN, and 255 in the mask. Where `used` is false the mask is
    255, and with `hidden` the image NaN: a network learns from backscatter without labels too,
    by its batch-norm statistics if by nothing else.
    """
    whole = Window(0, 0, tile.tile.height, tile.tile.width)
    window = window or whole
    part = window.intersection(whole)
    shape, bands = (window.height, window.width), len(sensor.read)
    if part == window:
        image, mask = np.empty((bands, *shape), np.float32), np.empty(shape, np.uint8)
    else:
        image, mask = np.full((bands, *shape), np.nan, np.float32), np.full(shape, IGNORE, np.uint8)
    if part is not None:
        rows, columns = part.relative_to(window).slices
        inside = image[:, rows, columns]
        _bands(tile.tile, list(sensor.read), part, inside)
        _bands(tile.mask, [1], part, mask[None, rows, columns])
        if used is not None:
            unused = ~used[part.slices]
            mask[rows, columns][unused] = IGNORE
            if hidden:
                inside[:, unused] = np.nan
    return image, mask


def _bands(tile: Tile, indexes: list[int], window: Window, out: NDArray[Any]) -> None:
    """Read without GDAL where the file allows; of small compressed files keep what was decoded."""
    part = window
    if not tile.materialized:
        part = Window(window.y + tile.y, window.x + tile.x, window.height, window.width)
    if read_direct(tile.path, part, indexes, out) is not None:
        return
    if tile.materialized and tile.width * tile.height <= KEPT_PIXELS and indexes == [1]:
        out[:] = _decoded(tile, tile.path.stat().st_mtime_ns)[:, *window.slices]
    else:
        out[:] = read_tile(tile, indexes, window)


@functools.lru_cache(maxsize=KEPT_TILES)
def _decoded(tile: Tile, mtime_ns: int) -> NDArray[Any]:
    return read_tile(tile, [1])


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Seed torch's CPU generator for one sample, and give it its state back.

    Not torch.manual_seed, which would seed the accelerators, and dropout with them, as well.
    """
    if seed is None:
        yield
        return
    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(state)
