"""The ladder of weak labels on radar, tags built-up or not: `weak.py --part radar` and `towns`.

`radar`: each of San Francisco's four blocks is left out in turn, with the gap of `new_ground.py`.
What remains is cut into pieces as far from one another, of which 20 % have pixel labels, 60 % tags
of cells of 320 m and 20 % validate; where those with pixel labels have next to no building, others
are drawn. `towns`: 20 simulated towns of another style (`simulate shift=style`), of which 10 % have
pixel labels, 70 % tags and 20 % validate, and four others that are mapped. Tags are built-up or
not, or shares: those of the pixels, or those of a coarse layer whose cells are partly exchanged
(`coarse_shares.exchanged`).
"""

from __future__ import annotations

import csv
import io
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from aerial import spread
from coarse_shares import _write_shares, exchanged
from new_ground import Records
from new_ground_data import COLUMN, ROW, SF, Ground, Grounds, Pair, _prepared, count_maps
from weak import chosen, gaps, recipes

from builtup import train
from builtup.errors import BuiltupError
from builtup.geo.windows import Window
from builtup.jobs.files import atomic_path, write_text_atomically
from builtup.maps.pseudo_labels import pseudo_labels
from builtup.prediction.predict import PredictOptions, predict
from builtup.prediction.recipe import Recipe
from builtup.scoring.counts import PixelCounts, f1, iou
from builtup.scoring.curves import average_precision
from builtup.scoring.tables import markdown
from builtup.sensors.radar.merge import generate_3b_images
from builtup.simulate.dataset import simulate
from builtup.tiles.cut import generate_tiles
from builtup.tiles.stats import generate_tiles_stats
from builtup.tiles.weak_split import N1, split_scenes
from builtup.tiles.weaken import weaken

CONFIG = "configs/train/weak/radar.py"
LENGTH = "num_workers=0 validate=False"
#: Pixels of a piece, of a cell and around it, between pieces, and between a block and them.
PIECE, CELL, CONTEXT, GAP = 64, 32, 16, 32
#: Pixels along a side of a block of cells of a layer that a sample shows at once.
BLOCK = 64
SHARES, ALL = "20;60;20", "80;0;20"
#: Towns that are learnt from and mapped, pixels of a side, and how many of them have what.
TOWNS, TESTS, SIZE, TOWN_SEED, TOWN_SHARES = 20, 4, 384, 51, "10;70;20"
#: A split whose pixel labels are less built-up is drawn anew.
LEAST = 0.01


