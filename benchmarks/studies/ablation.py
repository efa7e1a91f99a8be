"""What helps, one change at a time from `recommended_cpu`, on simulated towns: docs/results.md.

    python benchmarks/studies/ablation.py [--seeds "0;1;2"] [--only "label smoothing 0.1"]

Six simulated cities to train on and three others to score, two dates each (`simulate --seed 7`).
A variant is trained once for each seed and scored by its last weights, each date by itself, at 0.5
and at the threshold that one date of each training city chose. The scored cities choose nothing,
so every row is of unseen ground; but whoever picks the best row has tuned on them.

Finished trainings and scores are kept: stop it and run it again.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from commands import builtup, use_project_database
from numpy.typing import NDArray
from rasterio.warp import Resampling, reproject

from builtup.config import load as configs
from builtup.geo.grid import Grid
from builtup.geo.probability import IGNORE, LEVELS, NODATA, encode, level_of
from builtup.maps.forest import fit_forest, forest_probability
from builtup.prediction.network import make_stream, mark_invalid, predict_array
from builtup.runs.recorder import recording
from builtup.scoring.blocks import BlockCounter, BlockRow, BlockTable, read_blocks, write_blocks
from builtup.scoring.counts import level_histogram
from builtup.scoring.curves import choose_threshold
from builtup.scoring.summary import figures_of
from builtup.scoring.tables import markdown, span
from builtup.sensors.scene_files import find_rasters
from builtup.studies.compare import Candidate, Difference, differences
from builtup.studies.launch_runs import FoldTask, data_digest, train_fold, training_key
from builtup.tiles.folds import Folds
from builtup.training.checkpoints import load_trained

BASE = "recommended_cpu"
NETWORK = "ablation/network"
#: What all of them but those of gain leave out: the base as it was when the first were compared.
WITHOUT = "gain_db=0.0"
#: What is trained: a name, its config, and the settings that differ from it, besides WITHOUT.
VARIANTS: dict[str, tuple[str, str]] = {
    BASE: (BASE, ""),
    "linear power": (BASE, "channel_set=linear_3b"),
    "5 bands in dB": (BASE, "channel_set=db_5b"),
    "cross-entropy alone": (BASE, "jaccard=0.0"),
    "CE + Lovász": ("ablation/lovasz", ""),
    "tiles with built-up thrice": (BASE, "sampler_weights=0.25,0.75"),
    "speckle, 4.4 looks": (BASE, "speckle_looks=4.4"),
    "gain ± 1 dB": (BASE, "gain_db=1.0"),
    "gain ± 3 dB": (BASE, "gain_db=3.0"),
    "common gain ± 3 dB": (BASE, "common_gain_db=3.0"),
    "contrast up to 1.4": (BASE, "contrast=0.4"),
    "noise floor ± .003": (BASE, "noise_floor=0.003"),
    "speckle, 1 to 30 looks": (BASE, "speckle_looks=1,30"),
    "speckle filter up to 7": (BASE, "speckle_filter=7"),
    "pixels .7 to 1.4": (BASE, "pixel_size=0.7,1.4"),
    "a polarisation dropped": (BASE, "drop_polarisation=0.2"),
    "gain ± 3 dB, a polarisation dropped": ("new_ground", "gain_db=3.0"),
    "group normalisation": (BASE, "norm=group"),
    "label smoothing 0.1": (BASE, "label_smoothing=0.1"),
    "crops of 192, batch 4": (BASE, "crop=192 batch_size=4"),
    "U-Net ResNet-18": (NETWORK, ""),
    "U-Net ResNet-34": (NETWORK, "encoder=resnet34"),
    "UPerNet ConvNeXt-Atto": (NETWORK, "architecture=upernet encoder=tu-convnext_atto"),
    "twice the channels": (BASE, "widths=32,64,128,256"),
}
FOREST = "random forest"
TWO_DATES = "mean of two dates"
#: Other ways to use the trainings of BASE: settings of the stream, and which weights.
USES: dict[str, dict[str, Any]] = {
    "weights without EMA": {"weights": "checkpoints/last.pt"},
    "TTA hflip": {"tta": "hflip"},
    "TTA rotations": {"tta": "rotations"},
    "TTA d4": {"tta": "d4"},
    "overlap 0": {"overlap": 0},
    "overlap 128": {"overlap": 128},
    "windows of 256": {"window": 256},
}

Bytes = NDArray[np.uint8]
#: Maps of a run: those of the training cities' first dates, then those of all scored scenes.
Maps = tuple[list[Bytes], list[Bytes]]


@dataclass(frozen=True)
class Scene:
    """A date of a city: linear power (2, H, W), NaN where invalid, and its truth."""

    city: str
    scene_id: str
    grid: Grid
    power: NDArray[np.float32]
    truth: Bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0;1;2")
    parser.add_argument("--only", default="", help="variants to train, beside the base")
    parser.add_argument("--output", type=Path, default=Path("output/ablation"))
    arguments = parser.parse_args()
    use_project_database()
    out: Path = arguments.output
    prepare(out)
    seeds = [int(word) for word in arguments.seeds.split(";")]
    wanted = [name for name in arguments.only.split(";") if name]
    names = [n for n in VARIANTS if not wanted or n in wanted or n == BASE]
    runs = train_all(out, names, seeds)
    scorer = Scorer(out, seeds)
    rows = {name: scorer.of_variant(name, runs[name]) for name in names}
    rows[FOREST] = scorer.of_forest()
    rows |= {name: scorer.of_use(name, runs[BASE]) for name in USES}
    rows["mean of the seeds"] = scorer.of_means([runs[BASE]])
    rows["mean of the folds"] = scorer.of_means([train_folds(out, seeds[0])])
    single, mean = scorer.of_dates(runs[BASE])
    text = "\n\n".join(
        [
            table(rows, BASE, USES),
            table({"first date": single, TWO_DATES: mean}, "first date", [TWO_DATES]),
        ]
    )
    (out / "table.md").write_text(text + "\n", encoding="utf-8")
    print(text)


def prepare(out: Path) -> None:
    """Simulate both splits and run the data steps; what is done already does nothing."""
    data = out / "data"
    builtup("simulate", output_path=data, cities=6, test_cities=3, dates=2, size=1024, seed=7)
    builtup("prepare", input_path=data, output_path=out, tiles_path=out)
    builtup("rasterize", input_path=data / "test", output_path=out / "test" / "masks")


def train_all(out: Path, names: Sequence[str], seeds: Sequence[int]) -> dict[str, list[Path]]:
    """Train every variant with every seed; the artifact folders by variant, in order of seeds."""
    found: dict[str, list[Path]] = {name: [] for name in names}
    with recording("Trainings", "ablation") as recorder:
        train = Trainer(out, recorder.run_id)
        for seed in seeds:
            for name in names:
                found[name].append(train(name, seed))
    return found


def train_folds(out: Path, seed: int) -> list[Path]:
    """Train BASE without each of the training cities in turn."""
    with recording("Trainings", "ablation, folds") as recorder:
        train = Trainer(out, recorder.run_id)
        cities = Folds.read(train.data_path).names
        return [train(BASE, seed, without=city) for city in cities]


class Trainer:
    """Trains a variant, or finds that it is trained."""

    def __init__(self, out: Path, parent_id: str) -> None:
        self.data_path, self.parent_id = out / "train_tiles", parent_id
        self.digest = data_digest(self.data_path)

    def __call__(self, name: str, seed: int, without: str = "none") -> Path:
        """The artifact folder; `without`: a training city that is left out, too."""
        stem, settings = VARIANTS[name]
        path = Path("configs/train") / f"{stem}.py"
        settings = settings if "gain_db" in settings else f"{WITHOUT} {settings}"
        text = f"{settings} data_path={self.data_path} val_fold={without} validate=false".strip()
        text += f" seed={seed} log_model=false"
        config = configs.load(path, text)
        key = training_key(config, self.digest)
        fold = "the scored cities" if without == "none" else without
        task = FoldTask(fold, name, seed, path, text, config, key)
        return train_fold(task, self.parent_id, 1).folder


def read_scenes(out: Path, split: str) -> list[Scene]:
    masks = {m.scene_id: m.path for m in find_rasters(out / split / "masks", "mask")}
    found = []
    for image in find_rasters(out / split / "images_3b", "3b"):
        with rasterio.open(image.path) as dataset, rasterio.open(masks[image.scene_id]) as mask:
            power = mark_invalid(dataset.read([1, 2]), dataset.nodata)
            grid = Grid.of(dataset)
            found.append(Scene(image.city, image.scene_id, grid, power, mask.read(1)))
    return found


class Scorer:
    """Maps scenes and counts pixels by block of ground; counts are kept in files."""

    def __init__(self, out: Path, seeds: Sequence[int]) -> None:
        self.folder, self.seeds = out / "scores", list(seeds)
        dates = read_scenes(out, "train")
        self.training = list({s.city: s for s in reversed(dates)}.values())
        self.scored = read_scenes(out, "test")

    def of_variant(self, name: str, folders: Sequence[Path]) -> list[BlockRow]:
        """Each seed's last weights, 512 windows, 64 overlap, no views."""
        return self._counted(name, folders, {})

    def of_use(self, name: str, folders: Sequence[Path]) -> list[BlockRow]:
        """Trainings that exist, used otherwise."""
        return self._counted(name, folders, USES[name])

    def of_forest(self) -> list[BlockRow]:
        """The reference, fitted with each seed on the first date of each training city."""
        rows = []
        for seed in self.seeds:
            rows += self._kept(f"forest {seed}", partial(self._forest, seed))
        return rows

    def of_means(self, groups: Sequence[Sequence[Path]]) -> list[BlockRow]:
        """The mean of each group's probabilities, as if it were one network of that seed."""
        rows = []
        for seed, folders in enumerate(groups):
            key = f"mean {seed} of " + " ".join(f.as_posix() for f in folders)
            rows += self._kept(key, partial(self._count_mean, folders, seed))
        return rows

    def of_dates(self, folders: Sequence[Path]) -> tuple[list[BlockRow], list[BlockRow]]:
        """Where both dates are valid: each city's first date alone, and the mean of the two."""
        single: list[BlockRow] = []
        mean: list[BlockRow] = []
        for seed, folder in zip(self.seeds, folders, strict=True):
            both = cache(partial(self._dates, seed, folder))
            single += self._kept(f"first date {folder}", partial(_part, both, 0))
            mean += self._kept(f"two dates {folder}", partial(_part, both, 1))
        return single, mean

    def _counted(
        self, name: str, folders: Sequence[Path], settings: dict[str, Any]
    ) -> list[BlockRow]:
        rows = []
        for seed, folder in zip(self.seeds, folders, strict=True):
            print(f"{name}, seed {seed}: scoring", file=sys.stderr)
            rows += self._kept(
                f"{folder} {settings}",
                partial(self._count_run, folder, settings, seed),
            )
        return rows

    def _count_run(self, folder: Path, settings: dict[str, Any], seed: int) -> list[BlockRow]:
        return self._count(self._maps(folder, **settings), seed)

    def _kept(self, key: str, make: Callable[[], list[BlockRow]]) -> list[BlockRow]:
        path = self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.csv"
        if not path.is_file():
            write_blocks(path, make())
        return read_blocks(path)

    def _maps(self, folder: Path, weights: str = "weights/last.pt", **settings: Any) -> Maps:
        stream = make_stream(load_trained(folder / weights).model, **settings)
        training, scored = (
            [predict_array(s.power, stream)[0] for s in scenes]
            for scenes in (self.training, self.scored)
        )
        return training, scored

    def _count_mean(self, folders: Sequence[Path], seed: int) -> list[BlockRow]:
        return self._count(self._mean_maps(folders), seed)

    def _mean_maps(self, folders: Sequence[Path]) -> Maps:
        of_seeds = [self._maps(folder) for folder in folders]
        training, scored = (
            [mean_of(maps) for maps in zip(*(m[part] for m in of_seeds), strict=True)]
            for part in (0, 1)
        )
        return training, scored

    def _threshold(self, maps: Sequence[Bytes]) -> float:
        histogram = np.zeros((2, LEVELS), np.int64)
        for scene, building in zip(self.training, maps, strict=True):
            valid = (scene.truth != IGNORE) & (building != NODATA)
            histogram += level_histogram(building[valid], scene.truth[valid] == 1)
        chosen = choose_threshold(histogram)
        if chosen is None:
            sys.exit("error: the simulated training cities hold no building; remove the output")
        return chosen.value

    def _count(self, maps: Maps, seed: int) -> list[BlockRow]:
        levels = (level_of(self._threshold(maps[0])), level_of(0.5))
        counters = {s.city: BlockCounter(s.city, seed) for s in self.scored}
        for scene, building in zip(self.scored, maps[1], strict=True):
            counters[scene.city].add(
                *(scene.city, scene.scene_id, scene.grid),
                *counted(building, scene.truth, levels),
            )
        return [row for counter in counters.values() for row in counter.rows()]

    def _forest(self, seed: int) -> list[BlockRow]:
        forest = fit_forest([(s.power, s.truth) for s in self.training], seed=seed)
        training, scored = (
            [encode(p, np.isnan(p)) for p in (forest_probability(forest, s.power) for s in scenes)]
            for scenes in (self.training, self.scored)
        )
        return self._count((training, scored), seed)

    def _dates(self, seed: int, folder: Path) -> tuple[list[BlockRow], list[BlockRow]]:
        training, scored = self._maps(folder)
        levels = (level_of(self._threshold(training)), level_of(0.5))
        by_city: dict[str, list[tuple[Scene, Bytes]]] = {}
        for scene, building in zip(self.scored, scored, strict=True):
            by_city.setdefault(scene.city, []).append((scene, building))
        single: list[BlockRow] = []
        mean: list[BlockRow] = []
        for city, ((first, one), *others) in by_city.items():
            maps = [one, *(on_grid(building, s.grid, first.grid) for s, building in others)]
            both = np.logical_and.reduce([m != NODATA for m in maps])
            for rows, building in ((single, one), (mean, mean_of(maps))):
                counter = BlockCounter(city, seed)
                shown = np.where(both, building, NODATA).astype(np.uint8)
                cells = counted(shown, first.truth, levels)
                counter.add(city, first.scene_id, first.grid, *cells)
                rows += counter.rows()
        return single, mean


