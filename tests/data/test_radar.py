import math

import pytest
import torch

from builtup.data.radar import Radar, drop_squares, resample_speckle, shift_gain, shift_noise_floor
from builtup.errors import ConfigError


def constant(vh=0.02, vv=0.1, side=64):
    power = torch.tensor([vh, vv])[:, None, None].expand(2, side, side).clone()
    power[:, :4] = torch.nan
    return power


CHANGES = [
    lambda power: resample_speckle(power, 4),
    lambda power: shift_gain(power, 2.0),
    lambda power: shift_noise_floor(power, 0.005),
]


@pytest.mark.parametrize("change", CHANGES)
def test_no_data_stays_and_the_input_is_untouched(change):
    torch.manual_seed(0)
    power = constant()
    before = power.clone()
    changed = change(power)
    torch.testing.assert_close(power, before, equal_nan=True)
    assert torch.equal(torch.isnan(changed), torch.isnan(power))
    assert changed.shape == power.shape
    assert not torch.equal(changed[:, 5], power[:, 5])


@pytest.mark.parametrize("looks", [1, 4.4, 20])
def test_speckle_has_mean_one_and_the_variance_of_its_looks(looks):
    torch.manual_seed(0)
    factor = resample_speckle(torch.ones(2, 400, 400), looks)
    assert factor.mean().item() == pytest.approx(1, abs=0.01)
    assert factor.var().item() == pytest.approx(1 / looks, rel=0.03)
    correlation = torch.corrcoef(factor.flatten(1))[0, 1].item()
    assert abs(correlation) < 0.01  # the polarisations' speckle is independent


def test_speckle_upon_speckle_has_the_looks_that_the_docstring_says():
    torch.manual_seed(0)
    once = resample_speckle(torch.ones(2, 400, 400), 4.4)
    twice = resample_speckle(once, 4.4)[0]
    looks = (twice.mean() ** 2 / twice.var()).item()
    assert looks == pytest.approx(1 / (2 / 4.4 + 1 / 4.4**2), rel=0.05)
    assert looks == pytest.approx(2.0, rel=0.05)


def test_a_gain_is_one_factor_per_polarisation_within_its_decibels():
    torch.manual_seed(0)
    power, found = constant(), []
    for _ in range(200):
        ratio = (shift_gain(power, 2.0) / power)[:, 4:]
        decibels = 10 * torch.log10(ratio)
        assert (decibels - decibels[:, :1, :1]).abs().max() < 1e-3
        found.append(decibels[:, 0, 0].tolist())
    vh, vv = zip(*found, strict=True)
    assert -2.001 < min(vh) < -1.8 and 1.8 < max(vv) < 2.001
    assert abs(torch.corrcoef(torch.tensor([vh, vv]))[0, 1].item()) < 0.2


def test_a_noise_floor_adds_one_power_per_polarisation():
    torch.manual_seed(0)
    power = constant(vh=0.001)
    shifts = torch.stack([(shift_noise_floor(power, 0.005) - power)[:, 4:] for _ in range(200)])
    assert shifts.std(dim=(2, 3)).max() < 1e-6
    assert shifts.abs().max() <= 0.005 + 1e-6 and shifts.min() < -0.004 and shifts.max() > 0.004


def test_dropped_squares_are_no_data_in_every_band_and_small():
    torch.manual_seed(0)
    power = torch.ones(2, 60, 80)
    most = 0
    for _ in range(100):
        gaps = torch.isnan(drop_squares(power, 3, 0.25))
        assert (gaps == gaps[0]).all() and gaps[0].any()
        assert gaps[0].sum() <= 3 * 15 * 15
        most = max(most, int(gaps[0].sum()))
    assert most > 225  # more than one square


def test_the_defaults_change_nothing_and_draw_nothing():
    state = torch.get_rng_state()
    power = constant()
    assert Radar()(power) is power
    assert torch.equal(torch.get_rng_state(), state)


def test_half_of_the_samples_keep_the_speckle_that_they_have():
    torch.manual_seed(0)
    power = constant()
    kept = sum(Radar(speckle_looks=4)(power) is power for _ in range(200))
    assert 70 < kept < 130


def test_everything_together_is_finite_where_there_are_data():
    torch.manual_seed(0)
    radar = Radar(4, 1.0, 0.003, 0.0, (4, 0.1))
    changed = torch.stack([radar(constant()) for _ in range(20)])
    assert torch.isfinite(changed[~torch.isnan(changed)]).all()
    assert torch.isnan(changed[:, :, :4]).all()


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"speckle_looks": 0.0}, "speckle_looks"),
        ({"gain_db": -1.0}, "gain_db"),
        ({"noise_floor": math.inf}, "noise_floor"),
        ({"mix_dates": 1.5}, "mix_dates"),
        ({"coarse_dropout": (0, 0.5)}, "coarse_dropout"),
        ({"coarse_dropout": (3, 2.0)}, "coarse_dropout"),
    ],
)
def test_a_value_out_of_range_is_named(values, name):
    with pytest.raises(ConfigError, match=name):
        Radar(**values)
