"""What logits are divided by, so that a probability of p is right in p of the cases.

Guo, Pleiss, Sun and Weinberger (2017), On calibration of modern neural networks; for two classes.
It is fitted on a histogram of margins, so that no number of pixels is too many.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from builtup.data.datasets import ValidationTiles
from builtup.geo.probability import IGNORE
from builtup.models.heads import class_logits

__all__ = ["MARGINS", "fit_temperature", "margin_histogram", "temperature_on"]

#: Centres of the bins of logit margins: of two classes the second minus the first.
MARGINS: NDArray[np.float64] = np.linspace(-30, 30, 6001)
#: Tiles that a temperature is fitted on, at most.
TILES = 64
#: Temperatures looked for.
_BOUNDS = (0.05, 20.0)

Histogram = NDArray[np.int64]


@torch.inference_mode()
def temperature_on(model: nn.Module, dataset: ValidationTiles) -> float | None:
    """The temperature that fits whole tiles, `TILES` of them at most, evenly spread.

    None for more than two classes, and where a class is missing from the ground.
    """
    device = next(model.parameters()).device
    histogram = np.zeros((2, len(MARGINS)), np.int64)
    most = min(len(dataset), TILES)
    for i in range(most):
        sample = dataset[i * len(dataset) // most]
        logits = class_logits(model(sample["image"][None].to(device)))[0].float()
        if len(logits) != 2:
            return None
        margin, truth = (logits[1] - logits[0]).cpu().numpy(), sample["mask"].numpy()
        valid = truth != IGNORE
        # whichever of the two is mapped: the temperature is the same
        histogram += margin_histogram(margin[valid], truth[valid] == 1)
    return fit_temperature(histogram)


def margin_histogram(margin: NDArray[np.floating], second: NDArray[np.bool_]) -> Histogram:
    """Counts (2, 6001) of logit margins by truth (whether it is the second class).

    Margins beyond ±30 count at the end.
    """
    step = MARGINS[1] - MARGINS[0]
    number = np.rint((np.asarray(margin, np.float64) - MARGINS[0]) / step)
    place = np.clip(number, 0, len(MARGINS) - 1).astype(np.int64)
    cells = second.astype(np.int64) * len(MARGINS) + place
    return np.bincount(cells.ravel(), minlength=2 * len(MARGINS)).reshape(2, -1)


def fit_temperature(histogram: Histogram) -> float | None:
    """The temperature of least log-loss of margins (2, 6001); None where a class is missing."""
    from scipy.optimize import minimize_scalar  # a second, which a report need not wait

    if not histogram.sum(axis=1).all():
        return None
    first, second = histogram / histogram.sum()

    def loss(logarithm: float) -> float:
        z = MARGINS / np.exp(logarithm)
        # −log σ(z) of the second class, −log σ(−z) of the first
        return float((second * np.logaddexp(0, -z) + first * np.logaddexp(0, z)).sum())

    low, high = np.log(_BOUNDS)
    best = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(best.x))
