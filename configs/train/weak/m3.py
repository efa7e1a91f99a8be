"""M3: M1 taught again with its own maps, masked by the tags (`pseudo_labels mode=tags`).

Then `configs/selftrain/weak_fine.py` learns from the pixel labels alone, at a tenth of the rate.
"""

from builtup.data import loaders
from builtup.models.losses import CrossEntropy
from builtup.training.lessons import Lesson
from builtup.training.tagged import TagLoss

base = "_weak.py"

pseudo_path = "output/pseudo"
tags_weight = 0.5
pseudo_weight = 1.0


def lessons(model):
    pseudo = loaders.train_loader(
        pseudo_path,
        val_fold=None,
        batch_size=batch_size,
        crop=crop,
        scale=scale,
        sampler_weights=sampler_weights,
        channel_set=channel_set,
        num_workers=num_workers,
        seed=seed + 3,
    )
    return [
        Lesson("pseudo", pseudo, CrossEntropy(), pseudo_weight),
        Lesson("tags", cells(1), TagLoss(pool()), tags_weight),
    ]
