"""Every kind of network can be exported with free sizes."""

from __future__ import annotations

import pytest
import torch

from builtup.models.channels import Channels
from builtup.models.networks import create_network
from builtup.models.segmenter import Segmenter
from builtup.models.small import SmallUNet
from builtup.training.export import example_bands, export

NETWORKS = (
    "small",
    "lwrefinenet mobilenet_v2",
    "unet resnet18",
    "fpn resnet18",
    "pspnet resnet18",
    "linknet resnet18",
    "deeplabv3 resnet18",
    "segformer mit_b0",
    "upernet tu-convnext_atto",
)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_can_be_exported_with_free_sizes(name: str) -> None:
    torch.manual_seed(0)
    if name == "small":
        network = SmallUNet(3, 2)
    else:
        network = create_network(*name.split(), in_channels=3, num_classes=2)
    model = Segmenter(Channels("db_3b", (-20.0,) * 3, (6.0,) * 3), network).eval()
    program = export(model).module()  # it compares at three other sizes
    with torch.no_grad():
        assert program(example_bands(2, 2, 64, 32)).shape == (2, 2, 64, 32)
