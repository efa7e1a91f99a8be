"""TerraTorch's tiled inference over a whole scene, then the write of the 8-bit probabilities.

`tiled_inference` is what its tasks and its command line call for large images; its guide
(ibm.github.io/terratorch/stable/guide/inference, "Tiled inference") sets crop and stride. The
overlap is crop − stride − 2 · delta: with delta = 0 it is ours, and with padding, which exists for
delta's sake, switched off. What the network gives is blended (its default) and activated after.
"""

from __future__ import annotations

from typing import Any

import torch
from peers.null_model import levels_of, make_network, read_scene, write_levels
from terratorch.tasks.tiled_inference import tiled_inference


def load(image: str, output: str, window: int, overlap: int, batch_size: int, threads: int) -> Any:
    """The network and the other arguments."""
    return make_network(threads), image, output, window, overlap, batch_size


def run(state: Any) -> dict[str, float]:
    """Predict and write; work in megapixels."""
    model, image, output, window, overlap, batch_size = state
    scene, valid, profile = read_scene(image)
    logits = tiled_inference(
        model,
        torch.from_numpy(scene)[None],
        crop=window,
        stride=window - overlap,
        delta=0,
        padding=False,
        batch_size=batch_size,
    )
    with torch.inference_mode():
        probability = torch.softmax(logits, 1)[0, 1]
    return {"work": write_levels(output, levels_of(probability, valid), profile)}
