"""TorchGeo's way over a scene: GridGeoSampler, DataLoader, patches stitched by hand.

TorchGeo 0.8 has no function that puts patches together (torchgeo/torchgeo, issues 30 and 1407): a
user samples the scene with GridGeoSampler, whose documentation asks for a stride below the size,
and finds each patch's place by its bounds, as those threads do. Overlaps are averaged, the
probabilities of the building alone, which is the least that a user can keep. Patches that reach
over the scene's edge come padded; what is outside is cut off.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import rasterio
import torch
from peers.null_model import BuildingProbability, levels_of, make_network, normalise, write_levels
from torch.utils.data import DataLoader
from torchgeo.datasets import RasterDataset, stack_samples
from torchgeo.samplers import GridGeoSampler


def load(image: str, output: str, window: int, overlap: int, batch_size: int, threads: int) -> Any:
    """The network, a loader of the scene's grid, and where the result goes."""
    model = BuildingProbability(make_network(threads)).eval()
    dataset = RasterDataset(paths=[image])
    sampler = GridGeoSampler(dataset, size=window, stride=window - overlap)
    loader = DataLoader(
        dataset, batch_size=batch_size, sampler=sampler, collate_fn=stack_samples, num_workers=0
    )
    return model, loader, image, output


def run(state: Any) -> dict[str, float]:
    """Predict, stitch and write; work in megapixels."""
    model, loader, image, output = state
    with rasterio.open(image) as scene:
        profile = {k: scene.profile[k] for k in ("crs", "transform", "width", "height")}
    shape = (profile["height"], profile["width"])
    total = torch.zeros(shape)
    count = torch.zeros(shape)
    valid = np.zeros(shape, bool)
    with torch.inference_mode():
        for batch in loader:
            power = batch["image"].numpy()
            seen = np.isfinite(power[:, 0])
            found = model(torch.from_numpy(normalise(power)))[:, 0]
            for patch, known, bounds in zip(found, seen, batch["bounds"], strict=True):
                rows, columns, inside = _place(bounds, profile["transform"], patch.shape, shape)
                total[rows, columns] += patch[inside]
                count[rows, columns] += 1
                valid[rows, columns] |= known[inside]
    total /= count
    return {"work": write_levels(output, levels_of(total, valid), profile)}


def _place(
    bounds: Any, transform: rasterio.Affine, patch: tuple[int, int], scene: tuple[int, int]
) -> tuple[slice, slice, tuple[slice, slice]]:
    """Rows and columns of the scene that a patch covers, and the part of it that lies inside."""
    x, y = bounds[0], bounds[1]
    column, row = ~transform @ (x.start, y.stop)
    first = round(row), round(column)
    starts = [max(0, at) for at in first]
    stops = [min(at + n, limit) for at, n, limit in zip(first, patch, scene, strict=True)]
    inside = tuple(slice(a - at, b - at) for at, a, b in zip(first, starts, stops, strict=True))
    return slice(starts[0], stops[0]), slice(starts[1], stops[1]), inside  # type: ignore[return-value]
