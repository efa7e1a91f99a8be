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
    weight = _alike(image.float(), ring, len(dilations))
    reach = max(dilations)
    refined = masks.float()
    for _ in range(iterations):
        wide = _widened(refined, reach)
        refined = torch.zeros_like(refined)
        for number, place in enumerate(ring):
            refined.addcmul_(weight[:, number, None], _moved(wide, reach, *place))
    return refined


def _alike(image: Tensor, ring: Sequence[tuple[int, int]], selves: int) -> Tensor:
    """The weights (N, P, H, W) of the neighbours at the places of a ring.

    Neighbour by neighbour: all at once are dozens of images. The pixel itself counts `selves` times
    in the deviation, once a dilation, as in the authors' code.
    """
    reach = max(max(place) for place in ring)
    padded = _widened(image, reach)
    total, squares = torch.zeros_like(image), torch.zeros_like(image)
    for place in ring:
        away = _moved(padded, reach, *place) - image  # of the pixel itself 0
        total += away
        squares.addcmul_(away, away)
    count = len(ring) + selves
    deviation = ((squares - total**2 / count) / (count - 1)).clamp(min=0).sqrt()
    scale = -1 / (1e-8 + 0.1 * deviation)
    each = [((_moved(padded, reach, *p) - image).abs() * scale).mean(1) for p in ring]
    return torch.stack(each, 1).softmax(1)


def _widened(image: Tensor, reach: int) -> Tensor:
    return F.pad(image, (reach,) * 4, mode="replicate")


def _moved(padded: Tensor, reach: int, y: int, x: int) -> Tensor:
    height, width = (side - 2 * reach for side in padded.shape[-2:])
    return padded[..., reach + y : reach + y + height, reach + x : reach + x + width]
