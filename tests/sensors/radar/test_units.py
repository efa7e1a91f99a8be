"""Units are as declared, or as the values look; contradictions are refused."""

from __future__ import annotations

import numpy as np
import pytest

from builtup.errors import BuiltupError, InputError
from builtup.sensors.radar.units import BandSample, parse_units, to_power, unit_of
from helpers import speckle

POWER = speckle((50, 50), 0.1).ravel()


def sample(
    values: np.ndarray, *declared: str, integer: bool = False, name: str = "vv"
) -> BandSample:
    return BandSample("scene.tif", name, declared, values.astype(np.float32), integer)


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
    assert "give units=amplitude" in amplitude.why
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
