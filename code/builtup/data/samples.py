"""What a sample of a tile holds: image, mask, and further targets that a network is taught by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

import torch
from torch import Tensor

from builtup.errors import ConfigError
from builtup.geo.probability import IGNORE
from builtup.models.heads import TAGS, TARGETS
from builtup.sensors.catalogue import channel_sets, layers_of, sensor_of
from builtup.sensors.optical.cameras import HEIGHT
from builtup.sensors.sensor import Sensor
from builtup.tiles.normalisation import read_classes
from builtup.tiles.table import TrainTile

__all__ = [
    "LOG_PIXEL",
    "PRESENCE",
    "Batch",
    "Layers",
    "Sample",
    "layers_of_samples",
    "presence",
]

#: Targets that are made of a sample, not read: whether it has the mapped class, and the natural
#: logarithm of its pixels' side in metres.
PRESENCE, LOG_PIXEL = "presence", "log_pixel"


class Sample(TypedDict):
    """`image` (B, H, W) float32, the bands read and, behind them, the layers that are inputs;
    `mask` (H, W) uint8; the tile's `index`; where they are targets, `height` (1, H, W) float32 in
    metres, `presence` uint8 (1, 0, or 255 where no pixel is labelled), and `log_pixel` float32, of
    no dimension both; of cells `tags` (K,) or (n, K) float32 (`builtup.data.cells`). NaN is
    unknown."""

    image: Tensor
    mask: Tensor
    index: int
    height: NotRequired[Tensor]
    presence: NotRequired[Tensor]
    log_pixel: NotRequired[Tensor]
    tags: NotRequired[Tensor]


class Batch(TypedDict):
    """`image` (N, B, H, W) float32, `mask` (N, H, W) uint8, `index` (N,) int64, and where they are
    targets `height` (N, 1, H, W) float32, `presence` (N,) uint8, `log_pixel` (N,) float32,
    of cells `tags` (N, K) or (N, n, K) float32."""

    image: Tensor
    mask: Tensor
    index: Tensor
    height: NotRequired[Tensor]
    presence: NotRequired[Tensor]
    log_pixel: NotRequired[Tensor]
    tags: NotRequired[Tensor]


@dataclass(frozen=True)
class Layers:
    """What samples hold beside a sensor's bands: the layers that are `inputs`, and the `targets`.

    The names of layers: there is one, height; among the targets also presence, of class `mapped`,
    and log_pixel. Of a share `dropout` of the training samples the height is unknown as an input,
    so that a network learns to do without.
    """

    inputs: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    dropout: float = 0.0
    mapped: int = 1

    @property
    def read(self) -> bool:
        """Whether heights are read at all."""
        return HEIGHT in self.inputs or HEIGHT in self.targets

    def sample(
        self,
        image: Tensor,
        mask: Tensor,
        height: Tensor | None,
        index: int,
        metres: float | None = None,
    ) -> Sample:
        """A sample of the bands, and of what else is wanted; `metres` is the side of its pixels."""
        sample = Sample(image=image, mask=mask, index=index)
        if PRESENCE in self.targets:
            sample["presence"] = presence(mask, self.mapped)
        if LOG_PIXEL in self.targets:
            sample["log_pixel"] = torch.tensor(math.nan if metres is None else math.log(metres))
        if height is None:
            return sample
        if HEIGHT in self.targets:
            sample["height"] = height
        if HEIGHT in self.inputs:
            hidden = self.dropout > 0 and float(torch.rand(())) < self.dropout
            shown = torch.full_like(height, torch.nan) if hidden else height
            sample["image"] = torch.cat([image, shown])
        return sample


def presence(mask: Tensor, mapped: int) -> Tensor:
    """1 where any pixel of a mask is of class `mapped`, 0 where none is; 255 without a label."""
    if (mask == mapped).any():
        return torch.tensor(1, dtype=torch.uint8)
    return torch.tensor(0 if (mask != IGNORE).any() else IGNORE, dtype=torch.uint8)


def layers_of_samples(
    folder: str | Path,
    sensor: Sensor,
    channel_set: str,
    targets: tuple[str, ...],
    tiles: Sequence[TrainTile],
    dropout: float = 0.0,
) -> Layers:
    """What samples hold beside the sensor's bands; ConfigError where the data do not have that."""
    if channel_set and sensor_of(channel_set) != sensor:
        raise ConfigError(
            f"channel_set = {channel_set}: is computed from the bands of "
            f"{sensor_of(channel_set).name}, and the tiles in {folder} are of {sensor.name}; "
            f"choose one of {', '.join(channel_sets(sensor))}"
        )
    known = [name for name in TARGETS if name != TAGS]  # tags are of cells, not of tiles
    if strangers := [name for name in targets if name not in known]:
        raise ConfigError(
            f"targets = {targets!r}: no {strangers[0]!r}; there are {', '.join(known)}"
        )
    if not 0 <= dropout <= 1:
        raise ConfigError(f"height_dropout = {dropout}: expected a share from 0 to 1")
    classes = read_classes(Path(folder)) if PRESENCE in targets else None
    mapped = 1 if classes is None else classes.mapped_index
    layers = Layers(layers_of(channel_set), targets, dropout, mapped)
    if layers.read and all(tile.height is None for tile in tiles):
        wanted = f"channel_set = {channel_set}" if layers.inputs else f"targets = {targets!r}"
        raise ConfigError(
            f"{wanted}: the tiles in {folder} have no layer of heights; tile it into "
            f"{Path(folder) / HEIGHT} and run generate_tiles_stats again, or leave heights out"
        )
    return layers
