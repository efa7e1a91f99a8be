import numpy as np
import pytest
import torch

from builtup.errors import ConfigError
from builtup.models import channels
from builtup.models.channels import Channels, channel_sets, with_signature
from builtup.sensors.radar.bands import CHANNEL_SETS, invalid, to_db

SETS = list(CHANNEL_SETS)


def power(seed=0, bands=2, shape=(9, 11)):
    """Powers with small negatives, zeros, huge values and gaps of every kind."""
    rng = np.random.default_rng(seed)
    p = rng.gamma(1.0, 0.1, (bands, *shape)).astype(np.float32)
    p[:, 0, 0] = np.nan
    p[0, 1, 1], p[1, 2, 2] = np.nan, np.inf
    p[1, 3, 3] = -np.inf
    p[:2, 4, 4] = 0
    p[1, 5, 5] = -12000
    p[0, 6, 6] = -0.01
    p[0, 7, 7] = 0
    p[1, 8, 8] = 12942
    if bands == 3:
        p[2] = (p[0] + p[1]) / 2
    return p


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("bands", [2, 3])
def test_channels_equal_the_numpy_formulas_on_valid_pixels(name, bands):
    p = power(bands=bands)
    got = Channels(name)(torch.from_numpy(p)[None])[0].numpy()
    good = ~invalid(p[0], p[1])
    expected = CHANNEL_SETS[name].compute(p[0][good], p[1][good])
    np.testing.assert_allclose(got[:, good], expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", list(channel_sets()))
def test_invalid_pixels_take_the_training_mean_which_is_zero_after_normalisation(name):
    p = power()
    n = len(channel_sets()[name])
    got = Channels(name, mean=[3.0] * n, std=[2.0] * n)(torch.from_numpy(p)[None])[0].numpy()
    bad = invalid(p[0], p[1])
    assert bad.sum() == 6
    assert (got[:, bad] == 0).all()
    assert np.isfinite(got).all()


@pytest.mark.parametrize("name", list(channel_sets()))
@pytest.mark.parametrize("bands", [2, 3])
def test_an_image_without_gaps_is_what_it_is_when_it_is_masked(name, bands, monkeypatch):
    n = len(channel_sets()[name])
    p = torch.from_numpy(np.random.default_rng(1).normal(0.1, 0.1, (2, bands, 9, 11))).float()
    assert channels._all_measured(p[:, :2])
    before, transform = p.clone(), Channels(name, mean=[0.3] * n, std=[0.7] * n)
    got = transform(p)
    assert torch.equal(p, before)
    monkeypatch.setattr(channels, "_all_measured", lambda power: False)
    assert torch.equal(got, transform(p))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -9999.0, 0.0])
def test_one_pixel_without_a_measurement_is_seen(value):
    p = torch.full((2, 2, 30, 40), 0.1)
    p[0, 0, 3, 4] = -0.01  # a power less the noise
    assert channels._all_measured(p)
    p[1, :, 17, 23] = value
    assert not channels._all_measured(p)


def test_valid_is_the_rule_of_the_bands_module():
    p = power()
    got = Channels("db_3b").valid(torch.from_numpy(p)[None])
    assert got.shape == (1, 1, 9, 11)
    np.testing.assert_array_equal(got[0, 0].numpy(), ~invalid(p[0], p[1]))


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


def test_the_set_of_pretrained_encoders_is_vv_then_vh_in_db():
    p = power()
    got = Channels("db_2b")(torch.from_numpy(p)[None])[0].numpy()
    good = ~invalid(p[0], p[1])
    np.testing.assert_allclose(got[:, good], to_db(p[::-1][:, good]), rtol=2e-6)


def test_minmax_stretches_each_image_and_band_over_its_valid_pixels():
    images = np.stack([power(0), 100 * power(1)])
    got = Channels("minmax_3b")(torch.from_numpy(images)).numpy()
    for image, result in zip(images, got, strict=True):
        good = ~invalid(image[0], image[1])
        bands = [image[0], image[1], (image[0] + image[1]) * np.float32(0.5)]
        for band, channel in zip(bands, result, strict=True):
            values = band[good].astype(np.float64)
            share = (values - values.min()) / (values.max() - values.min())
            np.testing.assert_allclose(channel[good], share**0.2 - 0.5, atol=1e-4)
        assert (result[:, ~good] == 0).all()


@pytest.mark.parametrize("value", [0.1, float("nan")])
def test_minmax_of_an_image_of_one_value_or_none_is_finite(value):
    got = Channels("minmax_3b")(torch.full((1, 2, 4, 4), value))
    torch.testing.assert_close(got, torch.full((1, 3, 4, 4), 0.0 if value != value else -0.5))


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
