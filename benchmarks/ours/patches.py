"""Random training patches, image and mask, from whole scenes through the training loader.

Of orthomosaics with their height above ground, as a fourth input.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from builtup.data.datasets import TrainTiles
from builtup.data.loaders import TileLoader
from builtup.data.samplers import TrainingBatches
from builtup.data.samples import Layers
from builtup.data.transforms import RandomCrop
from builtup.sensors.optical.cameras import HEIGHT, RGB
from builtup.sensors.radar.sentinel1 import SENTINEL1
from builtup.tiles.folds import Folds
from builtup.tiles.table import TrainTile
from builtup.tiles.tile import read_tiles


def load(
    tiles: str,
    size: int,
    patches: int,
    batch_size: int,
    seed: int,
    workers: int,
    height: bool = False,
) -> Any:
    """The loader that training uses, without augmentation.

    All tiles alike, nothing held out: the statistics, which decide that, are not needed.
    """
    torch.set_num_threads(1)
    kinds = ("images", "masks", *(("height",) if height else ()))
    lists = (read_tiles(Path(tiles) / kind / "tiles.csv") for kind in kinds)
    rows = [
        TrainTile(image, mask, 0, 1.0, 0.5, False, height=above[0] if above else None)
        for image, mask, *above in zip(*lists, strict=True)
    ]
    dataset = TrainTiles(
        *(rows, Folds("city", ("none",), 0, {}), None, RandomCrop(size)),
        sensor=RGB if height else SENTINEL1,
        layers=Layers(inputs=(HEIGHT,)) if height else None,
    )
    weights = [1.0] * len(rows)
    batches = TrainingBatches(len(rows), batch_size, weights=weights, samples=patches, seed=seed)
    drawn = iter(TileLoader(dataset, batches, rows, num_workers=workers))
    next(drawn)  # loader processes, which last for a training, have started
    return drawn, 4 if height else 2


def run(loaded: Any) -> dict[str, float]:
    """Draw all but the first batch; work in patches."""
    (drawn, bands), count = loaded, 0
    for batch in drawn:
        if (
            batch["image"].shape[1] != bands
            or batch["image"].shape[-2:] != batch["mask"].shape[-2:]
        ):
            raise SystemExit(f"unexpected batch: {batch['image'].shape}, {batch['mask'].shape}")
        count += len(batch["image"])
    return {"work": count}
