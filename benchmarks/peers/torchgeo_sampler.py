"""TorchGeo's random sampler over an image and a mask of one scene."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader
from torchgeo.datasets import RasterDataset, stack_samples
from torchgeo.samplers import RandomGeoSampler


class _Image(RasterDataset):
    is_image = True


class _Mask(RasterDataset):
    is_image = False


def load(
    image: str, mask: str, size: int, patches: int, batch_size: int, seed: int, workers: int
) -> Any:
    """A loader of `patches` random `size`-pixel patches, image and mask, in batches."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    dataset = _Image(paths=[image]) & _Mask(paths=[mask])
    sampler = RandomGeoSampler(
        dataset, size=size, length=patches, generator=torch.Generator().manual_seed(seed)
    )
    drawn = iter(
        DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            collate_fn=stack_samples,
            num_workers=workers,
        )
    )
    next(drawn)  # loader processes, which last for a training, have started
    return drawn


def run(drawn: Any) -> dict[str, float]:
    """Draw all but the first batch; work in patches."""
    count = 0
    for batch in drawn:
        if batch["image"].shape[1] != 3 or batch["image"].shape[-2:] != batch["mask"].shape[-2:]:
            raise SystemExit(f"unexpected batch: {batch['image'].shape}, {batch['mask'].shape}")
        count += len(batch["image"])
    return {"work": count}
