"""Units are as declared, or as the values look; contradictions are refused."""

from __future__ import annotations

import numpy as np
import pytest

from builtup.errors import BuiltupError, InputError
from builtup.sensors.radar.units import BandSample, parse_units, to_power, unit_of
from helpers import speckle

POWER = speckle((50, 50), 0.1).ravel()


def sample(
    values: np.ndarray,
    *declared: str,
    integer: bool = False,
    name: str = "vv",
    scale: float = 1.0,
) -> BandSample:
    return BandSample("scene.tif", name, declared, values.astype(np.float32), integer, scale)


def db(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(power)


@pytest.mark.parametrize(
    ("declared", "values", "unit"),
    [
        ("unit: dB", db(POWER), "db"),
        ("description: Sigma0_VV_db", db(POWER), "db"),
        ("tag UNITS: decibels", db(POWER), "db"),
        ("asset vv, unit: amplitude", np.sqrt(POWER), "amplitude"),
        ("tag scale: linear power", POWER, "power"),
        ("tag unit: intensity", POWER, "power"),
    ],
)
def test_what_is_declared_counts(declared: str, values: np.ndarray, unit: str) -> None:
    judged = unit_of(sample(values, declared))
    assert (judged.unit, judged.guessed) == (unit, False)
    assert judged.why == declared


def test_decibels_show_by_their_values() -> None:
    judged = unit_of(sample(db(POWER), "description: VV"))
    assert (judged.unit, judged.guessed) == ("db", True)
    assert "the median of 2500 values is -10" in judged.why


@pytest.mark.parametrize("level", [0.001, 0.02, 0.3])
def test_power_is_taken_as_power(level: float) -> None:
    assert unit_of(sample(speckle((9, 9), level).ravel())).unit == "power"


@pytest.mark.parametrize("level", [0.018, 0.021, 0.034])
def test_amplitude_of_a_whole_scene_is_warned_of_and_its_power_is_not(level: float) -> None:
    # medians of VH in three real scenes
    power = speckle((50, 50), level).ravel()
    amplitude = unit_of(sample(np.sqrt(power), name="vh"))
    assert (amplitude.unit, amplitude.doubtful) == ("power", True)
    assert "if VV and VH are amplitude, write its unit into the file" in amplitude.why
    taken = unit_of(sample(power, name="vh"))
    assert (taken.guessed, taken.doubtful) == (True, False)
    assert not unit_of(sample(np.sqrt(power), name="vh"), "power").doubtful


def test_noise_subtracted_water_is_no_decibels() -> None:
    assert unit_of(sample(np.full(9, -0.002))).unit == "power"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (sample(np.full(9, 180.0)), "digital numbers, it seems"),
        (sample(np.full(9, 0.4), name="vh"), "perhaps amplitude"),
        (sample(np.full(9, 200), integer=True), "integers of an unknown unit"),
        (sample(POWER, "unit: DN"), "digital numbers"),
        (sample(POWER, "unit: dB"), "db by unit: dB, but the median"),
        (sample(db(POWER), "unit: power"), "power by unit: power, but the median"),
    ],
)
def test_what_cannot_be_known_is_refused(given: BandSample, message: str) -> None:
    with pytest.raises(InputError, match=message):
        unit_of(given)


def test_the_user_has_the_last_word_but_against_the_values() -> None:
    assert unit_of(sample(np.full(9, 0.4), name="vh"), "amplitude").unit == "amplitude"
    with pytest.raises(InputError, match="units=power"):
        unit_of(sample(db(POWER)), "power")
    with pytest.raises(BuiltupError, match="units=watt"):
        parse_units("watt")


def test_conversions_meet_in_power() -> None:
    np.testing.assert_allclose(to_power(db(POWER).astype(np.float32), "db"), POWER, rtol=1e-5)
    np.testing.assert_allclose(to_power(np.sqrt(POWER), "amplitude"), POWER, rtol=1e-6)
    np.testing.assert_array_equal(to_power(POWER.copy(), "power"), POWER)


@pytest.mark.parametrize("factor", [10, 100, 1000])
@pytest.mark.parametrize("declared", [("name: S1_VV_db",), ()])
@pytest.mark.parametrize("level", [0.3, 0.1, 0.004])
def test_scaled_decibels_are_refused_with_the_scale_that_was_meant(
    factor: int, declared: tuple[str, ...], level: float
) -> None:
    values = np.round(factor * db(speckle((50, 50), level).ravel()))
    if np.median(values) > -60:
        assert unit_of(sample(values, *declared)).doubts  # dB x 10 of the brightest city
        return
    meant = (
        rf"dB × {factor}, it seems; write the scale into it \(gdal_edit\.py -scale {1 / factor:g}\)"
    )
    with pytest.raises(InputError, match=meant):
        unit_of(sample(values, *declared))
    with pytest.raises(InputError, match="less than any radar measures"):
        unit_of(sample(values), "db")


@pytest.mark.parametrize("factor", [1, 10, 100])
def test_integers_that_may_be_decibels_are_refused_with_that_remedy(factor: int) -> None:
    values = np.round(factor * db(POWER))
    meant = rf"where they are dB × {factor}, .*-mo UNITS=dB -scale {1 / factor:g}"
    with pytest.raises(InputError, match=meant):
        unit_of(sample(values, integer=True))


def test_the_scale_that_was_meant_takes_that_of_the_file_with_it() -> None:
    with pytest.raises(InputError, match=r"-scale 0\.001"):
        unit_of(sample(10 * db(POWER), "unit: dB", scale=0.01))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (sample(POWER * 1e-8, "unit: power"), "power with a median of .* less than any radar"),
        (sample(POWER * 1e-8), "less than any radar"),
        (sample(np.sqrt(POWER) * 1e-5, "unit: amplitude"), "amplitude with a median"),
        (sample(POWER * 1e5, "description: Intensity_VV"), r"power of 40 dB .*digital numbers"),
        (sample(np.sqrt(POWER) * 400, "description: Amplitude_VV"), "amplitude of .*calibrate"),
        (sample(np.full(9, -1e7), "unit: dB"), "check its scale and offset"),
    ],
)
def test_what_no_backscatter_can_be_is_refused(given: BandSample, message: str) -> None:
    with pytest.raises(InputError, match=message):
        unit_of(given)


def test_noise_around_nought_is_no_underflow() -> None:
    noise = np.random.default_rng(0).normal(0, 1e-3, 2500)
    assert unit_of(sample(noise, name="vh")).unit == "power"


def test_what_is_darker_than_radar_sees_is_doubted() -> None:
    for values, unit in ((db(POWER) - 35, "unit: dB"), (POWER * 10**-3.5, "unit: power")):
        ((what, detail),) = unit_of(sample(values, unit)).doubts
        assert what.startswith("darker than radar sees")
        assert "-45 dB" in detail
    assert unit_of(sample(db(POWER) - 15, "unit: dB")).doubts == ()


def test_two_units_that_are_declared_are_said() -> None:
    judged = unit_of(sample(db(POWER), "unit: dB", "tag calibration: linear power"))
    assert judged.unit == "db"
    doubt = "taken as decibels, though it says otherwise too", "tag calibration: linear power"
    assert judged.doubts == (doubt,)
