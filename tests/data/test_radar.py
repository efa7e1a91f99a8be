import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from builtup.data.radar import (
    Radar,
    copy_polarisation,
    drop_squares,
    filter_speckle,
    multiply_speckle,
    resample_speckle,
    scale_contrast,
    shift_gain,
    shift_noise_floor,
)
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


# --- contrast, filters, one polarisation ---------------------------------------------------------


def ground(seed, side=24):
    """Speckled power of VH and VV with a gap, a negative pixel and one that is 0 in VH."""
    torch.manual_seed(seed)
    power = -torch.log(torch.rand(2, side, side)) * torch.tensor([0.02, 0.1])[:, None, None]
    power[:, :3] = torch.nan
    power[0, 5, 5], power[0, 6, 6] = -1e-3, 0.0
    return power


seeds = st.integers(0, 2**31 - 1)
CLOSE = {"atol": 2e-3, "rtol": 1e-3}

LATER = [
    lambda power: multiply_speckle(power, 1.0),
    lambda power: filter_speckle(power, 5, 4.0),
    lambda power: scale_contrast(power, 1.0),
    copy_polarisation,
    Radar(common_gain_db=3.0),
    Radar((1.0, 30.0), 3.0, 0.0, 0.0, None, 3.0, 0.5, 7, 0.5),
]


def measured(power):
    """The rule of `bands.invalid`: finite in both, and not 0 in both."""
    return torch.isfinite(power).all(0) & (power != 0).any(0)


@pytest.mark.parametrize("change", LATER)
@given(seed=seeds)
@settings(max_examples=25, deadline=None)
def test_the_same_pixels_are_measured_and_the_input_is_untouched(change, seed):
    power = ground(seed)
    before = power.clone()
    changed = change(power)
    torch.testing.assert_close(power, before, equal_nan=True, rtol=0, atol=0)
    assert torch.equal(measured(changed), measured(power))
    assert changed.dtype == torch.float32 and changed.shape == power.shape


