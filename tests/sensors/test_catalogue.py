"""The sensors by name, and the one that a channel set belongs to."""

from __future__ import annotations

import pytest

from builtup.errors import ConfigError
from builtup.sensors.catalogue import SENSORS, sensor_named, sensor_of
from builtup.sensors.radar.bands import CHANNEL_SETS


def test_every_channel_set_belongs_to_a_sensor_that_is_known() -> None:
    assert {sensor_of(name).name for name in CHANNEL_SETS} <= set(SENSORS)


def test_an_unknown_sensor_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match="sensor 'sonar' is unknown; choose one of sentinel1"):
        sensor_named("sonar")
