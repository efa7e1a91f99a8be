"""Light-Weight RefineNet on decibels."""

from torch.optim import Adam

from builtup.models.channels import Channels
from builtup.models.losses import CrossEntropy
from builtup.models.lwrefinenet import LightWeightRefineNet
from builtup.models.segmenter import Segmenter

base = "_unosat.py"

num_epochs = 50
batch_size, accumulation_steps = 24, 2
sampler_weights = (0.5, 0.5)
channel_set = "db_3b"
normalisation = "stats"  # mean and std of the training folds
class_weights = (0.75, 1.5)
lr, weight_decay = 1e-3, 1e-4


def model():
    channels = Channels(channel_set)
    network = LightWeightRefineNet(channels.out_channels, num_classes, pretrained=pretrained)
    return Segmenter(channels, network)


def criterion():
    return CrossEntropy(*class_weights)


def optimizer(model):
    return Adam(model.parameters(), lr=lr, weight_decay=weight_decay)
