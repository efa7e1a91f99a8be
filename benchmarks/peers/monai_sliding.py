"""MONAI's sliding window over a whole scene, then the write of the 8-bit probabilities.

As MONAI's own examples do it: the network is the predictor, its outputs are blended with MONAI's
Gaussian weights, and activation comes after. The scene is read whole and its no-data set to 0
after normalisation; the second class is rounded to 254 steps, no-data set to 255, and written
tiled and compressed, without the overviews that we write.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import rasterio
import torch
from monai.inferers import sliding_window_inference

MEAN, STD = 0.1, 0.5


def load(image: str, output: str, window: int, overlap: int, batch_size: int, threads: int) -> Any:
    """A 1×1 convolution from three bands to two classes, and the other arguments."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = torch.nn.Conv2d(3, 2, 1).eval()
    return model, image, output, window, overlap, batch_size


def run(state: Any) -> dict[str, float]:
    """Predict and write; work in megapixels."""
    model, image, output, window, overlap, batch_size = state
    with rasterio.open(image) as source:
        power = source.read()
        profile = source.profile
    valid = np.isfinite(power[0])
    power -= MEAN
    power /= STD
    np.nan_to_num(power, copy=False, nan=0.0)
    with torch.inference_mode():
        logits = sliding_window_inference(
            torch.from_numpy(power)[None],
            (window, window),
            batch_size,
            model,
            overlap=overlap / window,
            mode="gaussian",
        )
        probability = torch.softmax(logits, 1)[0, 1]
    levels = torch.round(probability * 254).to(torch.uint8).numpy()
    levels[~valid] = 255
    profile = {k: profile[k] for k in ("crs", "transform", "width", "height")}
    with rasterio.open(
        output, "w", driver="GTiff", count=1, dtype="uint8", nodata=255, tiled=True,
        blockxsize=512, blockysize=512, compress="zstd", **profile,
    ) as target:  # fmt: skip
        target.write(levels, 1)
    return {"work": levels.size / 1e6}
