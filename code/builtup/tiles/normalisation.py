"""stats.json: mean and deviation of every channel, by which a network's input is normalised."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from builtup.errors import BuiltupError, ConfigError, InputError
from builtup.sensors.catalogue import DEFAULT, channel_sets, sensor_named
from builtup.sensors.sensor import Sensor
from builtup.tiles.folds import Folds
from builtup.tiles.moments import Moments, measured_channels, select, total
from builtup.tiles.scene_stats import SceneMeasures

__all__ = ["STATS_JSON", "channel_statistics", "read_sensor", "sensor_entry", "statistics"]

log = logging.getLogger(__name__)

STATS_JSON = "stats.json"
_NOTHING_LEFT = (
    "holding this fold out leaves no valid pixel to train on; "
    "validate on another, or use other blocks or a smaller gap"
)


def sensor_entry(sensor: Sensor) -> dict[str, str]:
    """What is written of the sensor: nothing of the default one."""
    return {} if sensor == DEFAULT else {"sensor": sensor.name}


def statistics(
    folds: Folds, measures: Sequence[SceneMeasures], sensor: Sensor
) -> dict[str, object]:
    """What stats.json holds: of each channel set, mean and deviation over the training pixels of
    each fold, and of all.
    """
    measured = [pair for m in measures for pair in zip(m.parts, m.moments, strict=True)]
    channels = len(measured_channels(sensor))
    moments = {"all": total((own for _, own in measured), channels)}
    for fold, name in enumerate(folds.names):
        kept = (own for part, own in measured if fold not in part.held_out_by)
        of_fold = total(kept, channels)
        if of_fold.count == 0:
            log.warning("%s: %s", name, _NOTHING_LEFT)
            continue
        moments[str(fold)] = of_fold
    return {
        "folds": {key: _by_channel_set(m, sensor) for key, m in moments.items()},
        "names": list(folds.names),
        "pixels": {key: m.count for key, m in moments.items()},
        "channels": {key: list(c.names) for key, c in channel_sets(sensor).items()},
        **sensor_entry(sensor),
    }


def _by_channel_set(moments: Moments, sensor: Sensor) -> dict[str, dict[str, list[float]]]:
    return {
        key: dict(zip(("mean", "std"), select(moments, key, sensor), strict=True))
        for key in channel_sets(sensor)
    }


def read_sensor(folder: Path) -> Sensor:
    """The sensor of the tiles that were measured into `folder`, the default one without an entry.

    Raises InputError for a sensor that is not known.
    """
    path = folder / STATS_JSON
    if not path.is_file():
        return DEFAULT
    name = _read(path).get("sensor", DEFAULT.name)
    try:
        return sensor_named(name)
    except ConfigError as e:
        raise InputError(path, str(e), "use the version that measured the tiles") from e


def _read(path: Path) -> dict[str, Any]:
    try:
        stats = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise InputError(path, f"malformed ({e})", "run generate_tiles_stats again") from e
    if not isinstance(stats, dict):
        raise InputError(path, "malformed (no object)", "run generate_tiles_stats again")
    return stats


def channel_statistics(
    folder: Path, channel_set: str, val_fold: int | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over the training pixels of a fold.

    `folder` is what `generate_tiles_stats` wrote to; None means all pixels. Raises InputError
    where the file, the fold or the channel set is missing.
    """
    path = folder / STATS_JSON
    if not path.is_file():
        raise InputError(path, "no such file", "run generate_tiles_stats first")
    key = "all" if val_fold is None else str(val_fold)
    stats = _read(path)
    try:
        if key not in stats["folds"] and val_fold in range(len(stats["names"])):
            raise BuiltupError(f"{stats['names'][val_fold]}: {_NOTHING_LEFT}")
        values = stats["folds"][key][channel_set]
        return tuple(values["mean"]), tuple(values["std"])
    except KeyError as e:
        raise InputError(
            path, f"holds nothing for {e}", f"channel sets: {', '.join(stats.get('channels', ()))}"
        ) from e
    except (ValueError, TypeError) as e:
        raise InputError(path, f"malformed ({e})", "run generate_tiles_stats again") from e
