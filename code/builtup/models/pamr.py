"""Pixel-adaptive mask refinement: masks that follow the edges of their image.

Araslanov & Roth, Single-Stage Semantic Segmentation from Image Labels, CVPR 2020, section 3.4.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["pamr"]

DILATIONS = (1, 2, 4, 8, 12, 24)
_AROUND = tuple((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1))


@torch.no_grad()
def pamr(
    image: Tensor, masks: Tensor, iterations: int = 10, dilations: Sequence[int] = DILATIONS
) -> Tensor:
    """Masks (N, K, H, W), each pixel again and again the mean of its neighbours that look like it.

    The neighbours are the eight about a pixel at each of the distances `dilations`; beyond the
    image (N, B, H, W) stands its edge. Their weights are a softmax of the mean over channels of
    −|x_i − x_j| / (1e-8 + .1 σ_i), σ_i the deviation of the pixel and all these neighbours: the
    unit of the image does not matter. No gradient passes.
    """
    ring = [(y * d, x * d) for d in dilations for y, x in _AROUND if (y, x) != (0, 0)]
    reach = max(dilations)
    padded = F.pad(image.float(), (reach,) * 4, mode="replicate")
    # the pixel itself stands once a dilation, as in the authors' code
    kept = [_moved(padded, reach, *place) for place in ring]
    around = torch.stack([*kept, *[image.float()] * len(dilations)], 2)
    deviation = around.std(2)
    away = torch.stack([(one - image).abs() for one in kept], 2)  # (N, B, P, H, W)
    weight = (-away / (1e-8 + 0.1 * deviation)[:, :, None]).mean(1).softmax(1)
    refined = masks.float()
    for _ in range(iterations):
        wide = F.pad(refined, (reach,) * 4, mode="replicate")
        total = torch.zeros_like(refined)
        for number, place in enumerate(ring):
            total += weight[:, number, None] * _moved(wide, reach, *place)
        refined = total
    return refined


def _moved(padded: Tensor, reach: int, y: int, x: int) -> Tensor:
    height, width = (side - 2 * reach for side in padded.shape[-2:])
    return padded[..., reach + y : reach + y + height, reach + x : reach + x + width]
