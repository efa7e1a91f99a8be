"""Random training patches, image and mask, from whole scenes through the training loader."""

from __future__ import annotations

from typing import Any

import torch

from builtup.data.loaders import train_loader


def load(tiles: str, size: int, patches: int, batch_size: int, seed: int) -> Any:
    """The loader that training uses, without augmentation and without workers."""
    torch.set_num_threads(1)
    return train_loader(
        tiles,
        val_fold=None,
        batch_size=batch_size,
        crop=size,
        sampler_weights=(1.0, 1.0),
        scale=None,
        flips=False,
        num_workers=0,
        seed=seed,
        samples_per_epoch=patches,
    )


def run(loader: Any) -> dict[str, float]:
    """Draw them all; work in patches."""
    count = 0
    for batch in loader:
        if batch["image"].shape[1] != 3 or batch["image"].shape[-2:] != batch["mask"].shape[-2:]:
            raise SystemExit(f"unexpected batch: {batch['image'].shape}, {batch['mask'].shape}")
        count += len(batch["image"])
    return {"work": count}
