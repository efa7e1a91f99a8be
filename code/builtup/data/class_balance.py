"""Rare classes: how often their tiles are drawn, where these are cropped, and what pixels count."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from builtup.errors import ConfigError, InputError
from builtup.sensors.classes import Classes
from builtup.tiles.folds import Folds
from builtup.tiles.leakage import training_tiles
from builtup.tiles.normalisation import read_classes
from builtup.tiles.table import TILE_STATS_CSV, TrainTile, read_tile_stats

__all__ = ["Sought", "median_frequency_weights", "tile_weights"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sought:
    """A class on which crops are centred, and of each tile the share of its draws that are."""

    number: int
    shares: tuple[float, ...]


def tile_weights(
    tiles: Sequence[TrainTile],
    weights: tuple[float, ...] | None,
    rarest: float = 0.0,
    classes: Classes | None = None,
) -> tuple[list[float] | None, Sought | None]:
    """How often each tile is drawn beside the others, None where alike; and what
    some of their crops are centred on.

    `weights` are of a tile (without, with built-up pixels), or one of each of more classes, of
    which the largest counts that occurs. Of the samples a share `rarest` is drawn by how much of a
    tile is of the class that fewest labelled pixels are of, those of `classes` that are left out of
    means aside, and centred on a pixel of it. Raises ConfigError where they do not fit.
    """
    if not 0 <= rarest <= 1:
        raise ConfigError(f"rarest = {rarest}: expected a share from 0 to 1")
    drawn = None if weights is None else _of_classes(tiles, weights)
    if not rarest:
        return drawn, None
    drawn = drawn or [1.0] * len(tiles)
    areas = _areas(tiles)
    scored = range(len(areas)) if classes is None else classes.scored
    occurring = [c for c, area in enumerate(areas) if area > 0 and c in scored]
    if not occurring:
        raise ConfigError(f"rarest = {rarest}: no tile has a pixel of a class that is scored")
    rare = min(occurring, key=lambda c: areas[c])
    log.info(
        "%.0f %% of the samples are centred on class %d, %.2g %% of all labels",
        *(100 * rarest, rare, 100 * areas[rare] / sum(areas)),
    )
    shares = [tile.shares[rare] if rare < len(tile.shares) else 0.0 for tile in tiles]
    by_weight, by_share = sum(drawn), sum(shares)
    if not by_weight:
        raise ConfigError("sampler_weights: no tile can be drawn; give one of them above 0")
    sought = [rarest * share / by_share for share in shares]
    both = [(1 - rarest) * w / by_weight + s for w, s in zip(drawn, sought, strict=True)]
    of_draws = (s / w if w else 0.0 for s, w in zip(sought, both, strict=True))
    return both, Sought(rare, tuple(of_draws))


def _of_classes(tiles: Sequence[TrainTile], weights: tuple[float, ...]) -> list[float]:
    if len(weights) == 2:
        without, with_target = weights
        return [with_target if t.target_ratio > 0 else without for t in tiles]
    classes = max(len(t.shares) for t in tiles)
    if len(weights) != classes:
        raise ConfigError(
            f"sampler_weights = {weights!r}: give two, of a tile without and with buildings, or "
            f"one for each of the {classes} classes"
        )
    return [max(w for w, share in zip(weights, t.shares, strict=True) if share > 0) for t in tiles]


def median_frequency_weights(
    folder: str | Path,
    val_fold: str | int | None,
    limits: tuple[float, float] = (0.1, 10.0),
    *,
    drop_common: bool = False,
) -> tuple[float, ...]:
    """A weight of each class for a loss: the median frequency over its own, within `limits`.

    The frequency of a class is its share of the pixels of the training tiles in which it occurs
    (Eigen & Fergus, ICCV 2015). A class without a pixel, and one that is left out of means, gets a
    weight of 1, said in the log. Raises InputError where the folder has no labelled tiles to learn
    from, ConfigError for limits that make no sense.
    """
    if len(limits) != 2 or not 0 < limits[0] <= limits[1]:
        raise ConfigError(f"class weights within {limits}: expected (least, most) above 0")
    path = Path(folder) / TILE_STATS_CSV
    tiles, folds = read_tile_stats(path), Folds.read(Path(folder))
    held = None if val_fold is None else folds.index_of(val_fold)
    chosen = training_tiles(folds, tiles, held, drop_common=drop_common)
    areas = _areas(chosen)
    if not sum(areas):
        raise InputError(path, "no labelled pixel to learn from", "add labelled scenes")
    among = [
        sum(_labelled(t) for t in chosen if c < len(t.shares) and t.shares[c] > 0)
        for c in range(len(areas))
    ]
    frequency = [area / all_ if area else None for area, all_ in zip(areas, among, strict=True)]
    classes = read_classes(Path(folder))
    names = classes.names if classes else tuple(map(str, range(len(areas))))
    unscored = classes.unscored if classes else ()
    counted = {c: f for c, f in enumerate(frequency) if f and names[c] not in unscored}
    middle = median(counted.values())
    found = tuple(
        min(max(middle / counted[c], limits[0]), limits[1]) if c in counted else 1.0
        for c in range(len(areas))
    )
    listed = ", ".join(f"{name} {w:.3g}" for name, w in zip(names, found, strict=True))
    log.info("class weights by median frequency: %s", listed)
    if nowhere := [name for name, area in zip(names, areas, strict=True) if not area]:
        log.warning("no labelled pixel of %s: weight 1", ", ".join(nowhere))
    return found


def _labelled(tile: TrainTile) -> float:
    """Pixels of a tile, about: what is known of those with a label is their share of classes."""
    return tile.valid_fraction * tile.tile.width * tile.tile.height


def _areas(tiles: Sequence[TrainTile]) -> list[float]:
    """Labelled pixels of each class."""
    classes = max((len(t.shares) for t in tiles), default=0)
    return [
        sum(_labelled(t) * t.shares[c] for t in tiles if c < len(t.shares)) for c in range(classes)
    ]
