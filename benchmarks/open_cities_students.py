"""Students and ensembles of buildings from drones: `open_cities.py --part shift|banepa|ensembles`.

`shift`: a teacher of simulated towns maps towns of another kind without labels; students learn
from its labels as ever and every fifth step from its maps, one option added after the other, and a
second round from the last student's maps; and `self_train` as it stands, soft labels alone from the
teacher's weights. Scored are those towns (transductive: what an analyst wants mapped) and others of
their kind, by clean truth. `banepa`: the same from the north of a real scene to its south, which is
scored in four blocks; the south's images are seen, so that this is transductive. The upper bound
learns from labels of the mapped kind. `ensembles`: networks of several seeds, and of one seed that
each leave out one town, and their means.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from new_ground import Records
from open_cities import (
    CONFIG,
    GAP,
    LAYERS,
    WINDOW,
    Ground,
    Part,
    Range,
    Table,
    _cut,
    _imported,
    _shape,
    _tiled,
    _two_classes,
    simulated_towns,
)

from builtup import train
from builtup.errors import InputError
from builtup.maps.ensemble import ensemble
from builtup.maps.pseudo_labels import pseudo_labels
from builtup.maps.validate_layer import LayerOptions, score_layer
from builtup.prediction.predict import PredictOptions, predict
from builtup.prediction.recipe import Recipe
from builtup.runs.results import Results
from builtup.simulate.aerial.dataset import with_clean_labels
from builtup.simulate.dataset import simulate
from builtup.studies.self_train import self_train
from builtup.tiles.cut import generate_tiles
from builtup.tiles.folds import Folds
from builtup.tiles.stats import generate_tiles_stats

STUDENT = "configs/selftrain/open_cities_student.py"
#: The student's config at the size of CONFIG: Lite0, small crops.
SMALL = (
    "encoder=efficientnet-lite0 pretrained=lite0 normalisation=config mean=127.0,127.0,127.0 "
    "std=128.0,128.0,128.0 width=16 batch_size=4 crop=192 reference_pixel=0.25 lr=0.001 "
    "num_epochs=10 samples_per_epoch=400 drop_connect=0.2"
)
#: Rows: what is added to the student, and whose maps it learns from.
STUDENTS: dict[str, tuple[str, str]] = {
    "student": ("", "teacher"),
    "+ EMA": ("ema=0.5 ema_decay=0.98", "teacher"),
    "+ mixup": ("ema=0.5 ema_decay=0.98 mixup=0.3", "teacher"),
    "+ negatives": ("ema=0.5 ema_decay=0.98 mixup=0.3", "teacher"),
    "second round": ("ema=0.5 ema_decay=0.98 mixup=0.3", "+ negatives"),
}
NEGATIVES = ("+ negatives", "second round")
#: How sure maps must be that nothing is there. After 400 steps of a focal loss none is below .2,
#: the default; these leave some ten of 54 pieces of the first seed's shifted towns, all empty.
SURE = {"presence": 0.5, "low": 0.4}
SELF_TRAINED = "self_train"
#: Its student at the size of the others.
ALONE = "num_epochs=10 samples_per_epoch=400 batch_size=4 crop=192 max_minutes=none"
ROWS = ("teacher", *STUDENTS, SELF_TRAINED, "upper bound")
#: Simulated towns: of the plain kind to learn from, of the shifted kind without labels and to map.
TOWNS, UNLABELLED, TESTS, SIZE, SEED = 6, 6, 6, 768, 61
#: Pixels of a side of what has no labels: towns are cut, so that there are empty images.
PIECE = 256
#: Members of an ensemble that each leave out a fold of the towns.
FOLDS = 3


@dataclass(frozen=True)
class Shifted:
    """Tiles to learn from, scenes without labels, what is scored, and tiles of the upper bound."""

    folder: Path
    tiles: Path
    unlabelled: Path
    parts: tuple[Part, ...]
    upper: Path


def towns(out: Path, shift: str) -> Shifted:
    """Plain towns, and towns that differ from them by a shift of the simulator."""
    folder = out / f"shift_{shift}"
    plain, raw = folder / "raw", folder / "raw_shifted"
    aerial: dict[str, Any] = {"sensor": "aerial", "dates": 1, "size": SIZE, "num_workers": 1}
    simulate(output_path=plain, cities=TOWNS, test_cities=0, seed=SEED, **aerial)
    shifted = aerial | {"seed": SEED + 1, "shift": shift}
    simulate(output_path=raw, cities=UNLABELLED, test_cities=TESTS, **shifted)
    _two_classes(plain, folder / "learnt", "", "train;valid")
    _two_classes(raw, folder / "whole", "other_", "train;valid")
    _in_pieces(folder / "whole", folder / "unlabelled")
    clean, parts = with_clean_labels(raw, raw / "clean"), []
    for fold, split in (("the towns themselves", "train;valid"), ("others", "test")):
        _two_classes(clean, folder / fold.replace(" ", "_"), "other_", split)
        parts.append(Part(fold, folder / fold.replace(" ", "_")))
    upper = _joined(folder / "upper", folder / "learnt", folder / "unlabelled")
    return Shifted(folder, _tiled(folder / "learnt"), folder / "unlabelled", tuple(parts), upper)


def _in_pieces(scenes: Path, folder: Path) -> None:
    """Scenes cut in squares of PIECE pixels, of which some are empty."""
    for layer in LAYERS:
        for path in sorted(scenes.glob(f"{layer}/*/*.tif")):
            for y in range(0, SIZE, PIECE):
                for x in range(0, SIZE, PIECE):
                    site = f"{path.parent.name}_{y}_{x}"
                    name = f"{site}_{layer.removesuffix('s')}.tif"
                    _cut(path, folder, site, name, layer, (y, y + PIECE), (x, x + PIECE))


def banepa(out: Path) -> Shifted:
    """The north of Banepa, and its south in four blocks."""
    scene = _imported(out)["ban00n"]
    folder, (height, width) = out / "banepa", _shape(scene)
    gap = round(GAP / 0.13)
    middle, south = height // 2, (height // 2 + gap, height)
    split = sum(south) // 2
    rows, columns = ((south[0], split), (split, south[1])), ((0, width // 2), (width // 2, width))
    blocks = [f"r{r}c{c}" for r in range(2) for c in range(2)]
    places: dict[str, tuple[Range, Range]] = {
        "learnt/north": ((0, middle - gap), None),
        "unlabelled/south": (south, None),
        **{f"{b}/{b}": (rows[int(b[1])], columns[int(b[3])]) for b in blocks},
    }
    for place, (across, down) in places.items():
        ground, site = place.split("/")
        for path, layer in zip(scene, LAYERS, strict=True):
            name = f"{site}_{layer.removesuffix('s')}.tif"
            _cut(path, folder / ground, site, name, layer, across, down)
    parts = tuple(Part(name, folder / name) for name in blocks)
    upper = _joined(folder / "upper", folder / "learnt", folder / "unlabelled")
    return Shifted(folder, _tiled(folder / "learnt"), folder / "unlabelled", parts, upper)


def _joined(folder: Path, *scenes: Path) -> Path:
    """The tiles of several folders of scenes together."""
    for place in scenes:
        for path in place.glob("*/*/*.tif"):
            link = folder / path.relative_to(place)
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to(path.resolve())
    return _tiled(folder)


# --- students -------------------------------------------------------------------------------------


@dataclass
class School:
    """The trainings of a seed, each made once."""

    ground: Shifted
    seed: int
    overrides: str
    records: Records

    def network(self, row: str) -> str:
        """The run of a row."""
        if row == SELF_TRAINED:
            return self._self_trained()
        data = self.ground.upper if row == "upper bound" else self.ground.tiles
        config, settings = CONFIG, ""
        if row in STUDENTS:
            added, teacher = STUDENTS[row]
            labels = self.labels(teacher)
            config, settings = STUDENT, f"{SMALL} {added} soft_path='{labels / 'soft'}'"
            if row in NEGATIVES and (labels / "negatives" / "stats.json").is_file():
                settings += f" negatives_path='{labels / 'negatives'}'"
        own = f"seed={self.seed} validate=False val_fold=None data_path='{data}'"

        def made() -> dict[str, Any]:
            return {"run": train(config, f"{settings} {self.overrides} {own}").run_id}

        key = f"training | {config} | {settings} | {self.overrides} | {own}"
        return str(self.records(key, made)["run"])

    def _self_trained(self) -> str:
        teacher = self.network("teacher")
        folder = self.ground.folder / f"seed_{self.seed}" / SELF_TRAINED
        settings = f"{ALONE} {self.overrides} seed={self.seed}"

        def made() -> dict[str, Any]:
            images = str(self.ground.unlabelled / "images")
            first, *_ = self_train(
                model=teacher, input_path=images, output_path=folder, overrides=settings,
                num_workers=1,
            )  # fmt: skip
            return {"run": first.split()[2].rstrip(",")}

        return str(self.records(f"training | {SELF_TRAINED} | {teacher} | {settings}", made)["run"])

    def labels(self, teacher: str) -> Path:
        """The folders `soft` and `negatives` of labels by a row's maps, with eight views."""
        folder = self.ground.folder / f"seed_{self.seed}" / teacher.replace(" ", "_")
        run = self.network(teacher)
        self.records(f"labels | {folder} | {run} | {SURE}", partial(self._label, run, folder))
        return folder

    def _label(self, run: str, folder: Path) -> dict[str, Any]:
        shutil.rmtree(folder, ignore_errors=True)
        images, tiles = self.ground.unlabelled / "images", self.ground.folder / "unlabelled_tiles"
        _map(Recipe(model=run, tta="d4"), images, folder / "maps")
        generate_tiles(
            input_path=images, output_path=tiles / "images", tile_size=512, overlap=0,
            materialize=False, num_workers=1,
        )  # fmt: skip
        for mode in ("soft", "negatives"):
            sure: dict[str, Any] = SURE if mode == "negatives" else {}
            try:
                pseudo_labels(
                    input_path=str(folder / "maps"), tiles_path=tiles, output_path=folder / mode,
                    mode=mode, num_workers=1, **sure,
                )  # fmt: skip
            except InputError as e:
                if mode == "soft":
                    raise
                print(f"without negatives: {e}", file=sys.stderr)
                continue
            generate_tiles_stats(input_path=folder / mode, output_path=folder / mode, num_workers=1)
        return {}


