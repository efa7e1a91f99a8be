"""What the aerial trainings share: six classes, colours, crops at the data's own pixel, AdamW."""

from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from builtup.data import loaders
from builtup.models.channels import Channels
from builtup.models.losses import CrossEntropy
from builtup.models.networks import create_network
from builtup.models.segmenter import Segmenter
from builtup.models.small import SmallUNet

seed = 0
num_classes = 6  # their names are those of the masks
num_epochs, samples_per_epoch = 30, 800
val_interval, es_patience = 5, None

data_path = "input/aerial_tiles"
val_fold = 0  # a site left out: its index or name, or a fold of folds=<file>
folds_drop = False
threshold_fold = None
crop, scale, pixel_size = 256, None, None  # scale = (0.7, 1.0) crops and resizes
sampler_weights = None  # one a class: of a tile, that of its classes which is largest
batch_size, val_batch_size = 8, 2
num_workers = 2
max_tiles = None

channel_set = "rgb"  # or rgb_height
height_dropout = 0.0  # share of the samples whose height is unknown to the network
normalisation = "stats"
architecture, encoder, pretrained = "small", "", False
widths = (16, 32, 64, 96)  # of the small network, at strides 2, 4, 8 and 16

class_weights = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
lr, weight_decay = 2e-3, 1e-4
ema_decay = 0.98


def model():
    channels = Channels(channel_set)
    sizes = {"in_channels": channels.out_channels, "num_classes": num_classes}
    if architecture == "small":
        return Segmenter(channels, SmallUNet(**sizes, widths=widths))
    network = create_network(architecture, encoder, **sizes, pretrained=pretrained)
    return Segmenter(channels, network)


def train_loader():
    return loaders.train_loader(
        data_path,
        val_fold=val_fold,
        batch_size=batch_size,
        crop=crop,
        sampler_weights=sampler_weights,
        scale=scale,
        pixel_size=pixel_size,
        channel_set=channel_set,
        height_dropout=height_dropout,
        num_workers=num_workers,
        seed=seed,
        drop_common=folds_drop,
        max_tiles=max_tiles,
        samples_per_epoch=samples_per_epoch,
        threshold_fold=threshold_fold,
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
        channel_set=channel_set,
    )


def criterion():
    return CrossEntropy(*class_weights)


def optimizer(model):
    return AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)


def lr_scheduler(optimizer, total_steps):
    return OneCycleLR(optimizer, lr, total_steps=total_steps, pct_start=0.2)