@pytest.mark.parametrize("change", LATER)
def test_the_same_seed_draws_the_same(change):
    def drawn():
        power = ground(3)
        torch.manual_seed(11)
        return change(power)

    torch.testing.assert_close(drawn(), drawn(), equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize("looks", [0.5, 1, 3.9, 4, 30])
def test_fast_speckle_is_gamma_noise_in_mean_variance_and_distribution(looks):
    torch.manual_seed(0)
    factor = multiply_speckle(torch.ones(2, 500, 500), looks)
    assert factor.mean().item() == pytest.approx(1, abs=0.01)
    assert factor.var().item() == pytest.approx(1 / looks, rel=0.03)
    shares = torch.tensor([0.02, 0.25, 0.5, 0.75, 0.98])
    expected = stats.gamma(looks, scale=1 / looks).ppf(shares.numpy())
    found = factor.flatten().quantile(shares)
    np.testing.assert_allclose(found, expected, rtol=0.02, atol=2e-3)
    assert factor.min() > 0
    assert abs(torch.corrcoef(factor.flatten(1))[0, 1].item()) < 0.01


def test_looks_of_a_range_are_spread_evenly_in_their_logarithm():
    torch.manual_seed(0)
    power, radar = torch.ones(2, 64, 64), Radar(speckle_looks=(2.0, 32.0))
    changed = [radar(power) for _ in range(600)]
    looks = torch.tensor([1 / c.var().item() for c in changed if c is not power])
    assert 240 < len(looks) < 360
    octaves = torch.log2(looks)
    assert octaves.min() > 0.8 and octaves.max() < 5.2
    assert octaves.mean().item() == pytest.approx(3, abs=0.2)
    assert octaves.std().item() == pytest.approx(4 / 12**0.5, abs=0.15)


def plain_lee(band, side, looks):
    """The filter pixel by pixel, as its paper has it."""
    out, half = band.copy(), side // 2
    for y, x in np.argwhere(np.isfinite(band)):
        window = band[max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1]
        known = window[np.isfinite(window)].astype(float)
        mean, variance = known.mean(), known.var()
        keep = (variance - mean**2 / looks) / max(variance * (1 + 1 / looks), 1e-30)
        out[y, x] = mean + min(max(keep, 0), 1) * (band[y, x] - mean)
    return out


@given(seeds, st.sampled_from([3, 5, 7]), st.floats(1, 30))
@settings(max_examples=15, deadline=None)
def test_the_filter_is_lees_pixel_by_pixel(seed, side, looks):
    power = ground(seed, 16)
    found = filter_speckle(power, side, looks).numpy()
    for band, filtered in zip(power.numpy(), found, strict=True):
        np.testing.assert_allclose(filtered, plain_lee(band, side, looks), rtol=1e-3, atol=1e-6)


def test_the_filter_takes_speckle_away_and_leaves_a_bright_point():
    torch.manual_seed(0)
    power = multiply_speckle(torch.full((2, 99, 99), 0.1), 4.0)
    power[:, 50, 50] = 10.0
    filtered = filter_speckle(power, 7, 4.0)
    far = (slice(None), slice(0, 40))
    assert filtered[far].mean().item() == pytest.approx(power[far].mean().item(), rel=0.01)
    looks = filtered[far].mean() ** 2 / filtered[far].var()
    assert looks > 40
    assert filtered[:, 50, 50].min() > 6


@given(seeds, st.floats(0.05, 2))
@settings(max_examples=40, deadline=None)
def test_contrast_scales_decibels_about_a_mean_that_stays(seed, most):
    power = ground(seed)
    power = torch.where(power > 0, power, 0.05)
    torch.manual_seed(seed)
    decibels, changed = (10 * torch.log10(p) for p in (power, scale_contrast(power, most)))
    mean = decibels.mean((1, 2), keepdim=True)
    torch.testing.assert_close(changed.mean((1, 2), keepdim=True), mean, atol=1e-3, rtol=0)
    # one factor for both polarisations
    each = (changed - mean).norm(dim=(1, 2)) / (decibels - mean).norm(dim=(1, 2))
    torch.testing.assert_close(changed, mean + each[:, None, None] * (decibels - mean), **CLOSE)
    torch.testing.assert_close(each[0], each[1], **CLOSE)
    assert 0.999 / (1 + most) <= each[0].item() <= (1 + most) * 1.001


def test_contrast_keeps_a_constant_and_what_has_no_decibels():
    torch.manual_seed(0)
    torch.testing.assert_close(scale_contrast(constant(), 1.0), constant(), equal_nan=True)
    power = ground(1)
    changed = scale_contrast(power, 1.0)
    assert changed[0, 5, 5] == power[0, 5, 5] < 0 and changed[0, 6, 6] == 0
    nothing = torch.zeros(2, 4, 4)
    assert torch.equal(scale_contrast(nothing, 1.0), nothing)


def test_a_common_gain_leaves_the_ratio_of_the_polarisations():
    torch.manual_seed(0)
    power, found = constant(), []
    for _ in range(100):
        decibels = 10 * torch.log10(Radar(common_gain_db=2.0)(power) / power)[:, 4:]
        assert (decibels - decibels[0, 0, 0]).abs().max() < 1e-4
        found.append(decibels[0, 0, 0].item())
    assert -2.001 < min(found) < -1.7 and 1.7 < max(found) < 2.001


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_a_dropped_polarisation_is_the_other_times_a_constant_of_its_own_mean(seed):
    power = ground(seed)
    changed = copy_polarisation(power)
    ratio = (changed[0] / changed[1])[torch.isfinite(changed).all(0) & (changed != 0).all(0)]
    torch.testing.assert_close(ratio, ratio[0].expand_as(ratio), rtol=1e-4, atol=0)
    torch.testing.assert_close(changed.nanmean((1, 2)), power.nanmean((1, 2)), rtol=1e-2, atol=0)
    pairs = zip(changed, power, strict=True)
    assert sum(torch.equal(c.nan_to_num(), p.nan_to_num()) for c, p in pairs) == 1


def test_both_polarisations_are_dropped_in_turn_and_so_often():
    torch.manual_seed(0)
    power, radar = ground(2), Radar(drop_polarisation=0.3)
    changed = [radar(power) for _ in range(400)]
    kept = [
        [torch.equal(c[i].nan_to_num(), power[i].nan_to_num()) for i in (0, 1)] for c in changed
    ]
    assert 240 < sum(all(k) for k in kept) < 320
    assert sum(k == [True, False] for k in kept) > 30 < sum(k == [False, True] for k in kept)


@pytest.mark.parametrize(
    ("radar", "share"), [(Radar(contrast=0.5), 0.5), (Radar(speckle_filter=5), 0.25)]
)
def test_the_other_samples_stay_as_they_are(radar, share):
    torch.manual_seed(0)
    power = ground(2, side=8)
    changed = sum(radar(power) is not power for _ in range(400))
    assert abs(changed - 400 * share) < 40


@pytest.mark.parametrize("level", [0.0, -0.01, torch.nan])
def test_a_sample_without_power_keeps_its_polarisations(level):
    torch.manual_seed(0)
    power = torch.full((2, 4, 4), level)
    power[1] = 0.1
    for _ in range(4):
        assert copy_polarisation(power) is power


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"speckle_looks": (0.0, 3.0)}, "speckle_looks"),
        ({"speckle_looks": (9.0, 3.0)}, "speckle_looks"),
        ({"common_gain_db": -1.0}, "common_gain_db"),
        ({"contrast": math.nan}, "contrast"),
        ({"speckle_filter": 4}, "speckle_filter"),
        ({"speckle_filter": 1}, "speckle_filter"),
        ({"drop_polarisation": 1.1}, "drop_polarisation"),
    ],
)
def test_a_later_value_out_of_range_is_named(values, name):
    with pytest.raises(ConfigError, match=name):
        Radar(**values)
