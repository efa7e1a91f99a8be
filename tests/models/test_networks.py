import pytest
import torch

from builtup.errors import ConfigError
from builtup.models.lwrefinenet import LightWeightRefineNet
from builtup.models.networks import create_network


def test_our_own_network_and_the_librarys_are_made_by_name():
    own = create_network("lwrefinenet", "mobilenet_v2", in_channels=5, num_classes=3)
    assert isinstance(own, LightWeightRefineNet)
    other = create_network("fpn", "resnet18", in_channels=5, num_classes=3).eval()
    with torch.no_grad():
        assert other(torch.rand(1, 5, 32, 32)).shape == (1, 3, 32, 32)


@pytest.mark.parametrize(
    ("encoder", "more"),
    [
        ("resnet50", {}),
        ("mobilenet_v2", {"pretrained": "x"}),
        ("mobilenet_v2", {"depth": 3}),
        ("mobilenet_v2", {"freeze_encoder": True}),
    ],
)
def test_what_our_network_has_not_is_refused(encoder, more):
    with pytest.raises(ConfigError, match="it has the encoder mobilenet_v2"):
        create_network("lwrefinenet", encoder, in_channels=3, num_classes=2, **more)


def test_a_frozen_encoder_stays_as_it_is_and_the_rest_is_learnt():
    torch.manual_seed(0)
    network = create_network(
        "unet",
        "resnet18",
        in_channels=3,
        num_classes=2,
        freeze_encoder=True,
        encoder_depth=3,
        decoder_channels=(32, 16, 8),
    )
    network.train()  # as each step does
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, weight_decay=0.1)
    network(torch.rand(2, 3, 32, 32)).square().mean().backward()
    optimizer.step()
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]) is name.startswith("encoder."), name


@pytest.mark.parametrize(
    ("architecture", "encoder", "options"),
    [("enc_dec_unpool", "vgg16_bn", {"dropout": 0.1}), ("single_stage", "resnet38", {"width": 4})],
)
def test_networks_of_classes_alone_have_their_encoder(architecture, encoder, options):
    network = create_network(architecture, encoder, in_channels=2, num_classes=3, **options)
    assert network.eval()(torch.rand(1, 2, 32, 32)).shape == (1, 3, 32, 32)
    for wrong in ({"encoder": "resnet50"}, {"heads": ("height",)}, {"freeze_encoder": True}):
        given = {"encoder": encoder, "in_channels": 2, "num_classes": 3, **wrong}
        with pytest.raises(ConfigError, match=f"it has the encoder {encoder}, learnt whole"):
            create_network(architecture, **given)


def test_the_small_network_has_no_encoder_of_another_name_and_no_weights():
    network = create_network(
        "small_unet", "plain", in_channels=3, num_classes=4, heads=("height",), widths=(4, 8)
    )
    found = network.eval()(torch.rand(1, 3, 32, 32))
    assert found["classes"].shape == (1, 4, 32, 32) and found["height"].shape == (1, 1, 32, 32)
    for wrong in ({"encoder": "resnet50"}, {"pretrained": True}, {"freeze_encoder": True}):
        given = {"encoder": "plain", "in_channels": 3, "num_classes": 2, **wrong}
        with pytest.raises(ConfigError, match="it has the encoder plain, learnt whole"):
            create_network("small_unet", **given)


def test_weights_that_cannot_be_had_by_name_are_refused():
    given = {"in_channels": 3, "num_classes": 2, "pretrained": True, "width": 4}
    with pytest.raises(ConfigError, match="fetch them and give their file"):
        create_network("single_stage", "resnet38", **given)