def counted(building: Bytes, truth: Bytes, levels: Sequence[int]) -> tuple[NDArray[np.bool_], ...]:
    """What `BlockCounter.add` counts: mapped at each level, built-up, and valid pixels."""
    valid = (truth != IGNORE) & (building != NODATA)
    return np.stack([building >= level for level in levels]), truth == 1, valid


def _part(both: Callable[[], tuple[list[BlockRow], ...]], part: int) -> list[BlockRow]:
    return both()[part]


def mean_of(maps: Sequence[Bytes]) -> Bytes:
    """The rounded mean where all are valid."""
    total = np.rint(np.mean([m.astype(np.float32) for m in maps], axis=0)).astype(np.uint8)
    total[np.logical_or.reduce([m == NODATA for m in maps])] = NODATA
    return total


def on_grid(values: Bytes, grid: Grid, onto: Grid) -> Bytes:
    """The map of one date on the grid of another."""
    out = np.full((onto.height, onto.width), NODATA, np.uint8)
    reproject(
        values,
        out,
        src_transform=grid.transform,
        src_crs=grid.crs,
        src_nodata=NODATA,
        dst_transform=onto.transform,
        dst_crs=onto.crs,
        dst_nodata=NODATA,
        resampling=Resampling.bilinear,
    )
    return out


