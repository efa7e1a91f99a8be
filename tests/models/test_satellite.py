import hashlib
from dataclasses import replace

import pytest
import torch
from torchvision.models import resnet50

from builtup.errors import BuiltupError, ConfigError
from builtup.models import satellite
from builtup.models.satellite import SATELLITE_WEIGHTS, satellite_weights
from builtup.models.smp import smp_network

NAME = "ssl4eo-s12-moco"


def network(in_channels=2, encoder="resnet50", pretrained=NAME):
    return smp_network(
        "unet", encoder, in_channels=in_channels, num_classes=2, pretrained=pretrained
    )


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A file of random weights with the names and shapes of the published one."""
    torch.manual_seed(1)
    body = resnet50(num_classes=4)
    body.conv1 = torch.nn.Conv2d(2, 64, 7, 2, 3, bias=False)
    state = {key: value for key, value in body.state_dict().items() if "num_batches" not in key}
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    known = replace(SATELLITE_WEIGHTS[NAME], sha256=digest)
    monkeypatch.setitem(SATELLITE_WEIGHTS, NAME, known)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *a, **k: str(path))
    return state, path


def test_the_encoder_takes_every_weight_but_the_head(published):
    state, _ = published
    encoder = network().encoder.state_dict()
    assert set(state) - set(encoder) == {"fc.weight", "fc.bias"}
    assert all(torch.equal(encoder[key], state[key]) for key in set(state) & set(encoder))


def test_the_published_file_is_asked_for_at_its_revision(published, monkeypatch):
    _, path = published
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.hf_hub_download", lambda *a, **k: asked.append((a, k)) or str(path)
    )
    network()
    known = SATELLITE_WEIGHTS[NAME]
    assert asked == [((known.repository,), {"filename": known.file, "revision": known.revision})]


def test_a_damaged_file_is_refused(published, monkeypatch):
    known = replace(SATELLITE_WEIGHTS[NAME], sha256="00000000")
    monkeypatch.setitem(SATELLITE_WEIGHTS, NAME, known)
    with pytest.raises(BuiltupError, match=r"damaged.*set pretrained = False"):
        network()


def test_without_a_network_it_is_one_clear_line(monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no route\nto host")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", offline)
    with pytest.raises(BuiltupError, match=r"906e4356.*cannot be fetched.*False") as e:
        network()
    assert "\n" not in str(e.value)


def test_weights_of_other_names_do_not_fit(published):
    state, _ = published
    encoder = network().encoder
    del state["layer1.0.conv1.weight"]
    with pytest.raises(BuiltupError, match=r"1 of \d+ tensors, first layer1.0.conv1.weight"):
        satellite.set_encoder(encoder, state, "file")


@pytest.mark.parametrize(
    ("name", "encoder", "channels", "message"),
    [
        ("ssl4eo", "resnet50", 2, "unknown; use true .ImageNet., false or one of ssl4eo-s12-moco"),
        (NAME, "resnet18", 2, "not of resnet18 with 2"),
        (NAME, "resnet50", 3, "set encoder = 'resnet50' and channel_set = 'db_2b'"),
    ],
)
def test_what_cannot_take_the_weights_is_told_what_can(name, encoder, channels, message):
    with pytest.raises(ConfigError, match=message):
        satellite_weights(name, encoder, channels)
