"""The one to start from on a CPU: a small network, small crops, many of them."""

from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from builtup.models.channels import Channels
from builtup.models.norms import with_norm
from builtup.models.segmenter import Segmenter
from builtup.models.small import SmallUNet

base = "_unosat.py"

num_epochs, samples_per_epoch = 10, 640
batch_size, crop, scale = 16, 96, None  # 400 iterations
sampler_weights = (0.5, 0.5)
gain_db = 3.0  # what calibration, incidence and season change: ground beside that of training
widths = (16, 32, 64, 128)  # channels at strides 2, 4, 8 and 16
channel_set = "db_3b"
normalisation = "stats"
class_weights, jaccard = (1.0, 1.0), 1.0
lr, weight_decay = 3e-3, 1e-4
ema_decay = 0.99
val_interval = 10


def model():
    channels = Channels(channel_set)
    network = SmallUNet(channels.out_channels, num_classes, widths)
    return Segmenter(channels, with_norm(network, norm))


def optimizer(model):
    return AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)


def lr_scheduler(optimizer, total_steps):
    return OneCycleLR(optimizer, lr, total_steps=total_steps, pct_start=0.2)
