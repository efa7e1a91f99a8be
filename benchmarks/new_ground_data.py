"""Where networks of `new_ground.py` learn, what they map, and the counts of a map.

Every ground is a split in the UNOSAT layout with its merged scenes and masks beside it. What is
prepared already does nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from builtup.geo.probability import IGNORE, NODATA
from builtup.geo.rasters import gdal_env, read_window
from builtup.geo.windows import Window
from builtup.jobs.files import atomic_path
from builtup.prediction.predict import PredictOptions, predict
from builtup.prediction.recipe import Recipe
from builtup.runs import tracking
from builtup.runs.results import Results, city_rasters, read_tags
from builtup.scoring.counts import PixelCounts
from builtup.sensors.radar.merge import generate_3b_images
from builtup.sensors.scene_files import SceneFile, find_rasters
from builtup.simulate.dataset import SHIFTS, simulate
from builtup.studies.cross_validate import FOLDER, cross_validate, plan
from builtup.studies.fold import FOLD_JSON
from builtup.tiles.cut import generate_tiles
from builtup.tiles.folds import Folds
from builtup.tiles.masks import rasterize
from builtup.tiles.stats import generate_tiles_stats
from builtup.training.checkpoints import load_trained, weights_digest

SF, BEIJING = "SanFranciscoWest_1988", "Beijing_2020"
#: San Francisco's four blocks: the row and the column at which the scene is split.
ROW, COLUMN = 560, 256
SIMULATED = "simulated"
#: Simulated ground: cities to learn from (one is kept back), cities to map, pixels of a side.
CITIES, TARGETS, SIZE, SEED = 6, 2, 768, 11
#: Cities that the network of a shift's upper bound learns from, one kept back.
UPPER_CITIES = 4


@dataclass(frozen=True)
class Ground:
    """A split in the UNOSAT layout, and the folder of its merged scenes and masks."""

    name: str
    split: Path
    rasters: Path

    @property
    def images(self) -> tuple[SceneFile, ...]:
        return find_rasters(self.rasters / "images_3b", "3b")

    @property
    def masks(self) -> tuple[SceneFile, ...]:
        return find_rasters(self.rasters / "masks", "mask")

    @property
    def tiles(self) -> Path:
        return self.rasters / "tiles"

    def arrays(self) -> list[tuple[str, NDArray[np.float32], NDArray[np.uint8]]]:
        """The city, linear power (2, H, W) of VH and VV, and the truth (H, W) of each scene."""
        by_scene = {mask.scene_id: mask.path for mask in self.masks}
        found = []
        for image in self.images:
            with rasterio.open(image.path) as dataset, rasterio.open(by_scene[image.scene_id]) as m:
                found.append((image.city, read_window(dataset, indexes=[1, 2]), m.read(1)))
        return found


@dataclass(frozen=True)
class Part:
    """What one network maps of a pair: `fold` is the ground of the source that it never saw."""

    fold: str
    target: Ground


@dataclass(frozen=True)
class Pair:
    """Ground that is learnt from, and ground that is mapped; counts of its parts are pooled."""

    name: str
    source: Ground
    parts: tuple[Part, ...]

    @property
    def simulated(self) -> bool:
        return self.source.name == SIMULATED

    @property
    def is_shift(self) -> bool:
        return self.parts[0].target.name in SHIFTS


@dataclass(frozen=True)
class Network:
    """A trained network: what `predict` takes, what its training ground says, and its seconds."""

    model: str
    key: str
    threshold: float
    share: float
    temperature: float | None
    seconds: float


@dataclass(frozen=True)
class MapCounts:
    """The scored pixels of one map: counts, the network's own threshold, temperature and share."""

    city: str
    counts: PixelCounts
    threshold: float = 0.5
    share: float = 0.5
    temperature: float | None = None

    def to_json(self) -> dict[str, Any]:
        own = {of.name: getattr(self, of.name) for of in fields(self) if of.name != "counts"}
        return own | {k: v.tolist() for k, v in asdict(self.counts).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> MapCounts:
        counts = [np.array(values[name], np.int64) for name in ("matrix", "histogram")]
        own = {k: v for k, v in values.items() if k not in ("matrix", "histogram")}
        return cls(counts=PixelCounts(*counts), **own)


# --- ground ---------------------------------------------------------------------------------------


class Grounds:
    """All grounds below an output folder; `settings` are those of the simulated training cities."""

    def __init__(self, out: Path, settings: Mapping[str, str]) -> None:
        self.out, self.settings = out, dict(settings)
        data = Path(os.environ.get("BUILTUP_DATA", "../shared/data")) / "real_s1" / "train"
        if not (data / SF).is_dir():
            sys.exit(f"error: {data / SF}: no such folder; set BUILTUP_DATA")
        self.data = data

    def pairs(self, wanted: Sequence[str] = ()) -> list[Pair]:
        """All pairs, or those with a wanted word in their names; only their ground is made."""
        makers: dict[str, Callable[[], tuple[Ground, tuple[Part, ...]]]] = {
            "simulated → San Francisco": lambda: self._to(self.simulated(), self.real(SF)),
            "simulated → Beijing": lambda: self._to(self.simulated(), self.real(BEIJING)),
            "San Francisco → Beijing": lambda: self._to(self.real(SF), self.real(BEIJING)),
            "Beijing → San Francisco": lambda: self._to(self.real(BEIJING), self.real(SF)),
            "simulated, near": lambda: self._to(
                self.simulated(), self._simulated_targets("near", self.settings)
            ),
            "San Francisco, blocks": self._blocks,
        }
        for shift in SHIFTS:
            makers[f"simulated, {shift}"] = partial(self._shifted, shift)
        return [
            Pair(name, *make())
            for name, make in makers.items()
            if not wanted or any(word in name for word in wanted)
        ]

    def _to(self, source: Ground, target: Ground) -> tuple[Ground, tuple[Part, ...]]:
        return source, (Part(_first_fold(source), target),)

    def _blocks(self) -> tuple[Ground, tuple[Part, ...]]:
        source = self.real(SF)
        city = Folds.read(source.tiles).city_of(0)
        places = [(row, column) for row in range(2) for column in range(2)]
        return source, tuple(Part(f"{city}/r{r}c{c}", self._block(r, c)) for r, c in places)

    def _shifted(self, shift: str) -> tuple[Ground, tuple[Part, ...]]:
        return self._to(self.simulated(), self._simulated_targets(shift, {"shift": shift}))

    @cache  # noqa: B019 (one of its kind, as long as the script runs)
    def simulated(self) -> Ground:
        """The simulated cities to learn from: two dates each."""
        return self._learnt(SIMULATED, CITIES, self.settings)

    def upper(self, pair: Pair) -> Pair:
        """A shift's pair with a source of its kind: what labels of the target would give."""
        target = pair.parts[0].target
        settings = {"shift": target.name}
        source = self._learnt(f"simulated_{target.name}", UPPER_CITIES, settings)
        return Pair(pair.name, *self._to(source, target))

    def _learnt(self, name: str, cities: int, settings: Mapping[str, str]) -> Ground:
        folder = self.out / "data" / _folder(name, settings)
        simulate(
            output_path=folder / "scenes",
            **{"cities": cities, "test_cities": 0, "dates": 2, "size": SIZE, "seed": SEED},
            **settings,
        )
        ground = _prepared(Ground(name, folder / "scenes" / "train", folder))
        return _tiled(ground, 512, "city", "")

    def _simulated_targets(self, name: str, settings: Mapping[str, str]) -> Ground:
        """Cities of the other split, one date each: a map is that date's."""
        folder = self.out / "data" / _folder(f"target_{name}", settings)
        simulate(
            output_path=folder / "scenes",
            **{"cities": 0, "test_cities": TARGETS, "dates": 1, "size": SIZE, "seed": SEED},
            **settings,
        )
        return _prepared(Ground(name, folder / "scenes" / "test", folder))

    @cache  # noqa: B019
    def real(self, city: str) -> Ground:
        """A real city, prepared: San Francisco in its four blocks."""
        folder = self.out / "data" / city
        link = folder / "scenes" / city
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to((self.data / city).resolve())
        ground = _prepared(Ground(city, link.parent, folder))
        blocks = f"rows={ROW};cols={COLUMN}" if city == SF else "2x2"
        return _tiled(ground, 256, "blocks", blocks)

    def _block(self, row: int, column: int) -> Ground:
        """A block of San Francisco as a scene of its own: nothing beyond it can be looked at."""
        folder = self.out / "data" / f"block_r{row}c{column}"
        source = self.data / SF
        for path in sorted(p for p in source.rglob("*") if p.is_file()):
            target = folder / "scenes" / SF / path.relative_to(source)
            if target.exists():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".tif":
                _cut(path, target, row, column)
            else:
                shutil.copyfile(path, target)
        return _prepared(Ground(f"r{row}c{column}", folder / "scenes", folder))


def _folder(name: str, settings: Mapping[str, str]) -> str:
    return "_".join([name, *(f"{key}-{value}" for key, value in sorted(settings.items()))])


def _prepared(ground: Ground) -> Ground:
    """The merged scenes and the masks."""
    rasters = ground.rasters
    generate_3b_images(input_path=ground.split, output_path=rasters / "images_3b", num_workers=1)
    rasterize(
        input_path=ground.split, output_path=rasters / "masks", all_touched=True, num_workers=1
    )
    return ground


def _tiled(ground: Ground, size: int, folds: str, blocks: str) -> Ground:
    """Tiles, statistics and folds; a gap of 32 pixels between blocks."""
    for source, kind in (("images_3b", "images"), ("masks", "masks")):
        generate_tiles(
            input_path=ground.rasters / source,
            output_path=ground.tiles / kind,
            tile_size=size,
            overlap=32,
            materialize=True,
            num_workers=1,
        )
    how = {"folds": folds, "blocks": blocks} if blocks else {"folds": folds}
    generate_tiles_stats(input_path=ground.tiles, output_path=ground.tiles, num_workers=1, **how)
    return ground


def _cut(source: Path, target: Path, row: int, column: int) -> None:
    with rasterio.open(source) as dataset:
        window = block_window(dataset.height, dataset.width, row, column)
        profile = dataset.profile | {
            "height": window.height,
            "width": window.width,
            "transform": dataset.window_transform(window.rasterio),
        }
        for name in ("blockxsize", "blockysize", "tiled"):
            profile.pop(name, None)
        with atomic_path(target) as temporary, rasterio.open(temporary, "w", **profile) as out:
            out.write(dataset.read(window=window.rasterio))


def block_window(height: int, width: int, row: int, column: int) -> Window:
    """Block (0 or 1, 0 or 1) of a scene that is split at ROW and COLUMN."""
    rows, columns = (0, ROW, height), (0, COLUMN, width)
    y, x = rows[row], columns[column]
    return Window(y, x, rows[row + 1] - y, columns[column + 1] - x)


def _first_fold(source: Ground) -> str:
    """Of a city with labels in few blocks, the first that has any; of cities the first."""
    return Folds.read(source.tiles).names[0]


# --- networks -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipes:
    """How a network is trained: a config and its overrides."""

    config: str
    overrides: str = ""

    @property
    def label(self) -> str:
        return " ".join(filter(None, [Path(self.config).stem, self.overrides]))

    def key(self, source: Ground, fold: str, seed: int) -> str:
        """What the training's weights depend on."""
        tasks, _ = plan(Path(self.config), fold, str(seed), self._overrides(source))
        return tasks[0].key

    def train(self, source: Ground, fold: str, seed: int, out: Path) -> Network:
        """Train without the fold, or take what was trained; its threshold is of the rest."""
        key = self.key(source, fold, seed)
        folder = out / "trainings" / key
        if not (folder / "run.json").is_file():
            cross_validate(
                config_path=Path(self.config),
                folds=fold,
                seeds=str(seed),
                overrides=self._overrides(source),
                output=str(folder),
            )
            (line,) = json.loads((folder / "cross_validation.json").read_text())["folds"]
            (folder / "run.json").write_text(json.dumps({"run_id": line["run_id"]}))
        run_id = json.loads((folder / "run.json").read_text())["run_id"]
        info = tracking.find_run(run_id).info
        score = json.loads((tracking.run_artifacts(run_id) / FOLDER / FOLD_JSON).read_text())
        rest, built_up = np.sum(score["left_in"], axis=1)
        return Network(
            run_id,
            key,
            score["threshold"],
            float(built_up / (rest + built_up)),
            score["temperature"],
            (info.end_time - info.start_time) / 1000,
        )

    def _overrides(self, source: Ground) -> str:
        return f"{self.overrides} data_path='{source.tiles}'".strip()


@cache
def given_network(model: str, source: Ground) -> Network:
    """A model that is there: a run, a file, or (empty) the one that `predict` takes by itself."""
    trained = load_trained(model)
    truths = [mask for _, _, mask in source.arrays()]
    share = sum(int((m == 1).sum()) for m in truths) / sum(int((m != IGNORE).sum()) for m in truths)
    key = weights_digest(trained.model.state_dict())[:16]
    return Network(model, key, trained.threshold, share, trained.temperature, 0.0)


# --- maps -----------------------------------------------------------------------------------------


def recipe_of(model: str, way: str) -> Recipe:
    """A way of predicting: a value of `adapt` (none, auto, scene:0.8, …), or settings of `Recipe`.

    Several settings are separated by commas: `adapt=auto,tta=d4`.
    """
    pairs = [word.partition("=") for word in way.split(",") if word]
    settings = {name: value if sign else name for name, sign, value in pairs if sign}
    bare = [name for name, sign, _ in pairs if not sign]
    if bare:
        settings["adapt"] = bare[0]
    known = {of.name for of in fields(Recipe)}
    if "adapt" not in known and settings.get("adapt") == "none":
        del settings["adapt"]
    unknown = sorted(settings.keys() - known)
    if unknown or len(bare) > 1:
        sys.exit(f"error: way {way}: `predict` has no {', '.join(unknown or bare[1:])}")
    return Recipe(model=model, **settings)


def map_and_count(network: Network, way: str, target: Ground, folder: Path) -> dict[str, Any]:
    """Map a ground with `predict`, anew; counts of each map, and seconds, as JSON values."""
    shutil.rmtree(folder, ignore_errors=True)
    started = time.monotonic()
    options = PredictOptions(str(target.split), output_path=str(folder), num_workers=1)
    predict(recipe_of(network.model, way), options)
    seconds = time.monotonic() - started
    maps = [
        MapCounts(city, counts, network.threshold, network.share, network.temperature)
        for city, counts in count_maps(folder, target)
    ]
    return {
        "seconds": seconds,
        "training_seconds": network.seconds,
        "model": network.model,
        "maps": [found.to_json() for found in maps],
    }


def count_maps(folder: Path, target: Ground) -> list[tuple[str, PixelCounts]]:
    """The counts of each city that was mapped, against its mask: one date a city, the same grid."""
    truths = {mask.city: mask.path for mask in target.masks}
    found = []
    with gdal_env():
        for rasters in city_rasters(Results(folder)):
            city = read_tags(rasters.mask).base_city
            with (
                rasterio.open(rasters.mask) as mask,
                rasterio.open(rasters.prob) as prob,
                rasterio.open(truths[city]) as truth,
            ):
                if mask.shape != truth.shape or mask.transform != truth.transform:
                    sys.exit(f"error: {rasters.mask}: not on the grid of {truths[city]}")
                found.append((city, counted(truth.read(1), prob.read(1), mask.read(1) == 1)))
    return found


def counted(
    truth: NDArray[np.uint8], levels: NDArray[np.uint8], mapped: NDArray[np.bool_]
) -> PixelCounts:
    """The counts of the pixels that are labelled and mapped; arrays of one shape."""
    valid = (truth != IGNORE) & (levels != NODATA)
    return PixelCounts.of(truth[valid] == 1, mapped[valid], levels[valid])


def pooled(maps: Sequence[MapCounts]) -> PixelCounts:
    return sum((found.counts for found in maps), PixelCounts.zero())
