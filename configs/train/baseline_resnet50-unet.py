"""U-Net with a ResNet-50 encoder on linear power."""

from torch.optim import SGD

from builtup.models.channels import Channels
from builtup.models.losses import CrossEntropy
from builtup.models.segmenter import Segmenter
from builtup.models.smp import smp_network

base = "_unosat.py"

channel_set, mean, std = "linear_3b", (0.0, 0.0, 0.0), (5.0, 5.0, 5.0)
encoder = "resnet50"
class_weights = (0.5, 1.0)
momentum, weight_decay = 0.9, 5e-4


def model():
    channels = Channels(channel_set, mean, std)
    network = smp_network(
        "unet",
        encoder,
        in_channels=channels.out_channels,
        num_classes=num_classes,
        pretrained=pretrained,
    )
    return Segmenter(channels, network)


def criterion():
    return CrossEntropy(*class_weights)


def optimizer(model):
    return SGD(
        model.parameters(), lr=lr, momentum=momentum, nesterov=True, weight_decay=weight_decay
    )