@dataclass(frozen=True)
class Step:
    """A row: settings, how cells of so many pixels are tagged (or `layer`, its share of wrong
    cells), whether all have pixel labels, and whose maps teach."""

    settings: str = ""
    tags: str = "presence"
    upper: bool = False
    cell: int = CELL
    layer: float | None = None
    teacher: str = ""

    @property
    def block(self) -> int:
        """How many cells of a layer a sample shows along a side."""
        return 1 if self.layer is None else max(1, BLOCK // self.cell)


#: How shares are taught: as they are, or as those of a layer that errs.
AVERAGE = "ema_decay=0.99 ema_warmup=one"
TRUSTED = "tags_r=0.0"
DISTRUSTED = f"{TRUSTED} tags_apart=0.75 {AVERAGE}"
STEPS: dict[str, Step] = {
    "B1": Step(),
    "upper bound": Step(upper=True),
    "B1 + EMA": Step(AVERAGE),
    "M1": Step("tags_weight=0.5"),
    "M3": Step("tags_weight=0.5", teacher="M1"),
    "M4": Step("tags_weight=0.5 consistency=1.0"),
    "M4 + EMA": Step(
        "tags_weight=0.5 consistency=1.0 ema_decay=0.996 ema_warmup=one "
        "feature_dropout=complementary"
    ),
    "M1, shares": Step(f"tags_weight=0.5 {TRUSTED}", tags="shares"),
    **{
        f"M1, shares of {10 * cell} m, {wrong:.0%} wrong{how}".replace("%", " %"): Step(
            f"tags_weight=0.5 {settings}", cell=cell, layer=wrong
        )
        for how, settings in (("", DISTRUSTED), (", trusted", TRUSTED))
        for cell in (10, 25, 100)
        for wrong in (0.1, 0.2)
    },
}
#: F1 and IoU are of all maps as `predict` cuts them, average precision of each place's
#: probabilities: those of several networks do not share a scale.
FIGURES = {"F1": "f1", "IoU": "iou", "AP": "ap"}
#: Columns of a list of tags that are not classes.
CELL_COLUMNS = {"scene", "x", "y", "width", "height", "tile_id"}


def radar_tables(
    part: str,
    seeds: Iterable[int],
    names: Sequence[str],
    overrides: str,
    records: Records,
    out: Path,
) -> str:
    """The table of the rows that are named (all where none is), on one of GROUNDS."""
    table: dict[str, dict[int, Mapping[str, Any]]] = {}
    figures, steps = dict(FIGURES), chosen(STEPS, names)
    for seed in seeds:
        grounds = GROUNDS[part](out, seed)
        for name in steps:
            counts, found = PixelCounts.zero(), {}
            for ground in grounds:
                key = f"{part} | {ground.folder} | {name} | {ground.key(name, overrides)}"
                made = partial(_scored, ground, name, overrides, records)
                own = PixelCounts(*(np.array(of, np.int64) for of in records(key, made).values()))
                counts += own
                found[ground.target.name] = average_precision(own.histogram)
            if len(grounds) > 1:
                figures |= {place: place for place in found}
            found["ap"] = float(np.mean(list(found.values())))
            found |= {"f1": float(f1(counts.cells)), "iou": float(iou(counts.cells))}
            table.setdefault(name, {})[seed] = found
    rows = [[part, *figures, "of the gap in AP, by seed"]]
    for name, of in table.items():
        cells = [spread([found[key] for found in of.values()]) for key in figures.values()]
        rows.append([name, *cells, gaps(table, name, "ap")])
    return markdown(rows)


@dataclass(frozen=True)
class Learnt(ABC):
    """Ground that the ladder learns from, in a folder, by a seed; and a target that it maps."""

    folder: Path
    seed: int
    target: Ground

    @property
    @abstractmethod
    def side(self) -> int:
        """Pixels along a side of its scenes."""

    @property
    @abstractmethod
    def split(self) -> Path:
        """All that is learnt from, as scenes of VV and VH."""

    @abstractmethod
    def weakened(self, name: str) -> Path:
        """The folder that a row learns from."""

    def key(self, name: str, overrides: str) -> str:
        """All that a row depends on."""
        step = STEPS[name]
        own = f"{step} {step.block} {overrides} {LENGTH} {PIECE} {CELL} {CONTEXT} {recipes()}"
        return f"{own} after {self.key(step.teacher, overrides)}" if step.teacher else own

    def network(self, name: str, overrides: str, records: Records) -> str:
        """The run of a row."""
        step, data = STEPS[name], self.weakened(name)
        settings = f"{step.settings} {LENGTH} {overrides} seed={self.seed} data_path='{data}'"
        shown = step.cell * step.block + 2 * CONTEXT
        settings += f" tags_crop={max(min(shown, self.side), PIECE)}"
        if step.teacher:
            teacher = self.network(step.teacher, overrides, records)
            settings += f" pseudo_path='{self._labels(teacher, data)}'"

        def made() -> dict[str, Any]:
            return {"run": train(CONFIG, settings).run_id}

        key = f"training | {data} | {self.key(name, overrides)}"
        return str(records(key, made)["run"])

    def _labels(self, teacher: str, data: Path) -> Path:
        maps, labels = self.folder / "maps", self.folder / "labels"
        shutil.rmtree(maps, ignore_errors=True)
        _map(teacher, self.split, maps)
        pseudo_labels(
            input_path=str(maps), tiles_path=data, output_path=labels, mode="tags", num_workers=1
        )
        generate_tiles_stats(input_path=labels, output_path=labels, num_workers=1)
        return labels


@dataclass(frozen=True)
class Towns(Learnt):
    """Simulated towns of another style; others of the kind are mapped."""

    @classmethod
    def made(cls, out: Path, seed: int) -> list[Towns]:
        simulate(
            output_path=out / "scenes", cities=TOWNS, test_cities=TESTS, dates=1, size=SIZE,
            seed=TOWN_SEED, shift="style", num_workers=1,
        )  # fmt: skip
        target = _prepared(Ground("towns", out / "scenes" / "test", out / "test"))
        return [cls(out / f"seed_{seed}", seed, target)]

    @property
    def side(self) -> int:
        return SIZE

    @property
    def split(self) -> Path:
        return self.folder.parent / "scenes" / "train"

    @property
    def tiles(self) -> Path:
        """The towns, each a tile; they are prepared where they are not yet."""
        ground = _prepared(Ground("learnt", self.split, self.folder.parent / "learnt"))
        for layer, kind in (("images", "images_3b"), ("masks", "masks")):
            generate_tiles(
                input_path=ground.rasters / kind, output_path=ground.tiles / layer,
                tile_size=SIZE, overlap=0, materialize=False, num_workers=1,
            )  # fmt: skip
        return ground.tiles

    def weakened(self, name: str) -> Path:
        step = STEPS[name]
        shares = ALL if step.upper else TOWN_SHARES
        if step.layer is None:
            return self._weaken(f"{step.tags}_{step.cell}_{shares[:2]}", step, shares, step.tags)
        true = self._weaken(f"shares_{step.cell}_{shares[:2]}", step, shares, "shares")
        layer = self.folder / f"layer_{step.cell}_{step.layer:g}.csv"
        write_text_atomically(layer, wrong_tags(true / "tags.csv", step.layer, self.seed))
        return self._weaken(layer.stem, step, shares, str(layer))

    def _weaken(self, kind: str, step: Step, shares: str, tags: str) -> Path:
        weaken(
            input_path=self.tiles, output_path=self.folder / kind, cell=step.cell,
            block=step.block, context=CONTEXT, shares=shares, seed=self.seed, tags=tags,
            num_workers=1,
        )  # fmt: skip
        return self.folder / kind


def wrong_tags(path: Path, wrong: float, seed: int) -> str:
    """A list of tags, of which that share of the cells has the tags of one another."""
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    names = [name for name in rows[0] if name not in CELL_COLUMNS]
    some = np.random.default_rng(seed).permutation(len(rows))[: round(wrong * len(rows))]
    tags = [[rows[i][name] for name in names] for i in some]
    for i, own in zip(some, tags[1:] + tags[:1], strict=True):
        rows[i] |= dict(zip(names, own, strict=True))
    text = io.StringIO()
    writer = csv.DictWriter(text, ["scene", "x", "y", *names], extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@dataclass(frozen=True)
class Block(Learnt):
    """What remains of San Francisco without one of its blocks, in pieces."""

    pair: Pair
    number: int

    @classmethod
    def made(cls, out: Path, seed: int) -> list[Block]:
        pair = Grounds(out, {}).pairs(["San Francisco, blocks"])[0]
        return [
            cls(out / f"seed_{seed}" / f"block_{number}", seed, part.target, pair, number)
            for number, part in enumerate(pair.parts)
        ]

    @property
    def side(self) -> int:
        return PIECE

    @property
    def split(self) -> Path:
        return self.folder / "split"

    @property
    def tiles(self) -> Path:
        """The tiles of the pieces, which are cut where they are not yet."""
        source = self.pair.source
        scene = (source.split / SF).resolve()
        kinds = {"vv": scene, "vh": scene, "mask": source.rasters / "masks"}
        folders = {"vv": self.split, "vh": self.split, "mask": self.folder / "masks"}
        for kind, place in kinds.items():
            (raster,) = place.rglob(f"s1a_*_{kind}_*.tif")
            for window in pieces(self.number):
                _cut_piece(raster, folders[kind], kind, window)
        merged = self.folder / "images_3b"
        generate_3b_images(input_path=self.split, output_path=merged, num_workers=1)
        for layer, place in (("images", merged), ("masks", folders["mask"])):
            generate_tiles(
                input_path=place, output_path=self.folder / "tiles" / layer,
                tile_size=PIECE, overlap=0, materialize=False, num_workers=1,
            )  # fmt: skip
        return self.folder / "tiles"

    def weakened(self, name: str) -> Path:
        step = STEPS[name]
        shares = ALL if step.upper else SHARES
        how: dict[str, Any] = {"tags": step.tags}
        kind = f"{step.tags}_{shares[:2]}"
        cell = min(step.cell, PIECE)  # of a larger one a piece shows a part
        if step.layer is not None:
            ((_, _, truth),) = self.pair.source.arrays()
            path = self.folder / f"layer_{step.cell}_{step.layer:g}.tif"
            wrong = exchanged(truth, step.cell, step.layer, self.seed)
            _write_shares(path, truth, self.pair.source, step.cell, wrong)
            how, kind = {"tags": str(path)}, path.stem
        weaken(
            input_path=self.tiles, output_path=self.folder / kind, cell=cell, block=step.block,
            context=CONTEXT, shares=shares, seed=self.drawn(), num_workers=1, **how,
        )  # fmt: skip
        return self.folder / kind

    def drawn(self) -> int:
        """The seed of the split, the same for all rows: the first whose N1 is not without
        buildings."""
        ((_, _, truth),) = self.pair.source.arrays()
        places = {_name(window): window for window in pieces(self.number)}
        ground = {name: f"10SEG_{name}" for name in places}
        first, second, validation = (float(part) for part in SHARES.split(";"))
        for seed in range(self.seed, 10_000, 100):
            roles = split_scenes(ground, set(ground), (first, second, validation), seed)
            labels = np.stack([truth[places[n].slices] for n, r in roles.items() if r == N1])
            if (labels == 1).sum() >= LEAST * (labels != 255).sum():
                return seed
        raise BuiltupError("no split of the pieces has buildings among its pixel labels")


#: What can be learnt from: all that one table is of.
GROUNDS: dict[str, Any] = {"radar": Block.made, "towns": Towns.made}


def pieces(block: int) -> list[Window]:
    """The pieces of the scene that are not within GAP of a block, row by row."""
    height, width = 900, 512
    row, column = divmod(block, 2)
    top, bottom = ((0, ROW), (ROW, height))[row]
    left, right = ((0, COLUMN), (COLUMN, width))[column]
    held = Window(top - GAP, left - GAP, bottom - top + 2 * GAP, right - left + 2 * GAP)
    places = (
        Window(y, x, PIECE, PIECE)
        for y in range(0, height - PIECE + 1, PIECE + GAP)
        for x in range(0, width - PIECE + 1, PIECE + GAP)
    )
    return [window for window in places if held.intersection(window) is None]


def _name(window: Window) -> str:
    """The site of a piece."""
    return f"R{window.y:03}C{window.x:03}"


def _cut_piece(raster: Path, folder: Path, word: str, window: Window) -> None:
    name = _name(window)
    number = 1000 * window.y + window.x
    target = folder / f"{name}_1988" / f"s1a_10SEG_{word}_DES_19880816_{number}.tif"
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(raster) as dataset:
        values = dataset.read(window=window.rasterio)
        profile = dataset.profile | {
            "height": window.height,
            "width": window.width,
            "transform": dataset.window_transform(window.rasterio),
            "tiled": False,
        }
        for key in ("blockxsize", "blockysize"):
            profile.pop(key, None)
        with atomic_path(target) as beside, rasterio.open(beside, "w", **profile) as out:
            out.write(values)
            out.update_tags(**{k: v for k, v in dataset.tags().items() if k.startswith("BUILTUP")})


def _scored(ground: Learnt, name: str, overrides: str, records: Records) -> dict[str, Any]:
    run = ground.network(name, overrides, records)
    folder = ground.folder / "test_maps"
    _map(run, ground.target.split, folder)
    counts = sum((of for _, of in count_maps(folder, ground.target)), PixelCounts.zero())
    return {"matrix": counts.matrix.tolist(), "histogram": counts.histogram.tolist()}


def _map(run: str, split: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    recipe = Recipe(model=run)  # as users do: the threshold follows the share
    predict(recipe, PredictOptions(str(split), output_path=str(folder), num_workers=1))
