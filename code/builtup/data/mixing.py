"""Samples mixed with one another, and the seed of what is drawn for them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["cutmix", "cutmix_boxes", "seeded"]

#: Area of a box as a share of the image's, and width by height, as in UniMatch.
AREA, ASPECT = (0.02, 0.4), (0.3, 1 / 0.3)


def cutmix_boxes(
    count: int, height: int, width: int, share: float, generator: torch.Generator
) -> Tensor:
    """A rectangle in each of `count` images, (count, height, width) bool; in `share` of them only.

    Yun et al., CutMix, ICCV 2019, with the sizes of Yang et al., UniMatch, CVPR 2023: 2 to 40 % of
    the image, sides within .3 and 3.3 of one another, wholly inside it.
    """
    boxes = torch.zeros(count, height, width, dtype=torch.bool)
    for box in boxes:
        if _even(0, 1, generator) >= share:
            continue
        area = _even(*AREA, generator) * height * width
        aspect = math.exp(_even(math.log(ASPECT[0]), math.log(ASPECT[1]), generator))
        rows = min(height, max(1, round(math.sqrt(area / aspect))))
        columns = min(width, max(1, round(area / rows)))
        y = int(torch.randint(height - rows + 1, (), generator=generator))
        x = int(torch.randint(width - columns + 1, (), generator=generator))
        box[y : y + rows, x : x + columns] = True
    return boxes


def cutmix(values: Tensor, other: Sequence[int] | Tensor, boxes: Tensor) -> Tensor:
    """Each of the images or maps (N, …, H, W) with the rectangle of another one of them."""
    inside = boxes.to(values.device).reshape(
        len(boxes), *(1,) * (values.ndim - 3), *boxes.shape[1:]
    )
    return torch.where(inside, values[other], values)


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Seed torch's CPU generator for one sample, and give it its state back; None leaves it alone.

    Not torch.manual_seed, which would seed the accelerators, and dropout with them, as well.
    """
    if seed is None:
        yield
        return
    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(state)


def _even(least: float, most: float, generator: torch.Generator) -> float:
    return least + (most - least) * float(torch.rand((), generator=generator))
