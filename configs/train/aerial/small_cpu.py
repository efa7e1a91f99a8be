"""A small U-Net and small crops, for minutes on two cores: the one to start from on a CPU."""

from builtup.models.channels import Channels
from builtup.models.norms import with_norm
from builtup.models.segmenter import Segmenter
from builtup.models.small import SmallUNet

base = "_aerial.py"

num_epochs, samples_per_epoch = 10, 400  # 500 iterations
val_interval, es_patience = 5, None
crop = 128
widths = (16, 32, 64, 96)  # channels at strides 2, 4, 8 and 16
lr = 2e-3
ema_decay = 0.98


def model():
    channels = Channels(channel_set)
    network = SmallUNet(channels.out_channels, num_classes, widths, heads())
    return Segmenter(channels, with_norm(network, norm))
