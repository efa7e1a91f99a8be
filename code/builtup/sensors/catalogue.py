"""The sensors that the project knows, and which of them a channel set belongs to."""

from __future__ import annotations

from builtup.errors import ConfigError
from builtup.sensors.optical.cameras import IRRG, OPTICAL_SETS, RGB
from builtup.sensors.radar.bands import CHANNEL_SETS
from builtup.sensors.radar.sentinel1 import SENTINEL1
from builtup.sensors.sensor import ChannelSet, Sensor

__all__ = ["DEFAULT", "SENSORS", "channel_sets", "layers_of", "sensor_named", "sensor_of"]

#: By name.
SENSORS: dict[str, Sensor] = {sensor.name: sensor for sensor in (SENTINEL1, RGB, IRRG)}
#: That of data which does not say.
DEFAULT = SENTINEL1
_SETS: dict[str, ChannelSet] = {**CHANNEL_SETS, **OPTICAL_SETS}


def sensor_named(name: str) -> Sensor:
    """The sensor of a name; ConfigError for one that is not known."""
    if name not in SENSORS:
        raise ConfigError(f"sensor {name!r} is unknown; choose one of {', '.join(SENSORS)}")
    return SENSORS[name]


def sensor_of(channel_set: str) -> Sensor:
    """The sensor whose bands a channel set is computed from; radar's where no other has it."""
    known = _SETS.get(channel_set)
    return DEFAULT if known is None else sensor_named(known.sensor)


def layers_of(channel_set: str) -> tuple[str, ...]:
    """The layers beside the sensor's bands that a channel set is computed from."""
    known = _SETS.get(channel_set)
    return () if known is None else known.layers


def channel_sets(sensor: Sensor) -> dict[str, ChannelSet]:
    """The channel sets that are computed from a sensor's bands, by name."""
    return {name: known for name, known in _SETS.items() if known.sensor == sensor.name}
