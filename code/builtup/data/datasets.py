"""Tiles as samples: images with NaN as no-data, and masks in which 255 is not learned or scored.

What a fold forbids is put into the mask here, so that loss and metrics need to know of 255 only.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, default_collate
from torchvision import tv_tensors
from torchvision.transforms import v2

from builtup.data.class_balance import Sought
from builtup.data.dates import other_dates, random_patch
from builtup.data.mixing import seeded
from builtup.data.pixels import PixelSizes
from builtup.data.radar import Radar
from builtup.data.samplers import Draw
from builtup.data.samples import LOG_PIXEL, PRESENCE, Batch, Layers, Sample
from builtup.data.transforms import (
    Crop,
    ResizePower,
    ignore_gaps,
    pad_sample,
    resize_classes,
    resize_power,
)
from builtup.geo.probability import IGNORE
from builtup.geo.uncompressed_reader import read_direct
from builtup.geo.windows import Window
from builtup.sensors.catalogue import DEFAULT
from builtup.sensors.optical.cameras import HEIGHT
from builtup.sensors.sensor import Sensor
from builtup.tiles.folds import Folds
from builtup.tiles.partition import exclusive_cores
from builtup.tiles.table import TrainTile
from builtup.tiles.tile import Tile, band_count, read_tile

#: Masks kept as they were decoded, and the largest of them: 64 MB in all.
KEPT_TILES, KEPT_PIXELS = 256, 512 * 512

__all__ = [
    "Augmentation",
    "TrainTiles",
    "ValidationTiles",
    "collate",
]


class Augmentation(Protocol):
    """What is changed of a camera's training samples, see `builtup.data.optical`."""

    def __call__(self, image: Tensor) -> Tensor:
        """Colours (3, H, W), 0 to 255 and NaN, changed where they lie."""

    def move(self, layers: dict[str, Tensor]) -> dict[str, Tensor]:
        """`image` (3, H, W), `mask` (H, W) and where there is one `height` (1, H, W), moved alike
        (turned, sheared): what comes in from outside is NaN, and 255 in the mask."""


