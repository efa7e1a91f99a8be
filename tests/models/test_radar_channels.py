import numpy as np
import pytest
import torch

from builtup.models.channels import Channels
from builtup.models.radar_channels import all_measured
from builtup.sensors.radar.bands import CHANNEL_SETS, invalid, to_db
from radar_power import power

SETS = list(CHANNEL_SETS)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("bands", [2, 3])
def test_channels_equal_the_numpy_formulas_on_valid_pixels(name, bands):
    p = power(bands=bands)
    got = Channels(name)(torch.from_numpy(p)[None])[0].numpy()
    good = ~invalid(p[0], p[1])
    expected = CHANNEL_SETS[name].compute(p[0][good], p[1][good])
    np.testing.assert_allclose(got[:, good], expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -9999.0, 0.0])
def test_one_pixel_without_a_measurement_is_seen(value):
    p = torch.full((2, 2, 30, 40), 0.1)
    p[0, 0, 3, 4] = -0.01  # a power less the noise
    assert all_measured(p)
    p[1, :, 17, 23] = value
    assert not all_measured(p)


def test_valid_is_the_rule_of_the_bands_module():
    p = power()
    got = Channels("db_3b").valid(torch.from_numpy(p)[None])
    assert got.shape == (1, 1, 9, 11)
    np.testing.assert_array_equal(got[0, 0].numpy(), ~invalid(p[0], p[1]))


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
