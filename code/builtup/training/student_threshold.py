"""The threshold of a student of soft labels: that by which it maps as much as its teacher did.

What a student says need not have its teacher's level: it learns from other views, for minutes. No
label is looked at, so that a teacher who maps too little has such students: docs/results.md,
"Students under shift".
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from builtup.data.datasets import ValidationTiles
from builtup.geo.probability import IGNORE, LEVELS, SCALE
from builtup.models.heads import class_logits
from builtup.training.metrics import quantise

__all__ = ["threshold_of_share"]


@torch.inference_mode()
def threshold_of_share(model: nn.Module, dataset: ValidationTiles, mapped: int) -> float | None:
    """The threshold with which the class `mapped` has the share that it has in the masks.

    `dataset` gives whole tiles whose masks are the classes of the teacher's maps, as these decide,
    255 where they are not known. None where the teacher maps nothing of the class there.
    """
    device = next(model.parameters()).device
    counts, taught = np.zeros(LEVELS, np.int64), 0
    for number in range(len(dataset)):
        sample = dataset[number]
        logits = class_logits(model(sample["image"][None].to(device)))[0].float()
        level = quantise(logits.softmax(0)[mapped]).cpu().numpy()
        labels = sample["mask"].numpy()
        known = labels != IGNORE
        counts += np.bincount(level[known], minlength=LEVELS)
        taught += int((labels[known] == mapped).sum())
    if not taught:
        return None
    away = np.abs(counts[::-1].cumsum()[::-1] - taught)  # of the pixels at each level or above
    equal = np.flatnonzero(away == away.min())
    return max(1, int(equal[len(equal) // 2])) / SCALE
