"""geoai's `semantic_inference_on_geotiff`, which its `semantic_segmentation` calls for a GeoTIFF.

It divides what it reads by 255 and knows no no-data, so the network undoes the first and sets NaN
to the mean. It gives its 8-bit mask the no-data value of the scene and fails where that is NaN:
what it reads is a copy without one, made before the clock starts. It writes a mask of classes and,
where asked, the probabilities of all classes as float32: these are asked for, since a map of
probabilities is what all sides make.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import rasterio
import torch
from geoai.train import semantic_inference_on_geotiff
from peers.null_model import MEAN, STD, make_network


class _FromBytes(torch.nn.Module):
    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        normal = (images * 255.0 - MEAN) / STD
        return self.network(torch.nan_to_num(normal, nan=0.0))


def load(image: str, output: str, window: int, overlap: int, batch_size: int, threads: int) -> Any:
    """The network, a copy of the scene and the other arguments."""
    model = _FromBytes(make_network(threads)).eval()
    bare = Path(output).with_name("scene.tif")
    shutil.copyfile(image, bare)
    with rasterio.open(bare, "r+") as scene:
        scene.nodata = None
    return model, str(bare), output, window, overlap, batch_size


def run(state: Any) -> dict[str, float]:
    """Predict and write; work in megapixels."""
    model, image, output, window, overlap, batch_size = state
    semantic_inference_on_geotiff(
        model,
        image,
        str(Path(output).with_name("classes.tif")),
        window_size=window,
        overlap=overlap,
        batch_size=batch_size,
        num_channels=3,
        num_classes=2,
        device=torch.device("cpu"),
        probability_path=output,
        quiet=True,
    )
    with rasterio.open(output) as done:
        return {"work": done.width * done.height / 1e6}
