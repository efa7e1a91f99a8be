import numpy as np
import pytest
import torch

from builtup.errors import ConfigError
from builtup.models.channels import Channels
from builtup.sar.bands import CHANNEL_SETS, invalid

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


@pytest.mark.parametrize("name", SETS)
def test_invalid_pixels_take_the_training_mean_which_is_zero_after_normalisation(name):
    p = power()
    n = len(CHANNEL_SETS[name].names)
    got = Channels(name, mean=[3.0] * n, std=[2.0] * n)(torch.from_numpy(p)[None])[0].numpy()
    bad = invalid(p[0], p[1])
    assert bad.sum() == 6
    assert (got[:, bad] == 0).all()
    assert np.isfinite(got).all()


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