def students_table(
    ground: Shifted, seeds: Sequence[int], rows: Sequence[str], ways: Mapping[str, Any],
    overrides: str, records: Records,
) -> Table:  # fmt: skip
    """The counts of each row and way, by seed and part."""
    table: Table = {}
    for seed in seeds:
        school = School(ground, seed, overrides, records)
        for row in rows:
            for part in ground.parts:
                for way, recipe in ways.items():
                    name = f"{row}_{part.fold}_{way}_{seed}".replace(" ", "_")
                    folder = ground.folder / "maps" / name
                    made = partial(_counts, partial(school.network, row), recipe, part, folder)
                    sure = f" {SURE}" if row in NEGATIVES else ""
                    own = f"{row} {STUDENTS.get(row)} {SMALL}{sure}"
                    key = f"{ground.folder} | {part.fold} | {own} | {overrides} | {way} | {seed}"
                    found = records(key, made)
                    table.setdefault((row, way), {}).setdefault(seed, {})[part.fold] = found
    return table


# --- ensembles ------------------------------------------------------------------------------------


def ensembles_table(
    out: Path, seeds: Sequence[int], ways: Mapping[str, Any], overrides: str, records: Records
) -> Table:
    """The counts of each member, and of their means: of seeds, and of folds of the first seed."""
    ground = simulated_towns(out)
    names = Folds.read(ground.tiles).names
    folds = names[:: len(names) // FOLDS][:FOLDS]
    members = {f"seed {seed}": (seed, "None") for seed in seeds}
    of_folds = {f"without {fold}": (seeds[0], fold) for fold in folds}
    groups = {"mean of seeds": tuple(members), "mean of folds": tuple(of_folds)}
    members |= of_folds
    table: Table = {}
    for way, recipe in ways.items():
        for part in ground.parts:
            name = f"{part.fold} {way} {overrides}"  # means are of what lies there
            place = out / "ensembles" / "".join(c if c.isalnum() else "_" for c in name)
            for name, (seed, fold) in members.items():
                network = partial(_member, ground, seed, fold, overrides, records)
                made = partial(_counts, network, recipe, part, place / name, keep=True)
                key = f"member | {part.scenes} | {name} | {overrides} | {way}"
                table.setdefault((name, way), {}).setdefault(0, {})[part.fold] = records(key, made)
            for name, of in groups.items():
                made = partial(_mean, [place / member for member in of], place / name, part)
                key = f"mean | {part.scenes} | {', '.join(of)} | {overrides} | {way}"
                table.setdefault((name, way), {}).setdefault(0, {})[part.fold] = records(key, made)
    return table


def _member(ground: Ground, seed: int, fold: str, overrides: str, records: Records) -> str:
    own = f"seed={seed} validate=False val_fold={fold} data_path='{ground.tiles}'"

    def made() -> dict[str, Any]:
        return {"run": train(CONFIG, f"{overrides} {own}").run_id}

    return str(records(f"training | {CONFIG} | {overrides} | {own}", made)["run"])


def _mean(members: Sequence[Path], folder: Path, part: Part) -> dict[str, Any]:
    started = time.monotonic()
    ensemble(
        input_paths=";".join(map(str, members)), output_path=folder, threshold="0.5", num_workers=1
    )
    return _scored(folder, part, time.monotonic() - started)


# --- maps -----------------------------------------------------------------------------------------


def _map(recipe: Recipe, images: Path, folder: Path) -> None:
    """Maps that are cut at .5."""
    shutil.rmtree(folder, ignore_errors=True)
    recipe = replace(recipe, window=WINDOW, adapt="none", threshold="0.5")
    options = PredictOptions(
        str(images), output_path=str(folder), probabilities=True, pixel="own", num_workers=1
    )
    predict(recipe, options)


def _counts(
    network: Callable[[], str], way: Mapping[str, Any], part: Part, folder: Path, keep: bool = False
) -> dict[str, Any]:
    recipe = Recipe(model=network(), **way)
    started = time.monotonic()
    _map(recipe, part.scenes / "images", folder)
    found = _scored(folder, part, time.monotonic() - started)
    if not keep:
        shutil.rmtree(folder)
    return found


def _scored(folder: Path, part: Part, seconds: float) -> dict[str, Any]:
    scores = score_layer(Results(folder), part.scenes, LayerOptions("masks"))
    return {"matrix": scores.full.matrix.tolist(), "seconds": seconds}
