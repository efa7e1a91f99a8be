"""Which tiles an inference predicts, and which of their pixels are scored against ground truth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builtup.errors import ConfigError, InputError
from builtup.geo.probability import IGNORE
from builtup.geo.windows import Window
from builtup.tiles.folds import Folds
from builtup.tiles.table import TILE_STATS_CSV, TrainTile, read_tile_stats
from builtup.tiles.tile import TILES_CSV, Tile, read_tile, read_tiles

__all__ = ["Selection", "select_all", "select_held_out"]


@dataclass(frozen=True)
class Selection:
    """Tiles to predict. Those of a held-out fold have ground truth, and ground that is theirs."""

    tiles: tuple[Tile, ...]
    fold_name: str = ""
    _truth: Mapping[str, TrainTile] = field(default_factory=dict)
    _by_scene: Mapping[str, tuple[TrainTile, ...]] = field(default_factory=dict)
    _folds: Folds | None = None
    _fold: int = 0

    @property
    def cities(self) -> tuple[str, ...]:
        """The keys of the cities, sorted."""
        return tuple(sorted({tile.city for tile in self.tiles}))

    def scene_size(self, tile: Tile) -> tuple[int, int]:
        """Width and height of the tile's scene: its tiles reach to the edges."""
        return self._sizes[tile.scene]

    @cached_property
    def _sizes(self) -> dict[str, tuple[int, int]]:
        sizes: dict[str, tuple[int, int]] = {}
        for t in self.tiles:
            width, height = sizes.get(t.scene, (0, 0))
            sizes[t.scene] = (max(width, t.x + t.width), max(height, t.y + t.height))
        return sizes

    def held_out(self, tile: Tile) -> Window | None:
        """The part of the tile (counted from its corner) that may be predicted, or None.

        Outside a held-out block lies ground that the network has learnt from: it stays no-data,
        so that no later score can count it.
        """
        if self._folds is None:
            return Window(0, 0, tile.height, tile.width)
        held = self._folds.held_out(tile, self._fold)
        part = None if held is None else held.intersection(tile.window)
        return None if part is None else part.relative_to(tile.window)

    def truth(self, tile: Tile) -> NDArray[np.uint8]:
        """Ground truth (H, W) of a held-out tile; 255 where unknown, or scored by another tile."""
        if self._folds is None:
            raise ConfigError("has_targets: these tiles have no ground truth; set it to False")
        known = self._truth[tile.tile_id]
        mask: NDArray[Any] = read_tile(known.mask, 1)
        scored = self._folds.validation_scored(known, self._by_scene[tile.scene], self._fold)
        return np.where(scored, mask, np.uint8(IGNORE))


def select_all(data_path: Path) -> Selection:
    """All tiles of `<data_path>/tiles.csv`."""
    return Selection(tuple(read_tiles(data_path / TILES_CSV)))


def select_held_out(data_path: Path, val_fold: int | str | None) -> Selection:
    """All tiles of the scenes in which the fold holds ground out (`<data_path>/tile_stats.csv`).

    Raises ConfigError where no fold is held out, InputError where the data do not know it.
    """
    if val_fold is None:
        raise ConfigError(
            "val_fold: the network was trained on every city, nothing is held out; "
            "use a test_ config, or name the fold to score"
        )
    folds = Folds.read(data_path)
    fold = folds.index_of(val_fold)
    rows = read_tile_stats(data_path / TILE_STATS_CSV)
    by_scene: dict[str, list[TrainTile]] = defaultdict(list)
    for row in rows:
        by_scene[row.tile.scene].append(row)
    chosen = {row.tile.scene for row in rows if folds.held_out(row.tile, fold) is not None}
    kept = [row for row in rows if row.tile.scene in chosen]
    if not kept:
        raise InputError(
            data_path / TILE_STATS_CSV,
            f"no tile of the fold {folds.names[fold]}",
            "run generate_tiles_stats again",
        )
    return Selection(
        tiles=tuple(row.tile for row in kept),
        fold_name=folds.names[fold],
        _truth={row.tile.tile_id: row for row in kept},
        _by_scene={scene: tuple(of) for scene, of in by_scene.items()},
        _folds=folds,
        _fold=fold,
    )
