"""Cells with tags as samples: a cell and what surrounds it, its tags, and where it lies.

The mask of a sample is 0 in its cell and 255 in what surrounds it, which the network sees and no
loss counts; `tags` (K,) float32 are 1, 0 or a share of each class, NaN where nothing is known. Of a
folder whose tiles show blocks of cells the mask is the number of a cell, and `tags` are (n, K): a
row a cell, NaN where a tile has fewer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from builtup.data.datasets import Augmentation, TrainTiles
from builtup.data.loaders import TileLoader, open_folder, process_share
from builtup.data.radar import Radar
from builtup.data.samplers import Draw, TrainingBatches
from builtup.data.samples import Sample, layers_of_samples
from builtup.data.transforms import RandomCrop, dihedral
from builtup.errors import InputError
from builtup.geo.probability import IGNORE
from builtup.geo.windows import Window
from builtup.sensors.classes import BUILT_UP
from builtup.sensors.radar.names import plain_id
from builtup.tiles.normalisation import read_classes
from builtup.tiles.table import TrainTile
from builtup.tiles.tags import TAGS_CSV, CellTags, read_tags

__all__ = ["CellTiles", "tag_loader"]


class CellTiles(TrainTiles):
    """Crops of tiles that show cells, with the tags of these (`cells`, by tile id)."""

    cells: Mapping[str, Sequence[CellTags]] = {}
    #: The most cells of a tile.
    most = 1

    def __getitem__(self, draw: Draw | int) -> Sample:
        sample = super().__getitem__(draw)
        own = self.cells[self.tiles[sample["index"]].tile.tile_id]
        tags = torch.full((self.most, len(own[0].tags)), torch.nan)
        tags[: len(own)] = torch.tensor([of.tags for of in own], dtype=torch.float32)
        sample["tags"] = tags if self.most > 1 else tags[0]
        return sample

    def read(
        self, tile: TrainTile, window: Window
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float32] | None]:
        """As of any tile, and for the mask the numbers of its cells."""
        image, mask, height = super().read(tile, window)
        mask[:] = IGNORE
        for number, cell in enumerate(self.cells[tile.tile.tile_id]):
            part = cell.window.relative_to(tile.tile.window).intersection(window)
            if part is not None:
                mask[part.relative_to(window).slices] = number
        return image, mask, height


def tag_loader(
    folder: str | Path,
    *,
    val_fold: str | int | None,
    batch_size: int,
    crop: int = 256,
    flips: bool = True,
    radar: Radar | None = None,
    optical: Augmentation | None = None,
    num_workers: int = 0,
    seed: int = 0,
    channel_set: str = "",
    untagged: bool = False,
    samples_per_epoch: int | None = None,
) -> TileLoader:
    """The cells of a folder that `builtup.tiles.weaken` made, each as often as another.

    A sample is `crop` pixels, at least a cell or a block of them with its surroundings; what is
    smaller lies in its middle. Without `samples_per_epoch` each comes once an epoch. With
    `untagged` cells of which nothing is known come too. Of the ground that `val_fold` holds out
    there is none. Raises InputError where no cell is left.
    """
    folder = Path(folder)
    if not (folder / TAGS_CSV).is_file():
        raise InputError(folder / TAGS_CSV, "no such file", "run weaken first")
    tiles, folds, held, sensor = open_folder(folder, val_fold)
    classes = read_classes(folder) or BUILT_UP
    listed = read_tags(folder / TAGS_CSV, classes.names, classes.unscored)
    _require_shown(folder, listed, tiles)
    cells: dict[str, list[CellTags]] = {}
    for of in listed:
        if untagged or not all(map(math.isnan, of.tags)):
            cells.setdefault(of.tile_id, []).append(of)
    chosen = [
        tile
        for tile in tiles
        if tile.tile.tile_id in cells
        and tile.valid_fraction > 0
        and (held is None or folds.held_out(tile.tile, held, with_gap=True) is None)
    ]
    if not chosen:
        raise InputError(folder / TAGS_CSV, "no cell with tags to learn from", "weaken more scenes")
    _require_whole(folder, chosen, crop)
    batches = TrainingBatches(
        *(len(chosen), batch_size),
        weights=None,
        samples=samples_per_epoch,
        groups=None,
        seed=seed,
        **process_share(),
    )
    dataset = CellTiles(
        *(chosen, folds, held, RandomCrop(crop), dihedral() if flips else None, radar),
        sensor=sensor,
        layers=layers_of_samples(folder, sensor, channel_set, (), tiles),
        optical=optical,
    )
    dataset.cells, dataset.most = cells, max(map(len, cells.values()))
    return TileLoader(dataset, batches, tiles, num_workers=num_workers, folder=folder)


def _require_shown(folder: Path, cells: Sequence[CellTags], tiles: Sequence[TrainTile]) -> None:
    """InputError for a cell that the tile which is to show it does not."""
    shown = {of.tile.tile_id: of.tile for of in tiles}
    for cell in cells:
        tile, w = shown.get(cell.tile_id), cell.window
        if tile is None or plain_id(tile.scene) != cell.scene or tile.window.intersection(w) != w:
            where = f"the cell at {w.x}, {w.y} of {cell.scene}"
            problem = f"{where} lies in no tile of that name ({cell.tile_id or 'none is named'})"
            remedy = "give a list by hand to weaken (--tags), which cuts the tiles of its cells"
            raise InputError(folder / TAGS_CSV, problem, remedy)


def _require_whole(folder: Path, tiles: Sequence[TrainTile], crop: int) -> None:
    """InputError where a crop is smaller than a tile: the tag is of the cell, not of a part."""
    most: Any = max(max(t.tile.width, t.tile.height) for t in tiles)
    if most > crop:
        problem = f"its cells (or blocks) with their surroundings are {most} pixels wide, and crop "
        problem += f"is {crop}"
        raise InputError(folder / TAGS_CSV, problem, f"set crop to {most} or more")
