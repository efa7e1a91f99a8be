"""MONAI's sliding window over a whole scene, then the write of the 8-bit probabilities.

As MONAI's own examples do it (Project-MONAI/tutorials, 3d_segmentation/spleen_segmentation_3d):
the network is the predictor, its outputs are blended with MONAI's Gaussian weights, and activation
comes after.
"""

from __future__ import annotations

from typing import Any

import torch
from monai.inferers import sliding_window_inference
from peers.null_model import levels_of, make_network, read_scene, write_levels


def load(image: str, output: str, window: int, overlap: int, batch_size: int, threads: int) -> Any:
    """The network and the other arguments."""
    return make_network(threads), image, output, window, overlap, batch_size


def run(state: Any) -> dict[str, float]:
    """Predict and write; work in megapixels."""
    model, image, output, window, overlap, batch_size = state
    scene, valid, profile = read_scene(image)
    with torch.inference_mode():
        logits = sliding_window_inference(
            torch.from_numpy(scene)[None],
            (window, window),
            batch_size,
            model,
            overlap=overlap / window,
            mode="gaussian",
        )
        probability = torch.softmax(logits, 1)[0, 1]
    return {"work": write_levels(output, levels_of(probability, valid), profile)}
