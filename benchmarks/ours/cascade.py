"""A scene of six classes at one scale, or at several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from builtup.jobs.allocator import keep_freed_memory
from builtup.jobs.steps import Job
from builtup.models.channels import Channels
from builtup.models.networks import create_network
from builtup.models.segmenter import Segmenter
from builtup.models.small import SmallUNet
from builtup.prediction.cascade import Cascade, predict_source
from builtup.prediction.fold import Folding
from builtup.prediction.network import make_stream
from builtup.prediction.scene import stored_source
from builtup.runs.results import PredictionTags
from builtup.sensors.classes import Classes

keep_freed_memory()  # as the command line does at its start

CLASSES = Classes.of(("ground", "building", "clutter", "vegetation", "water", "car"))


def load(
    image: str,
    output: str,
    fold: str,
    stride: int,
    network: str,
    threads: int,
    batch: int,
    scales: list[float],
) -> Any:
    """A network of random weights, by the name that `made` knows; weights of logits are equal."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = Segmenter(Channels("linear_3b", (0.1,) * 3, (0.5,) * 3), made(network))
    overlap = 512 - 512 // stride if stride else 64
    how = {"window": 512, "overlap": overlap, "batch_size": batch, "device": "cpu"}
    stream = make_stream(model, classes=CLASSES, blend="gaussian", **how)
    if fold == "logits":
        equal = ((1 / len(scales),) * len(CLASSES),) * len(scales)
        cascade: Cascade | None = Cascade(Folding(fold, 1 / 3, equal), tuple(scales))
    else:
        cascade = Cascade.of(fold, 1 / 3, 2.0, tuple(scales), CLASSES)
    return stream, cascade, Path(image), Path(output)


def made(network: str) -> torch.nn.Module:
    """One convolution, the small U-Net, or that of configs/train/aerial/unet_mobilenet.py."""
    number = len(CLASSES)
    if network == "convolution":
        return torch.nn.Conv2d(3, number, 1)
    if network == "small":
        return SmallUNet(3, number, (32, 64, 128, 256))
    return create_network("unet", network, in_channels=3, num_classes=number)


def run(state: Any) -> dict[str, Any]:
    """Predict into a COG; work in megapixels of the scene."""
    stream, cascade, image, output = state
    source = stored_source(image)
    grid = source.grid
    tags = PredictionTags(
        "bench_{}", "38SLF_Bench", grid.width, grid.height, "", 0.5, CLASSES.names
    )
    job = Job("bench", (image,), (output / "raw" / "bench_prob.tif",), {"fold": str(cascade)})
    done = predict_source(source, stream, cascade, job, tags.of_kind("scene"))
    return {"work": done.pixels / 1e6, "facts": {"windows": done.windows}}
