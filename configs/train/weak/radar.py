"""The ladder on radar tiles, tags built-up or not, with a network that a CPU learns.

As it stands B1; M1 with `tags_weight=0.5`, M3 with `pseudo_path` too, M4 with `consistency=1`
instead. Of shares of a coarse layer, which errs: `tags_r=0 tags_apart=0.75 ema_decay=0.99`.
"""

from builtup.data import loaders
from builtup.data.radar import Radar

base = "_weak.py"

num_classes = 2
architecture, encoder, widths = "small_unet", "plain", (16, 32, 64, 96)
channel_set = "db_3b"
num_epochs, samples_per_epoch = 10, 1280
batch_size, crop = 16, 64  # 800 iterations: after 200 shares do not gain
sampler_weights, class_weights, rarest = (0.5, 0.5), (1.0, 1.0), 0.0
gain_db, lr = 3.0, 3e-3


def train_loader():
    return loaders.train_loader(
        data_path,
        val_fold=val_fold,
        batch_size=batch_size,
        crop=crop,
        scale=None,
        sampler_weights=sampler_weights,
        radar=Radar(gain_db=gain_db),
        rarest=rarest,
        num_workers=num_workers,
        seed=seed,
        samples_per_epoch=samples_per_epoch,
        drop_common=folds_drop,
    )


def strong():
    return Radar(speckle_looks=4.4, gain_db=gain_db)
