"""Blended inference over a scene with a 1×1 convolution: all cost is ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from builtup.jobs.allocator import keep_freed_memory
from builtup.models.channels import Channels
from builtup.models.segmenter import Segmenter
from builtup.prediction.network import make_stream
from builtup.prediction.scene import predict_scene

keep_freed_memory()  # as the command line does at its start


def load(image: str, output: str, window: int, overlap: int, batch_size: int, threads: int) -> Any:
    """The model (bands, normalisation, a convolution to two classes) and the other arguments."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = Segmenter(Channels("linear_3b", (0.1,) * 3, (0.5,) * 3), torch.nn.Conv2d(3, 2, 1))
    return model, Path(image), Path(output), window, overlap, batch_size


def run(state: Any) -> dict[str, float]:
    """Predict into a COG; work in megapixels."""
    model, image, output, window, overlap, batch_size = state
    stream = make_stream(model, window=window, overlap=overlap, batch_size=batch_size, device="cpu")
    done = predict_scene(image, stream, output)
    return {"work": done.pixels / 1e6}
