import pytest
import torch

from builtup.errors import BuiltupError, ConfigError
from builtup.models.smp import smp_network


@pytest.mark.parametrize("architecture", ["unet", "fpn", "pspnet", "deeplabv3", "linknet"])
def test_each_baselines_architecture_gives_logits_of_the_inputs_size(architecture):
    network = smp_network(architecture, "resnet18", in_channels=5, num_classes=2).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 5, 64, 64)).shape == (1, 2, 64, 64)


def test_an_unknown_architecture_lists_the_known_ones():
    with pytest.raises(ConfigError, match="choose one of unet"):
        smp_network("uunet", in_channels=3, num_classes=2)


def test_an_unknown_encoder_lists_the_known_ones():
    with pytest.raises(ConfigError, match="choose one of resnet18"):
        smp_network("unet", "resnet5", in_channels=3, num_classes=2)


def test_an_unknown_option_is_named():
    with pytest.raises(ConfigError, match="depht"):
        smp_network("unet", "resnet18", in_channels=3, num_classes=2, depht=3)


def test_pretrained_without_a_network_is_one_clear_line(monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("We couldn't connect to the hub\nto load the files")

    monkeypatch.setattr("segmentation_models_pytorch.encoders.hf_hub_download", offline)
    with pytest.raises(BuiltupError, match=r"resnet18: cannot be fetched.*pretrained = False") as e:
        smp_network("unet", "resnet18", in_channels=3, num_classes=2, pretrained=True)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("encoder", ["mit_b0", "tu-convnext_atto"])
def test_ground_without_data_gives_gradients_that_are_finite(encoder):
    torch.manual_seed(0)
    network = smp_network("unet", encoder, in_channels=3, num_classes=2).train()
    bands, truth = torch.randn(2, 3, 64, 64), torch.randint(0, 2, (2, 64, 64))
    bands[0, ..., :40], truth[0, :, :40] = 0, 255
    bands[1], truth[1] = 0, 255
    loss = torch.nn.functional.cross_entropy(network(bands), truth, ignore_index=255)
    loss.backward()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)
