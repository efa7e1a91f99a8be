"""Other dates of a city on the same ground, and patches of them in a sample."""

from __future__ import annotations

import functools
import logging
from collections import defaultdict
from collections.abc import Sequence

import torch

from builtup.errors import ConfigError
from builtup.geo.windows import Window
from builtup.tiles.folds import Folds
from builtup.tiles.table import TrainTile

__all__ = ["other_dates", "random_patch"]

log = logging.getLogger(__name__)

#: Sides of a patch, as shares of the window's.
LEAST, MOST = 0.25, 0.75


def other_dates(tiles: Sequence[TrainTile], folds: Folds) -> dict[str, tuple[TrainTile, ...]]:
    """By tile id, the tiles of the city's other scenes that show exactly the same pixels.

    Scenes on another grid cannot be mixed without resampling: their tiles have no entry, and their
    number is logged. Raises ConfigError where no tile has another date.
    """
    groups: dict[tuple[object, ...], list[TrainTile]] = defaultdict(list)
    for t in tiles:
        groups[t.tile.city, t.tile.x, t.tile.y, t.tile.width, t.tile.height].append(t)

    @functools.cache
    def mixable(scene: str, other: str) -> bool:
        return scene != other and folds.scenes[scene].grid.matches(folds.scenes[other].grid)

    others_of: dict[str, tuple[TrainTile, ...]] = {}
    for group in groups.values():
        for t in group:
            others = tuple(o for o in group if mixable(t.tile.scene, o.tile.scene))
            if others:
                others_of[t.tile.tile_id] = others
    if not others_of:
        raise ConfigError(
            "mix_dates: no training tile has another date of its city on the same grid; "
            "set mix_dates = 0"
        )
    alone = len(tiles) - len(others_of)
    log.log(
        logging.WARNING if alone else logging.INFO,
        "mix_dates: %d of %d training tiles have no other date on their grid and stay unmixed",
        *(alone, len(tiles)),
    )
    return others_of


def random_patch(window: Window) -> Window:
    """A rectangle within the window, of a quarter to three quarters of each side."""
    sides = []
    for length in (window.height, window.width):
        share = LEAST + (MOST - LEAST) * float(torch.rand(()))
        sides.append(max(1, round(share * length)))
    height, width = sides
    y = window.y + int(torch.randint(window.height - height + 1, ()))
    x = window.x + int(torch.randint(window.width - width + 1, ()))
    return Window(y, x, height, width)
