"""The last check before the first step: training ground keeps away from validation ground.

Loaders of `builtup.data` know their folds and are checked pixel by pixel. Of a config's own loaders
the ground is taken from their tiles' files, with the same distance; where tiles have no files,
their names are compared.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builtup.config.load import Config
from builtup.errors import LeakageError
from builtup.tiles.folds import FOLDS_JSON, Folds
from builtup.tiles.leakage import require_apart
from builtup.tiles.table import TILE_STATS_CSV, read_tile_stats
from builtup.tiles.tile import Tile

if TYPE_CHECKING:  # torch, which a report does without
    from builtup.data.contract import SampleLoader

__all__ = ["GAP", "require_separate"]

log = logging.getLogger(__name__)

#: Least distance in pixels where no folds.json says another.
GAP = 32


def require_separate(config: Config, train: SampleLoader, val: SampleLoader | None) -> None:
    """Raise LeakageError, in one line, where training sees validation ground.

    `val` is None without validation. What cannot be checked is named in a warning.
    """
    train.check_folds()
    if val is None:
        if not config.validate and config.get("val_fold") is not None:
            _require_held_out(config, train)
        return
    if train.knows_folds and val.knows_folds:
        _require_same_fold(config, train, val)
        return
    training, validation = _tiles(train), _tiles(val)
    if training is None or validation is None:
        log.warning(
            "%s: its loaders have no dataset.tiles: whether training sees validation ground "
            "cannot be checked",
            config.path,
        )
        return
    common = sorted({t.tile_id for t in training} & {t.tile_id for t in validation})
    if common:
        raise LeakageError(
            f"{config.path}: {len(common)} tiles are trained and validated on, the first is "
            f"{common[0]}; hold their city out in train_loader"
        )
    if all(isinstance(t, Tile) for t in (*training, *validation)):
        _require_distance(config, training, validation)
    else:
        log.warning("%s: its tiles have no files: only their names were compared", config.path)


def _require_held_out(config: Config, train: SampleLoader) -> None:
    """Training without validation: the fold `val_fold` will be scored when it is over."""
    folder = Path(config.data_path)
    folds = Folds.read(folder)
    fold = folds.index_of(config.val_fold)
    if train.knows_folds:
        if train.val_fold != fold or train.folds != folds:
            raise LeakageError(
                f"{config.path}: train_loader does not hold out {folds.names[fold]}, which will be "
                "scored; let it pass val_fold on, and data_path"
            )
        inner = config.threshold_fold
        if inner is not None and train.threshold_fold != folds.index_of(inner):
            raise LeakageError(
                f"{config.path}: train_loader does not keep away from threshold_fold = {inner}; "
                "let it pass threshold_fold on"
            )
        return
    training = _tiles(train)
    if training is None or not all(isinstance(t, Tile) for t in training):
        raise LeakageError(
            f"{config.path}: train_loader does not say what it learns from, so that "
            f"{folds.names[fold]} cannot be known to be unseen; use builtup.data.loaders, or give "
            "its dataset a list of tiles"
        )
    tiles = read_tile_stats(folder / TILE_STATS_CSV)
    held = folds.validation_tiles(tiles, fold)
    if config.threshold_fold is not None:
        held += folds.validation_tiles(tiles, folds.index_of(config.threshold_fold))
    _require_distance(config, training, [t.tile for t in held])


def _require_same_fold(config: Config, train: SampleLoader, val: SampleLoader) -> None:
    """Two loaders of `builtup.data` must hold out the same fold of the same data."""
    names = [loader.held_out or "nothing" for loader in (train, val)]
    if names[0] != names[1] or train.folds != val.folds:
        other = "" if names[0] != names[1] else " of other data"
        raise LeakageError(
            f"{config.path}: train_loader holds out {names[0]}, val_loader validates on "
            f"{names[1]}{other}; give both the same val_fold and folder"
        )


def _tiles(loader: SampleLoader) -> list[Any] | None:
    tiles = loader.sample_tiles
    return None if tiles is None else [getattr(tile, "tile", tile) for tile in tiles]


def _require_distance(config: Config, training: Sequence[Tile], validation: Sequence[Tile]) -> None:
    folder = Path(str(config.get("data_path", "")))
    gap = Folds.read(folder).gap if (folder / FOLDS_JSON).is_file() else GAP
    remedy = "leave it out of train_loader"
    require_apart(training, validation, gap, where=config.path, remedy=remedy)
