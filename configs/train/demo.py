"""A small network on decibels, for two cores: what `make demo` trains."""

from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from builtup.models.channels import Channels
from builtup.models.losses import CrossEntropy, Jaccard
from builtup.models.segmenter import Segmenter
from builtup.models.small import SmallUNet

base = "_unosat.py"

data_path = "output/demo/train_tiles"
num_epochs = 8
samples_per_epoch = 320
max_minutes = 3.0  # a guard for slower machines: the schedule then ends early
val_interval = 4
batch_size, crop = 8, 192
sampler_weights = (0.5, 1.0)
widths = (16, 32, 64, 128)  # channels at strides 2, 4, 8 and 16
channel_set = "db_3b"
normalisation = "stats"
lr, weight_decay = 3e-3, 1e-4
ema_decay = 0.98  # steadies the weights where the guard cuts the schedule


def model():
    channels = Channels(channel_set)
    return Segmenter(channels, SmallUNet(channels.out_channels, num_classes, widths))


def criterion():
    return CrossEntropy(1.0, 1.0) + Jaccard()


def optimizer(model):
    return AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)


def lr_scheduler(optimizer, total_steps):
    return OneCycleLR(optimizer, lr, total_steps=total_steps, pct_start=0.2)
