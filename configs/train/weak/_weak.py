"""What the trainings with few pixel labels share: network and losses of B1, lessons of tags.

`data_path` is a folder in which masks label the pixels of few scenes and tags.csv the cells of many
(`weaken`); docs/weak.md says which config is which step of the ladder. A weight of 0 leaves a
lesson out.
"""

from torch.optim import AdamW

from builtup.data import cells as tagged
from builtup.data import loaders
from builtup.data.class_balance import median_frequency_weights
from builtup.data.optical import Optical
from builtup.errors import ConfigError
from builtup.models.losses import CrossEntropy, Dice
from builtup.training.consistency import WeakToStrong
from builtup.training.lessons import Lesson
from builtup.training.schedules import poly
from builtup.training.tagged import Distrust, LogSumExp, Mean, TagLoss

base = "../aerial/_aerial.py"

data_path, val_fold = "input/weak_tiles", "validation"
num_epochs, samples_per_epoch = 40, 1000
sampler_weights = None  # tiles are drawn alike, but for
rarest = 0.3  # share of the crops that are centred on the rarest class

architecture, encoder = "unet", "resnet50"  # or "small_unet", "plain", for a CPU
widths, width = None, None  # of small_unet, and of efficient_fpn
class_weights = None  # None: by the median frequency of the tiles' pixels, within these limits
class_weight_limits = (0.1, 10.0)
dice = 1.0
lr, weight_decay, encoder_rate = 2e-4, 1e-2, 0.5  # the encoder's share of the rate

pseudo_path, pseudo_weight = "", 1.0  # labels of `pseudo_labels mode=tags`, taught beside
tags_weight, tags_r = 0.0, 20.0  # of log-sum-exp, the larger the nearer to the greatest; 0: mean
tags_apart = None  # of shares that may be wrong: believed so far from the average's (ema_decay)
tags_crop = None  # pixels of a sample of tags, a cell or block and its surroundings; as crop
consistency, keep, views = 0.0, 0.95, 2  # weight; least probability, one or one a class
strong_views = (0.5, 0.5, 0.5, 0.25, 2.0)  # brightness, contrast, saturation, hue; blur
cutmix, feature_dropout, masked = 0.5, "single", True  # masked: by the tags


def options():
    of_unet = {"encoder_depth": encoder_depth, "decoder_channels": decoder_channels}
    return of_unet | {"widths": widths, "width": width}


def criterion():
    weights = class_weights or median_frequency_weights(
        data_path, val_fold, class_weight_limits, drop_common=folds_drop
    )
    loss = CrossEntropy(*weights, label_smoothing=label_smoothing)
    return loss + dice * Dice() if dice else loss


def cells(stream, samples=None):
    """Tagged cells; each lesson draws its own stream. Without `samples` each once an epoch."""
    return tagged.tag_loader(
        data_path,
        val_fold=val_fold,
        batch_size=batch_size,
        crop=tags_crop or crop,
        channel_set=channel_set,
        num_workers=num_workers,
        seed=seed + stream,
        samples_per_epoch=samples,
    )


def tag_loss():
    if tags_apart is not None and tags_r:
        raise ConfigError("tags_apart is for tags that are shares: set tags_r=0, or leave it out")
    distrust = None if tags_apart is None else Distrust(apart=tags_apart)
    return TagLoss(LogSumExp(tags_r) if tags_r else Mean(), distrust)  # the mean is for shares


def strong():
    if len(strong_views) != 5:
        raise ConfigError(f"strong_views = {strong_views}: expected five numbers")
    return Optical(*strong_views)


def pseudo():
    return loaders.train_loader(
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


def lessons(model):
    found = []
    # norms: running statistics are of all scenes, not of the few with pixels; strong views distort
    if pseudo_path:
        found.append(Lesson("pseudo", pseudo(), CrossEntropy(), pseudo_weight, norms=True))
    if tags_weight:
        found.append(Lesson("tags", cells(1), tag_loss(), tags_weight, norms=True))
    if consistency:
        loss = WeakToStrong(strong(), keep, views, cutmix, feature_dropout, masked, seed)
        found.append(Lesson("consistency", cells(2), loss, consistency))
    return found


def optimizer(model):
    named = list(model.named_parameters())
    parts = [[p for name, p in named if (".encoder." in name) is of] for of in (True, False)]
    rates = (lr * encoder_rate, lr)
    groups = [{"params": p, "lr": rate} for p, rate in zip(parts, rates, strict=True) if p]
    return AdamW(groups, lr=lr, weight_decay=weight_decay)


def lr_scheduler(optimizer, total_steps):
    return poly(optimizer, total_steps)
