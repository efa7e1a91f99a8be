"""stats.json: mean and deviation of every channel, by which a network's input is normalised."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from builtup.errors import BuiltupError, ConfigError, InputError
from builtup.sensors.catalogue import DEFAULT, channel_sets, sensor_named
from builtup.sensors.classes import BUILT_UP, Classes
from builtup.sensors.optical.cameras import HEIGHT
from builtup.sensors.sensor import Sensor
from builtup.tiles.folds import Folds
from builtup.tiles.moments import Moments, measured_channels, select, total
from builtup.tiles.scene_stats import FoldPart, SceneMeasures

__all__ = [
    "STATS_JSON",
    "channel_statistics",
    "class_names",
    "classes_entry",
    "read_classes",
    "read_sensor",
    "sensor_entry",
    "statistics",
]

log = logging.getLogger(__name__)

STATS_JSON = "stats.json"
_NOTHING_LEFT = (
    "holding this fold out leaves no valid pixel to train on; "
    "validate on another, or use other blocks or a smaller gap"
)


def sensor_entry(sensor: Sensor) -> dict[str, str]:
    """What is written of the sensor: nothing of the default one."""
    return {} if sensor == DEFAULT else {"sensor": sensor.name}


def classes_entry(classes: Classes | None) -> dict[str, Any]:
    """What is written of classes that masks name: their names, and what these do not say."""
    if classes is None:
        return {}
    roles = classes.roles()
    return {"class_names": list(classes.names), **({"class_roles": roles} if roles else {})}


def statistics(
    folds: Folds, measures: Sequence[SceneMeasures], sensor: Sensor, classes: Classes | None = None
) -> dict[str, object]:
    """What stats.json holds: of each channel set, mean and deviation over the training pixels of
    each fold, and of all; of sets with heights only where some are known. `classes` are those
    that the masks name, None where they do not.
    """
    measured = [pair for m in measures for pair in zip(m.parts, m.moments, strict=True)]
    heights = [pair for m in measures if m.heights for pair in zip(m.parts, m.heights, strict=True)]
    channels = len(measured_channels(sensor))
    moments = {"all": _total(measured, channels)}
    layers = {"all": _layers(heights)}
    for fold, name in enumerate(folds.names):
        of_fold = _total(measured, channels, fold)
        if of_fold.count == 0:
            log.warning("%s: %s", name, _NOTHING_LEFT)
            continue
        moments[str(fold)], layers[str(fold)] = of_fold, _layers(heights, fold)
    sets = {
        key: known
        for key, known in channel_sets(sensor).items()
        if all({*known.layers} <= {*of} for of in layers.values())
    }
    return {
        "folds": {
            key: {
                name: dict(zip(("mean", "std"), select(m, name, sensor, layers[key]), strict=True))
                for name in sets
            }
            for key, m in moments.items()
        },
        "names": list(folds.names),
        "pixels": {key: m.count for key, m in moments.items()},
        "channels": {key: list(c.names) for key, c in sets.items()},
        **sensor_entry(sensor),
        **classes_entry(classes),
    }


Measured = Sequence[tuple[FoldPart, Moments]]


def _total(measured: Measured, channels: int, fold: int | None = None) -> Moments:
    """The moments of all parts, without those that a fold holds out."""
    return total((own for part, own in measured if fold not in part.held_out_by), channels)


def _layers(heights: Measured, fold: int | None = None) -> dict[str, Moments]:
    """Those of the layers of which anything is known."""
    found = _total(heights, 1, fold)
    return {HEIGHT: found} if found.count and found.squares[0] > 0 else {}


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


def read_classes(folder: Path) -> Classes | None:
    """The classes that the masks of the tiles in `folder` name; None where they do not."""
    path = folder / STATS_JSON
    stats = _read(path) if path.is_file() else {}
    if not stats.get("class_names"):
        return None
    try:
        return Classes.with_roles(stats["class_names"], stats.get("class_roles", {}))
    except (ConfigError, ValueError, TypeError, AttributeError) as e:
        raise InputError(path, f"malformed ({e})", "run generate_tiles_stats again") from e


def class_names(folder: str | Path) -> tuple[str, ...]:
    """The names of the classes of the tiles in `folder`: built-up or not where none is named."""
    classes = read_classes(Path(folder))
    return BUILT_UP.names if classes is None else classes.names


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