class TrainTiles(Dataset[Sample]):
    """Random crops of training tiles, augmented; what the fold forbids is 255 in the mask.

    Indexed by `Draw`, whose seed decides crop and augmentation, or by a plain index, for which
    torch's generator does. `radar` changes the image when the mask is made, and so not the mask.
    Images hold the bands that are read of `sensor`. Patches of other dates come from `tiles`, or
    from `mixable` where that is given. Crops begin at multiples of `cell` pixels of their scene, so
    that those of so many cells hold whole ones, flipped or turned. `pixels` says as how large ones
    a tile's pixels are seen. Masks are of classes, or with `soft` of levels of a probability:
    (H, W) where their files have one band, as of two classes, else (K, H, W), a band a class. Some
    crops are centred on a pixel of a class that is `sought`, as far as the tile reaches.
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
        layers: Layers | None = None,
        optical: Augmentation | None = None,
        pixels: PixelSizes | None = None,
        soft: bool = False,
        sought: Sought | None = None,
    ) -> None:
        self.tiles = list(tiles)
        self.folds = folds
        self.val_fold = val_fold
        self.crop = crop
        self.sought = sought
        self.pixels = pixels or PixelSizes()
        self.cell = cell
        self.layers = layers or Layers()
        self.optical = optical
        self.soft = soft
        self.resize = ResizePower(crop.size, soft=soft)
        self.mask_bands = band_count(self.tiles[0].mask) if soft and self.tiles else 1
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
        with seeded(seed):
            window = self._window(tile, self._centre(index))
            image, mask, height = self.read(tile, window)
            self._mix(tile, window, image, mask)
            bands, labels, above = self._transform(image, mask, height)
            if self.optical is not None:
                bands, labels, above = _moved(self.optical, bands, labels, above)
            # before augmentation: what it hides, the network must fill from the surroundings
            labels = ignore_gaps(bands, labels)
            bands = self.radar(bands) if self.optical is None else self.optical(bands)
            side = math.sqrt(window.height * window.width) / self.crop.size
            metres = self.pixels.metres(tile, side)
            return self.layers.sample(bands, labels, above, index, metres)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of what the samples' images hold."""
        return (*self.sensor.names, *self.layers.inputs)

    def read(
        self, tile: TrainTile, window: Window
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float32] | None]:
        """Image, mask and height, if wanted, of a window, as far as the fold allows."""
        allowed = self.folds.training_allowed(tile, self.val_fold)
        return _read(
            *(tile, self.sensor, window, allowed),
            hidden=True,
            with_height=self.layers.read,
            mask_bands=self.mask_bands,
        )

    def _centre(self, index: int) -> tuple[int, int] | None:
        """Row and column of a pixel of the class that is sought, for some draws of a tile."""
        if self.sought is None or float(torch.rand(())) >= self.sought.shares[index]:
            return None
        one = self.tiles[index]
        mask = np.empty((1, one.tile.height, one.tile.width), np.uint8)
        _bands(one.mask, [1], Window(0, 0, *mask.shape[1:]), mask)
        allowed = self.folds.training_allowed(one, self.val_fold)
        found = mask[0] == self.sought.number
        places = np.flatnonzero(found if allowed is None else found & allowed)
        if not len(places):
            return None
        row, column = divmod(int(places[int(torch.randint(len(places), ()))]), one.tile.width)
        return row, column

    def _window(self, one: TrainTile, centre: tuple[int, int] | None = None) -> Window:
        """A random crop of the tile, or one about a pixel of it, moved up and left to where cells
        of its scene begin."""
        tile, factor = one.tile, self.pixels.factor(one)
        height, width = (max(1, round(side / factor)) for side in (tile.height, tile.width))
        window = self.crop.window(height, width)  # of the tile as it is seen
        if centre is not None:
            row, column = (round(place / factor) for place in centre)
            y = _about(row, window.y, window.height, height)
            window = Window(
                y, _about(column, window.x, window.width, width), window.height, window.width
            )
        if factor != 1:
            y, x = round(window.y * factor), round(window.x * factor)
            height, width = (max(1, round(s * factor)) for s in (window.height, window.width))
            window = Window(y, x, height, width)
        y, x = (tile.y + window.y) % self.cell, (tile.x + window.x) % self.cell
        return Window(window.y - y, window.x - x, window.height, window.width)

    def _transform(
        self, image: NDArray[Any], mask: NDArray[Any], height: NDArray[Any] | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """All at the crop's size, flipped and turned alike; most are of that size already."""
        parts: tuple[Tensor, ...] = (tv_tensors.Image(image), tv_tensors.Mask(mask))
        if height is not None:  # apart from the bands: where it is unknown, they need not be
            parts = (*parts, tv_tensors.Image(height))
        if mask.shape[-2:] != (self.crop.size, self.crop.size):
            parts = self.resize(*parts)
        if self.augment is not None:
            parts = self.augment(*parts)
        bands, labels, *above = (part.as_subclass(Tensor) for part in parts)
        return bands, labels, above[0] if above else None

    def _mix(
        self, tile: TrainTile, window: Window, image: NDArray[Any], mask: NDArray[Any]
    ) -> None:
        """Put a patch of another date into image (B, h, w) and mask of the window."""
        others = self.dates.get(tile.tile.tile_id)
        if not others or float(torch.rand(())) >= self.radar.mix_dates:
            return
        other = others[int(torch.randint(len(others), ()))]
        patch = random_patch(window)
        rows, columns = patch.relative_to(window).slices
        allowed = self.folds.training_allowed(other, self.val_fold)
        image[:, rows, columns], mask[..., rows, columns], _ = _read(
            other, self.sensor, patch, allowed, hidden=True, mask_bands=self.mask_bands
        )


def _about(place: int, start: int, side: int, whole: int) -> int:
    """Where a crop of `side` pixels about a place begins; where it is larger than all, `start`."""
    return start if side >= whole else min(max(place - side // 2, 0), whole - side)


def _moved(
    optical: Augmentation, image: Tensor, mask: Tensor, height: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    layers = {"image": image, "mask": mask}
    moved = optical.move(layers if height is None else {**layers, HEIGHT: height})
    return moved["image"], moved["mask"], moved.get(HEIGHT)


class ValidationTiles(Dataset[Sample]):
    """Whole tiles, each scored on its own core, so that no pixel of a scene counts twice.

    What is scored is the ground of the fold `val_fold`, or with `of_training` the ground that
    training may learn from. `all_tiles` are those from which the tiles were chosen. Tiles whose
    pixels are far from those that `pixels` asks for are resized, their masks too.
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
        layers: Layers | None = None,
        pixels: PixelSizes | None = None,
    ) -> None:
        self.tiles = list(tiles)
        self.folds = folds
        self.val_fold = val_fold
        self.pixels = pixels or PixelSizes()
        self.of_training = of_training
        self.sensor = sensor
        self.layers = replace(layers or Layers(), dropout=0.0)
        self._of_scene: dict[str, list[TrainTile]] = defaultdict(list)
        for tile in all_tiles:
            self._of_scene[tile.tile.scene].append(tile)

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, index: int) -> Sample:
        tile = self.tiles[index]
        image, mask, height = _read(
            tile, self.sensor, None, self._scored(tile), with_height=self.layers.read
        )
        bands, above = torch.from_numpy(image), None if height is None else torch.from_numpy(height)
        labels = ignore_gaps(bands, torch.from_numpy(mask))
        factor = 1.0 if self.pixels.near(tile) else self.pixels.factor(tile)
        if factor != 1:
            seen = self.pixels.shape(tile)
            bands, labels = resize_power(bands, seen), resize_classes(labels, seen)
            labels = ignore_gaps(bands, labels)
            above = None if above is None else resize_power(above, seen)
        return self.layers.sample(bands, labels, above, index, self.pixels.metres(tile, factor))

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of what the samples' images hold."""
        return (*self.sensor.names, *self.layers.inputs)

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
    height, width = (max(s["mask"].shape[axis] for s in samples) for axis in (-2, -1))
    padded = [pad_sample(s["image"], s["mask"], height, width) for s in samples]
    batch: Batch = {
        "image": default_collate([image for image, _ in padded]),
        "mask": default_collate([mask for _, mask in padded]),
        "index": torch.tensor([s["index"] for s in samples], dtype=torch.int64),
    }
    if HEIGHT in samples[0]:
        above = [pad_sample(s["height"], s["mask"], height, width)[0] for s in samples]
        batch["height"] = default_collate(above)
    if PRESENCE in samples[0]:
        batch["presence"] = torch.stack([s["presence"] for s in samples])
    if "tags" in samples[0]:
        batch["tags"] = torch.stack([s["tags"] for s in samples])
    if LOG_PIXEL in samples[0]:
        batch["log_pixel"] = torch.stack([s["log_pixel"] for s in samples])
    return batch


def _read(
    tile: TrainTile,
    sensor: Sensor,
    window: Window | None,
    used: NDArray[np.bool_] | None,
    *,
    hidden: bool = False,
    with_height: bool = False,
    mask_bands: int = 1,
) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float32] | None]:
    """Image (B, h, w), mask (h, w) and, if wanted, height (1, h, w) of a window of the tile, which
    may reach over its edges. Of several `mask_bands` the mask is (K, h, w).

    Outside the tile nothing is known: NaN, and 255 in the mask. Where `used` is false the mask is
    255, and with `hidden` image and height NaN: a network learns from backscatter without labels
    too, by its batch-norm statistics if by nothing else.
    """
    whole = Window(0, 0, tile.tile.height, tile.tile.width)
    window = window or whole
    part = window.intersection(whole)
    shape, bands = (window.height, window.width), len(sensor.read)
    height = np.full((1, *shape), np.nan, np.float32) if with_height else None
    if part == window:
        image = np.empty((bands, *shape), np.float32)
        mask = np.empty((mask_bands, *shape), np.uint8)
    else:
        image = np.full((bands, *shape), np.nan, np.float32)
        mask = np.full((mask_bands, *shape), IGNORE, np.uint8)
    if part is not None:
        rows, columns = part.relative_to(window).slices
        inside = image[:, rows, columns]
        _seen(tile.tile, sensor, part, inside)
        _bands(tile.mask, list(range(1, mask_bands + 1)), part, mask[:, rows, columns])
        layers = [inside]
        if height is not None and tile.height is not None:
            layers.append(height[:, rows, columns])
            _bands(tile.height, [1], part, layers[1])
        if used is not None:
            unused = ~used[part.slices]
            mask[:, rows, columns][:, unused] = IGNORE
            if hidden:
                for layer in layers:
                    layer[:, unused] = np.nan
    return image, mask if mask_bands > 1 else mask[0], height


def _seen(tile: Tile, sensor: Sensor, window: Window, out: NDArray[np.float32]) -> None:
    """The bands that are read of a sensor, NaN where its alpha says that there is no data."""
    if sensor.alpha is None:
        _bands(tile, list(sensor.read), window, out)
        return
    stored = np.empty((len(sensor.read) + 1, window.height, window.width), np.uint8)
    _bands(tile, [*sensor.read, sensor.alpha], window, stored)
    out[:] = stored[:-1]
    out[:, stored[-1] == 0] = np.nan


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
