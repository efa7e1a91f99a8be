"""`recommended_cpu` with a network by name, with random weights: `architecture` and `encoder`."""

from builtup.models.channels import Channels
from builtup.models.networks import create_network
from builtup.models.segmenter import Segmenter

base = "../recommended_cpu.py"

architecture, encoder = "unet", "resnet18"


def model():
    channels = Channels(channel_set)
    network = create_network(
        architecture,
        encoder,
        in_channels=channels.out_channels,
        num_classes=num_classes,
        norm=norm,
    )
    return Segmenter(channels, network)
