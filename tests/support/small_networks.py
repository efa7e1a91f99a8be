"""Networks that are quick to convert, and power with every kind of gap."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from builtup.models.channels import Channels, channel_sets
from builtup.models.segmenter import Segmenter
from builtup.models.small import SmallUNet
from builtup.prediction.network import make_stream
from helpers import speckle

WINDOW, OVERLAP = 32, 8


def segmenter(channel_set: str = "db_3b", classes: int = 2, widths: tuple[int, ...] = (4, 8)):
    torch.manual_seed(0)
    bands = len(channel_sets()[channel_set])
    channels = Channels(channel_set, (0.1,) * bands, (0.5,) * bands)
    return Segmenter(channels, SmallUNet(bands, classes, widths)).eval()


def scene(height: int = 70, width: int = 90) -> NDArray[np.float32]:
    """Speckle with every kind of gap: NaN in both, in one, infinite, 0 in both and in one."""
    power = np.stack([speckle((height, width), 0.02, 1), speckle((height, width), 0.1, 2)])
    power[:, 10:30, 20:60] = np.nan
    power[0, 40] = np.nan
    power[1, 41] = np.inf
    power[:, 45:50, :9] = 0
    power[0, 50:55, :9] = 0
    power[0, 56] = -9999
    return power


def stream(model: nn.Module, backend: str, **settings: object):
    cut = {"window": WINDOW, "overlap": OVERLAP, "device": "cpu", **settings}
    return make_stream(model, backend=backend, **cut)  # type: ignore[arg-type]
