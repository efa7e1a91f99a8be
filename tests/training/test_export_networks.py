"""Every kind of network can be exported with free sizes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from builtup.models.channels import Channels
from builtup.models.networks import create_network
from builtup.models.norms import with_norm
from builtup.models.segmenter import Segmenter
from builtup.models.small import SmallUNet
from builtup.training.export import example_bands, export

NETWORKS = (
    "small",
    "small with group normalisation",
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
    network: nn.Module
    if name.startswith("small"):
        network = with_norm(SmallUNet(3, 2), "group" if "group" in name else "batch")
    else:
        network = create_network(*name.split(), in_channels=3, num_classes=2)
    model = Segmenter(Channels("db_3b", (-20.0,) * 3, (6.0,) * 3), network).eval()
    program = export(model).module()  # it compares at three other sizes
    with torch.no_grad():
        assert program(example_bands(2, 2, 64, 32)).shape == (2, 2, 64, 32)
