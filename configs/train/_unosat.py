"""What the UNOSAT baselines share: data, crops, sampler, schedule."""

from builtup.data import loaders
from builtup.training.schedules import poly

seed = 0
num_classes = 2
num_epochs = 100

data_path = "input/train_tiles"
val_fold = 0  # a city left out: its index, or a name such as "Mosul"
folds_drop = False
crop = 480  # 15/16 of a tile of 512: a pixel stays 10 m
scale, ratio = (0.7, 1.0), (0.9, 1.1)
sampler_weights = (0.7, 0.3)  # of a tile without and with buildings
batch_size = 22
val_batch_size = 4
num_workers = 2
max_tiles = None
samples_per_epoch = None
pretrained = False  # True fetches the encoder's ImageNet weights

lr = 0.05


def train_loader():
    return loaders.train_loader(
        data_path,
        val_fold=val_fold,
        batch_size=batch_size,
        crop=crop,
        sampler_weights=sampler_weights,
        scale=scale,
        ratio=ratio,
        num_workers=num_workers,
        seed=seed,
        drop_common=folds_drop,
        max_tiles=max_tiles,
        samples_per_epoch=samples_per_epoch,
    )


def val_loader():
    if val_fold is None:
        return None
    return loaders.val_loader(
        data_path,
        val_fold=val_fold,
        batch_size=val_batch_size,
        num_workers=num_workers,
        drop_common=folds_drop,
        max_tiles=max_tiles,
    )


def lr_scheduler(optimizer, total_steps):
    return poly(optimizer, total_steps)
