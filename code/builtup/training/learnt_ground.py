"""The ground that weights were learnt from, and whether a run that takes them may hold it out.

A run that goes on with another, or begins with its weights, has learnt from that run's ground too.
Names of folds do not tell: cities are added, folds are drawn anew, a folder has other blocks of the
same name. So a run keeps the ground itself, and hands it on.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import shapely
from rasterio.crs import CRS

from builtup.config.load import Config
from builtup.data.separation import GAP
from builtup.errors import BuiltupError, LeakageError
from builtup.runs.manifest import LoggedConfig
from builtup.runs.records import Part, Record, Summary
from builtup.sensors.radar.names import current_key
from builtup.tiles.folds import Folds
from builtup.tiles.leakage import Area, areas_of_files, learnt_areas, meet, scored_areas
from builtup.tiles.table import TILE_STATS_CSV, read_tile_stats
from builtup.tiles.tile import Tile

if TYPE_CHECKING:  # torch, which a report does without
    from builtup.data.contract import SampleLoader

__all__ = ["Held", "LearntGround"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Shape(Part):
    """An area as text: CRS and shape as WKT; without a CRS the scene that it is of."""

    crs: str
    pixel: float
    shape: str
    scene: str | None = None

    @classmethod
    def of(cls, area: Area) -> Self:
        text = shapely.to_wkt(area.shape, rounding_precision=-1)
        crs = area.crs.to_wkt() if area.crs else ""
        return cls(crs=crs, pixel=area.pixel, shape=text, scene=area.alone or None)

    @property
    def area(self) -> Area:
        crs = CRS.from_wkt(self.crs) if self.crs else None
        return Area(crs, self.pixel, shapely.from_wkt(self.shape), self.scene or "")


@dataclass(frozen=True)
class Held:
    """What a run holds out: the fold's name and those of blocks near it, its ground or tiles."""

    names: tuple[str, ...] = ()
    areas: tuple[Area, ...] = ()
    tile_ids: frozenset[str] = frozenset()
    gap: int = GAP

    @classmethod
    def by(cls, config: Config, train: SampleLoader, val: SampleLoader | None) -> Self:
        """What the loaders of a training hold out, for validation or for scores to come."""
        folds, fold, inner = train.folds, train.val_fold, train.threshold_fold
        tiles = train.tiles
        if folds is None and val is None and not config.validate:
            folder, chosen = Path(config.data_path), (config.get("val_fold"), config.threshold_fold)
            folds, tiles = Folds.read(folder), read_tile_stats(folder / TILE_STATS_CSV)
            fold, inner = (None if one is None else folds.index_of(one) for one in chosen)
        if folds is not None and tiles is not None:
            numbers = [one for one in (fold, inner) if one is not None]
            return cls(
                tuple(folds.names[one] for one in numbers),
                tuple(area for one in numbers for area in scored_areas(folds, tiles, one)),
                gap=folds.gap,
            )
        return cls() if val is None else cls(tuple(val.places.cities), *_places(val))

    @classmethod
    def of_fold(cls, folder: Path, name: str) -> Self:
        """A fold of a folder of tiles."""
        folds, tiles = Folds.read(folder), read_tile_stats(folder / TILE_STATS_CSV)
        areas = scored_areas(folds, tiles, folds.index_of(name))
        return cls((name,), tuple(areas), gap=folds.gap)


def _places(loader: SampleLoader) -> tuple[tuple[Area, ...], frozenset[str]]:
    """The ground of a config's own loader where its tiles have files, else their ids."""
    tiles = [getattr(tile, "tile", tile) for tile in loader.sample_tiles or ()]
    if tiles and all(isinstance(tile, Tile) for tile in tiles):
        return tuple(areas_of_files(tiles)), frozenset()
    return (), frozenset(tile.tile_id for tile in tiles)


