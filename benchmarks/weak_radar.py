"""The ladder of weak labels on San Francisco, tags built-up or not: `weak.py --part radar`.

Each of the four blocks is left out in turn, with the gap of `new_ground.py`. What remains is cut
into pieces as far from one another, of which 20 % have pixel labels, 60 % tags of cells of 320 m
and 20 % validate; where those with pixel labels have next to no building, others are drawn.
Tags are built-up or not, or shares: those of the pixels, or those of a coarse layer whose cells are
partly exchanged (`coarse_shares.exchanged`). The counts of the four maps are pooled.
"""

from __future__ import annotations

import shutil
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
from new_ground_data import COLUMN, ROW, SF, Ground, Grounds, Pair, count_maps
from weak import chosen, gaps

from builtup import train
from builtup.errors import BuiltupError
from builtup.geo.windows import Window
from builtup.jobs.files import atomic_path
from builtup.maps.pseudo_labels import pseudo_labels
from builtup.prediction.predict import PredictOptions, predict
from builtup.prediction.recipe import Recipe
from builtup.scoring.counts import PixelCounts, f1, iou
from builtup.scoring.tables import markdown
from builtup.sensors.radar.merge import generate_3b_images
from builtup.tiles.cut import generate_tiles
from builtup.tiles.stats import generate_tiles_stats
from builtup.tiles.weak_split import N1, split_scenes
from builtup.tiles.weaken import weaken

CONFIG = "configs/train/weak/radar.py"
LENGTH = "num_workers=0 validate=False"
#: Pixels of a piece, of a cell and around it, and between pieces, and the block and what is learnt
#: from: the gap of folds.
PIECE, CELL, CONTEXT, GAP = 64, 32, 16, 32
SHARES, ALL = "20;60;20", "80;0;20"
#: A split whose pixel labels are less built-up is drawn anew.
LEAST = 0.01


@dataclass(frozen=True)
class Step:
    """A row: settings, how cells of so many pixels are tagged (or `layer`, its share of wrong
    cells), who learns."""

    settings: str = ""
    tags: str = "presence"
    shares: str = SHARES
    cell: int = CELL
    layer: float | None = None
    teacher: str = ""


STEPS: dict[str, Step] = {
    "B1": Step(),
    "upper bound": Step(shares=ALL),
    "M1": Step("tags_weight=0.5"),
    "M3": Step("tags_weight=0.5", teacher="M1"),
    "M4": Step("tags_weight=0.5 consistency=1.0"),
    "M4 + EMA": Step(
        "tags_weight=0.5 consistency=1.0 ema_decay=0.996 ema_warmup=one "
        "feature_dropout=complementary"
    ),
    "M1, shares": Step("tags_weight=0.5 tags_r=0.0", tags="shares"),
    **{
        f"M1, shares of {10 * cell} m, {wrong:.0%} wrong".replace("%", " %"): Step(
            "tags_weight=0.5 tags_r=0.0", cell=cell, layer=wrong
        )
        for cell in (10, 25, 100)
        for wrong in (0.1, 0.2)
    },
}
FIGURES = {"F1": "f1", "IoU": "iou"}


def radar_tables(
    seeds: Iterable[int], names: Sequence[str], overrides: str, records: Records, out: Path
) -> str:
    """The table of the rows that are named (all where none is), and that of M3's labels."""
    pair = Grounds(out, {}).pairs(["San Francisco, blocks"])[0]
    table: dict[str, dict[int, Mapping[str, Any]]] = {}
    steps = chosen(STEPS, names)
    for seed in seeds:
        for name in steps:
            counts = PixelCounts.zero()
            for number, part in enumerate(pair.parts):
                block = Block(out / f"seed_{seed}" / f"block_{number}", pair, number, seed)
                key = f"radar | {block.folder} | {name} | {block.key(name, overrides)}"
                made = partial(_scored, block, name, overrides, records, part.target)
                counts += PixelCounts(
                    *(np.array(of, np.int64) for of in records(key, made).values())
                )
            found = {"f1": float(f1(counts.cells)), "iou": float(iou(counts.cells))}
            table.setdefault(name, {})[seed] = found
    rows = [["San Francisco, blocks", *FIGURES, "of the gap in F1, by seed"]]
    for name, of in table.items():
        cells = [spread([found[key] for found in of.values()]) for key in FIGURES.values()]
        rows.append([name, *cells, gaps(table, name, "f1")])
    return markdown(rows)


@dataclass(frozen=True)
class Block:
    """What remains of San Francisco without one of its blocks, in pieces."""

    folder: Path
    pair: Pair
    number: int
    seed: int

    def key(self, name: str, overrides: str) -> str:
        step = STEPS[name]
        own = f"{step} {overrides} {LENGTH} {PIECE} {CELL}"
        return f"{own} after {self.key(step.teacher, overrides)}" if step.teacher else own

    @property
    def split(self) -> Path:
        """The pieces as scenes of VV and VH."""
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
        """The folder that a row learns from."""
        step = STEPS[name]
        how: dict[str, Any] = {"tags": step.tags}
        kind = f"{step.tags}_{step.shares.split(';')[0]}"
        cell = min(step.cell, PIECE)  # of a larger one a piece shows a part
        if step.layer is not None:
            ((_, _, truth),) = self.pair.source.arrays()
            path = self.folder / f"layer_{step.cell}_{step.layer:g}.tif"
            shares = exchanged(truth, step.cell, step.layer, self.seed)
            _write_shares(path, truth, self.pair.source, step.cell, shares)
            how, kind = {"tags": str(path)}, path.stem
        weaken(
            input_path=self.tiles, output_path=self.folder / kind, cell=cell, context=CONTEXT,
            shares=step.shares, seed=self.drawn(), num_workers=1, **how,
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

    def network(self, name: str, overrides: str, records: Records) -> str:
        """The run of a row."""
        step, data = STEPS[name], self.weakened(name)
        settings = f"{step.settings} {LENGTH} {overrides} seed={self.seed} data_path='{data}'"
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


def _scored(
    block: Block, name: str, overrides: str, records: Records, target: Ground
) -> dict[str, Any]:
    run = block.network(name, overrides, records)
    folder = block.folder / "test_maps"
    _map(run, target.split, folder)
    counts = sum((of for _, of in count_maps(folder, target)), PixelCounts.zero())
    return {"matrix": counts.matrix.tolist(), "histogram": counts.histogram.tolist()}


def _map(run: str, split: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    recipe = Recipe(model=run)  # as users do: the threshold follows the share
    predict(recipe, PredictOptions(str(split), output_path=str(folder), num_workers=1))
