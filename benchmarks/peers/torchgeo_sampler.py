"""TorchGeo's random sampler over an image and a mask of one scene, and perhaps its heights."""

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
    image: str,
    mask: str,
    size: int,
    patches: int,
    batch_size: int,
    seed: int,
    workers: int,
    height: str = "",
) -> Any:
    """A loader of `patches` random `size`-pixel patches, image and mask, in batches.

    Heights become a band behind those of the image, as TorchGeo joins images that intersect.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    images = _Image(paths=[image])
    dataset = (images & _Image(paths=[height]) if height else images) & _Mask(paths=[mask])
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
    return drawn, 4 if height else 3


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