@dataclass(frozen=True, kw_only=True)
class LearntGround(Record):
    """What a run has learnt from, that of the runs before it included.

    `held_out` is the name of the fold that it held out, `folds` are those that it learnt from,
    `areas` their ground. Where tiles have no files, `tile_ids` are theirs; `named` are folds of
    which no more than the name is known, and `unknown` says that there is more of which nothing is.
    `transductive` are cities whose scenes it has learnt from without a label of theirs, by
    pseudo-labels: they may be held out, and their scores say so.
    """

    NAME: ClassVar[str] = "learnt_ground.json"
    REMEDY: ClassVar[str] = "copy the run again"

    held_out: str = ""
    folds: tuple[str, ...] = ()
    areas: tuple[_Shape, ...] = ()
    tile_ids: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    transductive: tuple[str, ...] = ()
    unknown: bool | None = None

    @classmethod
    def _parsed(cls, key: str, value: Any) -> Any:
        if key == "areas":
            return tuple(_Shape.from_json(area) for area in value)
        return super()._parsed(key, value)

    @classmethod
    def of(cls, train: SampleLoader) -> Self:
        """What a training's loader gives to learn from."""
        tile_ids: Iterable[str] = ()
        if train.knows_folds and train.folds is not None:
            tiles = list(train.sample_tiles or ())
            areas: Sequence[Area] = learnt_areas(train.folds, tiles, train.val_fold)
        else:
            areas, tile_ids = _places(train)
        return cls(
            held_out=train.held_out,
            folds=tuple(train.learnt_from),
            areas=tuple(map(_Shape.of, areas)),
            tile_ids=tuple(sorted(tile_ids)),
            named=() if areas or tile_ids else tuple(train.learnt_from),
        )

    @classmethod
    def behind(cls, folder: Path) -> Self | None:
        """What the run in a folder of artifacts has learnt from; None where it cannot be known.

        Of a run from before there was this record, the names of the folds.
        """
        known = cls.find(folder)
        if known is not None:
            return known
        summary = Summary.find(folder)
        if summary is not None and summary.trained_on:
            names = summary.trained_on
            return cls(held_out=str(summary.val_fold or ""), folds=names, named=names)
        settings = LoggedConfig.read(folder).settings
        try:  # it ended before its summary: its config and the folds that are there now
            folds = Folds.read(Path(str(settings["data_path"])))
            held = settings["val_fold"]
            fold = None if held is None else folds.index_of(held)
        except (BuiltupError, KeyError):
            return None
        names = tuple(name for i, name in enumerate(folds.names) if i != fold)
        return cls(held_out="" if fold is None else folds.names[fold], folds=names, named=names)

    def and_of(self, other: LearntGround) -> LearntGround:
        """This ground and that of another run, held out what this run holds out."""
        shapes = {json.dumps(area.to_json()): area for area in (*self.areas, *other.areas)}
        return LearntGround(
            held_out=self.held_out,
            folds=tuple(sorted({*self.folds, *other.folds})),
            areas=tuple(shapes.values()),
            tile_ids=tuple(sorted({*self.tile_ids, *other.tile_ids})),
            named=tuple(sorted({*self.named, *other.named})),
            transductive=tuple(sorted({*self.transductive, *other.transductive})),
            unknown=self.unknown or other.unknown,
        )

    def without_labels(self) -> LearntGround:
        """The same of scenes whose labels are a teacher's: no label of theirs was seen."""
        cities = {name.partition("/")[0] for name in self.folds}
        return LearntGround(
            held_out=self.held_out, transductive=tuple(sorted({*self.transductive, *cities}))
        )

    def seen_of(self, held: Held) -> list[str]:
        """What of the ground that is to be held out was learnt from, by name; nothing: none."""
        common = sorted(held.tile_ids & {*self.tile_ids})
        if common:
            return common
        if held.areas and meet([shape.area for shape in self.areas], held.areas, held.gap):
            return list(held.names)
        names = set(self.named)
        if (self.areas and not held.areas) or (self.tile_ids and not held.tile_ids):
            names |= {*self.folds}  # one of the two has no files to compare
        return [name for name in sorted(names) if any(_overlap(name, own) for own in held.names)]

    def require_unseen(self, held: Held, where: object, source: str, remedy: str) -> None:
        """LeakageError where this ground, that of `source`, was to be held out."""
        seen = self.seen_of(held)
        if seen:
            more = f" and {len(seen) - 3} more" if len(seen) > 3 else ""
            was = f" (it held out {self.held_out})" if self.held_out else ""
            raise LeakageError(
                f"{where}: {source} has learnt from {', '.join(seen[:3])}{more}{was}, which this "
                f"run holds out: its scores would be those of ground that was seen; {remedy}"
            )


def _overlap(name: str, other: str) -> bool:
    """Whether two folds are one, however spelled, or one is a block of the other's city."""
    name, other = current_key(name), current_key(other)
    return name == other or name.startswith(f"{other}/") or other.startswith(f"{name}/")
