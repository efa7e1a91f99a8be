"""pytorch-toolbelt's ImageSlicer and TileMerger, then the write of the 8-bit probabilities.

As its README does it ("Inference on huge images"): the image is split into tiles, a DataLoader
makes batches of them, TileMerger (the README's CudaTileMerger on the CPU) accumulates what the
network gives with the slicer's weights, here its "pyramid", and the margins are cropped at the
end. Activation comes after.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from peers.null_model import levels_of, make_network, read_scene, write_levels
from pytorch_toolbelt.inference.tiles import ImageSlicer, TileMerger
from pytorch_toolbelt.utils.torch_utils import tensor_from_rgb_image
from torch.utils.data import DataLoader


def load(image: str, output: str, window: int, overlap: int, batch_size: int, threads: int) -> Any:
    """The network and the other arguments."""
    return make_network(threads), image, output, window, overlap, batch_size


def run(state: Any) -> dict[str, float]:
    """Predict and write; work in megapixels."""
    model, image, output, window, overlap, batch_size = state
    scene, valid, profile = read_scene(image)
    rows = np.ascontiguousarray(np.moveaxis(scene, 0, -1))
    del scene
    slicer = ImageSlicer(rows.shape, window, window - overlap, weight="pyramid")
    tiles = [tensor_from_rgb_image(tile) for tile in slicer.split(rows)]
    merger = TileMerger(slicer.target_shape, 2, slicer.weight)
    with torch.inference_mode():
        for batch, coordinates in DataLoader(
            list(zip(tiles, slicer.crops, strict=True)), batch_size=batch_size
        ):
            merger.integrate_batch(model(batch), coordinates)
        merged = torch.softmax(merger.merge_(), 0)[1].numpy()
    probability = torch.from_numpy(slicer.crop_to_orignal_size(merged))
    return {"work": write_levels(output, levels_of(probability, valid), profile)}
