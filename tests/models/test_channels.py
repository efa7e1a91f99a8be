from dataclasses import replace

import numpy as np
import pytest
import torch

from builtup.errors import ConfigError
from builtup.models.channels import Channels, channel_sets, inputs_of, with_signature
from builtup.models.radar_channels import RADAR_FORMULAS, all_measured
from builtup.sensors.radar.bands import invalid
from builtup.sensors.radar.sentinel1 import SENTINEL1
from radar_power import power


@pytest.mark.parametrize("name", list(RADAR_FORMULAS))
def test_invalid_pixels_take_the_training_mean_which_is_zero_after_normalisation(name):
    p = power()
    n = len(channel_sets()[name])
    got = Channels(name, mean=[3.0] * n, std=[2.0] * n)(torch.from_numpy(p)[None])[0].numpy()
    bad = invalid(p[0], p[1])
    assert bad.sum() == 6
    assert (got[:, bad] == 0).all()
    assert np.isfinite(got).all()


def test_channels_say_which_bands_they_read_and_refuse_other_numbers_of_them():
    channels = Channels("db_3b")
    assert channels.inputs == ("VH", "VV") and channels.band_counts == (2, 3)
    assert channels.sensor is SENTINEL1
    with pytest.raises(ValueError, match=r"expected \(B, 2 or 3, H, W\) bands, got \(1, 4, 8, 8\)"):
        channels(torch.ones(1, 4, 8, 8))


def test_a_model_reads_what_its_channels_read_else_the_default_sensors_bands():
    assert inputs_of(torch.nn.Sequential(Channels("db_2b"))) == ("VH", "VV")
    assert inputs_of(torch.nn.Identity()) == SENTINEL1.names


@pytest.mark.parametrize("name", list(RADAR_FORMULAS))
@pytest.mark.parametrize("bands", [2, 3])
def test_an_image_without_gaps_is_what_it_is_when_it_is_masked(name, bands, monkeypatch):
    n = len(channel_sets()[name])
    p = torch.from_numpy(np.random.default_rng(1).normal(0.1, 0.1, (2, bands, 9, 11))).float()
    assert all_measured(p[:, :2])
    before, transform = p.clone(), Channels(name, mean=[0.3] * n, std=[0.7] * n)
    got = transform(p)
    assert torch.equal(p, before)
    never = replace(RADAR_FORMULAS[name], all_measured=lambda power: False)
    monkeypatch.setattr(transform, "_formula", never)
    assert torch.equal(got, transform(p))


def test_normalisation_is_applied_and_travels_with_the_weights():
    p = torch.from_numpy(np.abs(power())[:, 6:8, :4])[None]
    channels = Channels("db_3b")
    plain = channels(p)
    channels.set_normalisation((-17.4, -10.02, -12.11), (6.29, 5.78, 5.8))
    mean, std = (v[:, None, None] for v in (channels.mean, channels.std))
    torch.testing.assert_close(channels(p), (plain - mean) / std)
    other = Channels("db_3b")
    other.load_state_dict(channels.state_dict())
    torch.testing.assert_close(other(p), channels(p))


def test_autocast_does_not_touch_the_precision():
    p = torch.full((1, 2, 4, 4), 3.21e-5)
    channels = Channels("db_3b")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = channels(p)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, channels(p))
    assert got[0, 0, 0, 0].item() == pytest.approx(10 * np.log10(3.21e-5), abs=1e-4)


def test_gaps_give_no_nan_to_the_gradient():
    p = torch.from_numpy(power())[None].requires_grad_()
    Channels("linear_6b")(p).sum().backward()
    assert torch.isfinite(p.grad).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("db_4b",), "choose one of linear_3b"),
        (("db_3b", (0, 0), (1, 1, 1)), "3 finite numbers"),
        (("db_3b", (0, 0, float("nan")), (1, 1, 1)), "3 finite numbers"),
        (("db_3b", (0, 0, 0), (1, 0, 1)), "above 0"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(arguments, message):
    with pytest.raises(ConfigError, match=message) as e:
        Channels(*arguments)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("name", list(channel_sets()))
def test_weights_of_another_set_are_refused_naming_both(name):
    model, other = Channels("db_5b"), Channels(name)
    if name == "db_5b":
        model.load_state_dict(other.state_dict())
        return
    expected = rf"channels {name} \({channel_sets()[name][0]}.*the model takes db_5b \(VH dB"
    with pytest.raises(ConfigError, match=expected) as e:
        model.load_state_dict(other.state_dict())
    assert "\n" not in str(e.value)
    assert with_signature(torch.nn.Sequential(model), {"0.signature": other.signature})[1]


def test_weights_from_before_the_signature_still_load():
    model, weights = Channels("db_3b"), Channels("db_3b", (1, 2, 3), (4, 5, 6)).state_dict()
    own = weights.pop("signature")
    complete, problem = with_signature(model, weights)
    assert not problem and torch.equal(complete["signature"], own)
    model.load_state_dict(weights)
    assert model.mean.tolist() == [1, 2, 3]


def test_a_description_says_all_that_is_done_to_the_power():
    card = Channels("db_2b", (-12.5, -20.0), (5.0, 6.0)).describe()
    assert card["channels"] == ["VV dB", "VH dB"] and card["units"] == "dB"
    assert card["mean"] == [-12.5, -20.0] and card["std"] == [5.0, 6.0]
    assert "VH, VV" in card["input"] and "NaN" in card["nodata"]


def test_the_signature_survives_half_precision_and_averaging():
    from torch.optim.swa_utils import AveragedModel

    channels = Channels("db_3b")
    average = AveragedModel(torch.nn.Sequential(channels), use_buffers=True)
    average.update_parameters(torch.nn.Sequential(channels))
    average.update_parameters(torch.nn.Sequential(channels))
    assert torch.equal(average.module[0].signature, channels.signature)
    assert torch.equal(Channels("db_3b").half().signature, channels.signature)
