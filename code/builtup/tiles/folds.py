"""Which ground is held out in turn: whole cities, or blocks of a city with a gap around them.

Training may learn from everything outside the held-out ground (and its gap), validation scores
every pixel of it once.
"""

from __future__ import annotations

import csv
import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from builtup.errors import BuiltupError, InputError
from builtup.geo.grid import Grid
from builtup.geo.probability import IGNORE
from builtup.geo.windows import Window
from builtup.sensors.radar.names import current_key, plain_id, safe_name
from builtup.tiles.block_folds import Block, city_blocks, parse_blocks
from builtup.tiles.partition import exclusive_cores
from builtup.tiles.table import TrainTile
from builtup.tiles.tile import Tile, read_tile

__all__ = ["FOLDS_JSON", "Folds", "SceneGround", "plan_folds"]

log = logging.getLogger(__name__)

FOLDS_JSON = "folds.json"


@dataclass(frozen=True)
class SceneGround:
    """A scene's city and its grid."""

    city: str
    grid: Grid


@dataclass(frozen=True)
class Folds:
    """The folds of a data set: `names[i]` is a city's key or a block's name `<city>/r0c1`.

    `kind` is "city", "blocks" or "file" (sets of scenes), `gap` the least distance in pixels
    between training and validation ground, `scenes` the ground of each scene id, `blocks` empty for
    folds of whole scenes. Of sets, which a file gives or a number, `members[i]` are the scene ids
    of each.
    """

    kind: str
    names: tuple[str, ...]
    gap: int
    scenes: Mapping[str, SceneGround]
    blocks: tuple[Block, ...] = ()
    members: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def read(cls, folder: Path) -> Folds:
        """Read what `generate_tiles_stats` wrote into `folder`; InputError where it did not."""
        path = folder / FOLDS_JSON
        if not path.is_file():
            raise InputError(path, "no such file", "run generate_tiles_stats first")
        try:
            return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise InputError(path, f"malformed ({e})", "run generate_tiles_stats again") from e

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Folds:
        """The folds from what `to_json` gave."""
        scenes = {
            scene: SceneGround(
                s["city"],
                Grid(_crs(s["crs"]), Affine(*s["transform"]), s["width"], s["height"]),
            )
            for scene, s in values["scenes"].items()
        }
        blocks = tuple(
            Block(
                b["name"],
                b["city"],
                _crs(b["crs"]),
                tuple(b["bounds"]),
                tuple(b["gap"]),
            )
            for b in values["blocks"]
        )
        members = tuple(tuple(scenes) for scenes in values.get("members", ()))
        return cls(values["kind"], tuple(values["names"]), values["gap"], scenes, blocks, members)

    def to_json(self) -> dict[str, Any]:
        """The folds as JSON values; coordinates in CRS units, transforms as (a, b, c, d, e, f)."""
        return {
            "kind": self.kind,
            "gap": self.gap,
            "names": list(self.names),
            "blocks": [
                {
                    "name": b.name,
                    "city": b.city,
                    "crs": _text(b.crs),
                    "bounds": list(b.bounds),
                    "gap": list(b.gap),
                }
                for b in self.blocks
            ],
            "scenes": {
                scene: {
                    "city": s.city,
                    "crs": _text(s.grid.crs),
                    "transform": list(s.grid.transform)[:6],
                    "width": s.grid.width,
                    "height": s.grid.height,
                }
                for scene, s in sorted(self.scenes.items())
            },
            **({"members": [list(scenes) for scenes in self.members]} if self.members else {}),
        }

    def index_of(self, name_or_index: str | int) -> int:
        """The index of a fold given by name, by the city's bare name, or by number."""
        wanted, spelled = str(name_or_index), [current_key(n) for n in self.names]
        ways = [(wanted, self.names), (current_key(wanted), spelled)]
        for own, names in ((wanted, self.names), (safe_name(wanted), spelled)):
            ways.append((own, [n.split("_", 1)[-1] for n in names]))
        for own, known_names in ways:
            if known_names.count(own) == 1:
                return known_names.index(own)
        if str(name_or_index).isdigit() and int(name_or_index) < len(self.names):
            return int(name_or_index)
        known = ", ".join(f"{i}: {name}" for i, name in enumerate(self.names))
        raise InputError(f"fold {name_or_index}", "the data have no such fold", f"known: {known}")

    def city_of(self, fold: int) -> str:
        """The key of the city in which the fold lies; of a fold of several its name."""
        if self.members:
            cities = {self.scenes[scene].city for scene in self.members[fold]}
            return cities.pop() if len(cities) == 1 else self.names[fold]
        return self.blocks[fold].city if self.blocks else self.names[fold]

    def reaches(self, scene: str, fold: int) -> bool:
        """Whether the fold may hold out ground of a scene: by its file, or its city."""
        if self.members:
            return scene in self.members[fold]
        return self.scenes[scene].city == self.city_of(fold)

    def held_out(self, tile: Tile, fold: int, *, with_gap: bool = False) -> Window | None:
        """The pixels of the tile's scene that the fold holds out (with its gap), or None.

        For folds of cities that is the whole scene of each of the city's dates.
        """
        ground = self._ground(tile)
        if not self.reaches(tile.scene, fold):
            return None
        if not self.blocks:
            return Window(0, 0, ground.grid.height, ground.grid.width)
        return self.blocks[fold].window(ground.grid, with_gap=with_gap)

    def grid_of(self, tile: Tile) -> Grid:
        """The grid of the tile's scene."""
        return self._ground(tile).grid

    def _ground(self, tile: Tile) -> SceneGround:
        try:
            return self.scenes[tile.scene]
        except KeyError:
            raise InputError(
                tile.path,
                f"the folds do not know its scene {tile.scene}",
                "run generate_tiles_stats again",
            ) from None

    def fold_index(self, tile: Tile) -> int:
        """The fold in whose ground the middle of the tile lies."""
        candidates = [i for i in range(len(self.names)) if self.reaches(tile.scene, i)]
        if not self.blocks:
            return candidates[0]
        middle = Window(tile.y + tile.height // 2, tile.x + tile.width // 2, 1, 1)
        for i in candidates:
            window = self.held_out(tile, i)
            if window is not None and window.intersection(middle):
                return i
        raise BuiltupError(f"tile {tile.tile_id}: outside all blocks; report this as a bug")

    def training_allowed(self, tile: TrainTile, val_fold: int | None) -> NDArray[np.bool_] | None:
        """(height, width) ground of the tile that training may learn from; None for all of it."""
        inside = self._forbidden(tile.tile, val_fold)
        if inside is None:
            return None
        allowed = np.ones((tile.tile.height, tile.tile.width), dtype=bool)
        allowed[inside.relative_to(tile.tile.window).slices] = False
        return allowed

    def _forbidden(self, tile: Tile, val_fold: int | None) -> Window | None:
        if val_fold is None:
            return None
        held = self.held_out(tile, val_fold, with_gap=True)
        return None if held is None else held.intersection(tile.window)

    def training_tiles(self, tiles: Sequence[TrainTile], val_fold: int | None) -> list[TrainTile]:
        """The tiles on which something valid and labelled is left for training.

        Ground that cities share is looked at by `builtup.tiles.leakage.training_tiles`.
        """
        return [t for t in tiles if not t.skip and self._something_left(t, val_fold)]

    def _something_left(self, tile: TrainTile, val_fold: int | None) -> bool:
        inside = self._forbidden(tile.tile, val_fold)
        if inside is None:
            return True
        if inside == tile.tile.window:
            return False
        allowed = self.training_allowed(tile, val_fold)
        return bool(np.any((read_tile(tile.mask, 1) != IGNORE) & allowed))

    def validation_tiles(self, tiles: Iterable[TrainTile], val_fold: int) -> list[TrainTile]:
        """The tiles that score a part of the held-out ground, those without labels left out."""
        tiles = list(tiles)
        cores = exclusive_cores(t.tile for t in tiles)
        kept = []
        for t in tiles:
            held = self.held_out(t.tile, val_fold)
            if not t.skip and held is not None and held.intersection(cores[t.tile.tile_id]):
                kept.append(t)
        return kept

    def validation_scored(
        self, tile: TrainTile, tiles_of_scene: Sequence[TrainTile], val_fold: int
    ) -> NDArray[np.bool_]:
        """(height, width) pixels of the tile that are scored: its own core, held-out ground only.

        The cores of a scene's tiles partition it, so that no pixel is counted twice.
        """
        scored = np.zeros((tile.tile.height, tile.tile.width), dtype=bool)
        core = exclusive_cores(t.tile for t in tiles_of_scene)[tile.tile.tile_id]
        held = self.held_out(tile.tile, val_fold)
        part = None if held is None else held.intersection(core)
        if part is not None:
            scored[part.relative_to(tile.tile.window).slices] = True
        return scored


def _text(crs: CRS | None) -> str:
    """A CRS as text, empty where there is none."""
    return str(crs.to_string()) if crs else ""


def _crs(text: str) -> CRS | None:
    return CRS.from_string(text) if text else None


def plan_folds(
    scenes: Mapping[str, SceneGround],
    dates: Mapping[str, str],
    *,
    kind: str,
    blocks: str,
    gap: int,
) -> Folds:
    """The folds of `scenes` (by scene id; `dates` as YYYYMMDD): one a city, or one a block.

    `kind` is "auto" (cities where there are several, else blocks), "city", "blocks", the path of a
    CSV file with the columns scene (or site) and fold, or how many folds the cities are dealt into.
    """
    if kind.endswith(".csv"):
        return _of_file(Path(kind), scenes, gap)
    if kind.isdecimal():
        return _dealt(int(kind), scenes, gap)
    if kind not in {"auto", "city", "blocks"}:
        raise BuiltupError(
            f"folds={kind}: expected auto, city, blocks, a file .csv, or how many there shall be"
        )
    by_city: dict[str, list[str]] = defaultdict(list)
    for scene in sorted(scenes, key=lambda s: (scenes[s].city, dates[s], s)):
        by_city[scenes[scene].city].append(scene)
    if kind == "auto":
        kind = "city" if len(by_city) > 1 else "blocks"
    if kind == "city":
        if len(by_city) == 1:
            raise BuiltupError(
                f"folds=city: the data hold one city only ({next(iter(by_city))}); use folds=blocks"
            )
        return Folds("city", tuple(by_city), gap, scenes)
    plan = parse_blocks(blocks)
    cut = [
        block
        for city, ids in by_city.items()
        for block in city_blocks(
            city, [scenes[s].grid for s in ids], plan, gap, alone=len(by_city) == 1
        )
    ]
    return Folds("blocks", tuple(b.name for b in cut), gap, scenes, tuple(cut))


def _dealt(count: int, scenes: Mapping[str, SceneGround], gap: int) -> Folds:
    """The cities in so many folds of about as many pixels: the largest first, each to the least."""
    pixels: dict[str, int] = defaultdict(int)
    members: dict[str, list[str]] = defaultdict(list)
    for scene, ground in sorted(scenes.items()):
        pixels[ground.city] += ground.grid.pixels
        members[ground.city].append(scene)
    if not 2 <= count <= len(members):
        known = f"the data hold {len(members)} of them"
        raise BuiltupError(f"folds={count}: expected from 2 to the number of cities; {known}")
    folds: list[list[str]] = [[] for _ in range(count)]
    load = [0] * count
    for city in sorted(members, key=lambda city: (-pixels[city], city)):
        least = load.index(min(load))
        load[least] += pixels[city]
        folds[least] += members[city]
    names = tuple(f"fold{i}" for i in range(count))
    return Folds("file", names, gap, scenes, members=tuple(tuple(sorted(own)) for own in folds))


def _of_file(path: Path, scenes: Mapping[str, SceneGround], gap: int) -> Folds:
    """The folds that a file gives, by scene or by site, in the order of their first rows.

    Raises InputError where it cannot be read, leaves a scene out, or names one twice; what it says
    of scenes that are not there is logged.
    """
    remedy = "write the columns scene (or site) and fold, a row for each scene (or site)"
    try:
        with path.open(encoding="utf-8-sig", newline="") as f:
            rows = list(csv.DictReader(f))
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise InputError(path, f"folds cannot be read ({e})", "check the path") from e
    by = next((name for name in ("scene", "site") if rows and name in rows[0]), "")
    if not by or not all(row.get(by) and row.get("fold") for row in rows):
        raise InputError(path, "no list of folds", remedy)
    fold_of: dict[str, str] = {}
    for row in rows:
        if fold_of.setdefault(row[by], row["fold"]) != row["fold"]:
            raise InputError(
                path, f"{row[by]} is of the folds {fold_of[row[by]]} and {row['fold']}", remedy
            )
    members: dict[str, list[str]] = {fold: [] for fold in fold_of.values()}
    used = set()
    for scene, ground in sorted(scenes.items()):
        key = plain_id(scene) if by == "scene" else ground.city
        known = next((name for name in (key, scene) if name in fold_of), None)
        if known is None:
            raise InputError(path, f"names no fold for the {by} {key}", remedy)
        used.add(known)
        members[fold_of[known]].append(scene)
    if strangers := sorted(fold_of.keys() - used):
        log.warning(
            "%s: %d of its %ss are not among the tiles: %s",
            *(path, len(strangers), by, ", ".join(strangers[:3])),
        )
    found = {fold: tuple(own) for fold, own in members.items() if own}
    if len(found) < 2:
        raise InputError(path, f"all scenes are of one fold ({', '.join(found)})", remedy)
    return Folds("file", tuple(found), gap, scenes, members=tuple(found.values()))
