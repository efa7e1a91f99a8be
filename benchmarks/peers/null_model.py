"""What every peer is given in the inference case: the network, and the scene's edges of the work.

The network is a 1×1 convolution from three bands to two classes, so that all cost is the
pipeline's. Peers that want an array get the scene read whole, normalised, its no-data 0; what they
give back is rounded to 254 steps, no-data set to 255, and written tiled and compressed, without
the overviews that we write.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray

MEAN, STD = 0.1, 0.5
NODATA = 255
LAYOUT = {
    "driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": NODATA, "tiled": True,
    "blockxsize": 512, "blockysize": 512, "compress": "zstd",
}  # fmt: skip


class BuildingProbability(torch.nn.Module):
    """Probability (B, 1, H, W) of the second class: for peers that blend what the network gives."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.network(images), 1)[:, 1:]


def make_network(threads: int) -> torch.nn.Module:
    """The convolution, the same on all sides; sets torch's threads."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    return torch.nn.Conv2d(3, 2, 1).eval()


def read_scene(image: str) -> tuple[NDArray[np.float32], NDArray[np.bool_], dict[str, Any]]:
    """The scene (3, H, W), normalised, no-data 0; where it is valid (H, W); its place."""
    with rasterio.open(image) as source:
        power = source.read()
        profile = {k: source.profile[k] for k in ("crs", "transform", "width", "height")}
    valid = np.isfinite(power[0])
    return normalise(power), valid, profile


def normalise(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """(power − mean) / std in place, no-data 0."""
    power -= MEAN
    power /= STD
    return np.nan_to_num(power, copy=False, nan=0.0)


def levels_of(probability: torch.Tensor, valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """8-bit levels (H, W) of a probability in 0…1."""
    levels: NDArray[np.uint8] = torch.round(probability * 254).to(torch.uint8).numpy()
    levels[~valid] = NODATA
    return levels


def write_levels(output: str, levels: NDArray[np.uint8], profile: dict[str, Any]) -> float:
    """Write the levels (H, W); return the megapixels written."""
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(output, "w", **LAYOUT, **profile) as target:
        target.write(levels, 1)
    return levels.size / 1e6