def table(rows: dict[str, list[BlockRow]], base: str, uses: Container[str] = ()) -> str:
    """A line a variant: scores, means over seeds, and the difference from `base`.

    `uses` are other ways to use the trainings of `base`: their seeds are drawn together.
    """
    candidates = [Candidate(name, BlockTable.of(found)) for name, found in rows.items()]
    first = next(c for c in candidates if c.name == base)
    head = ["variant", "F1", "over seeds", "F1 at 0.5", "IoU", "worst city"]
    lines = [[*head, "difference in F1", "interval", "verdict"]]
    for candidate in candidates:
        f1, iou, half = figures_of(candidate.table)[:3]
        line = [candidate.name, f"{f1.macro:.3f}", _spread(f1.spread_over_seeds)]
        line += [f"{half.macro:.3f}", f"{iou.macro:.3f}", f"{f1.worst:.3f}"]
        if candidate is first:
            line += ["", "", ""]
        else:
            same = candidate.name in uses
            line += _verdict(differences([candidate, first], same_trainings=same)[0])
        lines.append(line)
    return markdown(lines)


def _spread(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "–"


def _verdict(difference: Difference) -> list[str]:
    words = "cannot be told apart"
    if difference.apart:
        words = "better" if difference.macro > 0 else "worse"
    interval = span(difference.macro_interval, signed=True)
    return [f"{difference.macro:+.3f}", interval, words]


if __name__ == "__main__":
    main()
