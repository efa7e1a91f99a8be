"""What elevation, overlap and several scales are worth from the air: docs/results.md.

    python benchmarks/aerial.py [--seeds "0;1;2"] [--variants "…;…"] [--ways "…;…"] [--real]

Simulated orthomosaics (`simulate sensor=aerial`) of towns that differ: those of the training list
are learnt from, those of the validation list choose nothing but the weights of scales, those of the
test list are mapped and scored against their clean truth. Six networks of one size, each with its
seeds, are each mapped in six ways; what a network with heights does where no height is known at
test is a network of its own. `--real` maps halves of real scenes instead ($BUILTUP_DATA/imagery).

What is trained and mapped already is kept (`<output>/runs.json`): stop it and run it again.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from new_ground import Records
from studies.commands import use_project_database

from builtup import train
from builtup.errors import BuiltupError
from builtup.jobs.files import write_text_atomically
from builtup.maps.validate_layer import LayerOptions, score_layer
from builtup.prediction.cascade_fit import cascade_fit
from builtup.prediction.predict import PredictOptions, predict
from builtup.prediction.recipe import Recipe
from builtup.runs.results import Results
from builtup.scoring.tables import markdown
from builtup.sensors.optical.import_scenes import import_scenes
from builtup.simulate.aerial.dataset import with_clean_labels
from builtup.simulate.dataset import simulate
from builtup.tiles.cut import generate_tiles
from builtup.tiles.stats import generate_tiles_stats

CONFIG = "configs/train/aerial/small_cpu.py"
#: Half of the crops have larger pixels, so that a network knows the scales that it is mapped at.
COMMON = "pixel_size=1.0,4.0"
#: What is trained: a name, and the settings that differ from CONFIG.
VARIANTS: dict[str, str] = {
    "RGB": "",
    "+ height as target, α .1": "elevation_alpha=0.1",
    "+ height as target, α 1": "elevation_alpha=1.0",
    "+ height as target, α 10": "elevation_alpha=10.0",
    "+ height as input": "channel_set=rgb_height height_dropout=0.5",
}
#: The network that is mapped once more where nobody knows heights.
WITH_HEIGHT, WITHOUT = "+ height as input", "the same without height at test"
#: Pixels of a window: halls and ponds of the scenes are wider.
WINDOW = 128
SCALES = (0.25, 0.5, 1.0)
#: How a scene is mapped: settings of `Recipe`.
WAYS: dict[str, dict[str, Any]] = {
    "one window a pixel": {"stride": 1},
    "stride 2, Gaussian": {"stride": 2, "blend": "gaussian"},
    "vote": {"stride": 2, "blend": "gaussian", "scales": SCALES, "fold": "vote"},
    "soft": {"stride": 2, "blend": "gaussian", "scales": SCALES, "fold": "soft"},
    "fitted logits": {"stride": 2, "blend": "gaussian", "scales": SCALES, "fold": "logits"},
    "mean of scales": {"stride": 2, "blend": "gaussian", "scales": SCALES, "fold": "mean"},
}
FITTED = "fitted logits"
#: The figures of a map, by the names of `score_layer`.
FIGURES = {"mIoU": "miou", "building": "class/building/iou", "car": "class/car/iou"}
#: Simulated towns: of the training list (a quarter of them validates) and of the test list.
CITIES, TESTS, SIZE, SEED = 12, 4, 1024, 21
LAYERS = ("images", "masks", "height")
#: Real pairs: where a network learns, and what it maps.
PAIRS = (("ec09W", "ec09E"), ("ec09E", "ec09W"), ("dole1", "dole2"), ("dole2", "dole1"))


@dataclass(frozen=True)
class Ground:
    """Scenes in the layout of `import_scenes`, and where their tiles are."""

    scenes: Path
    tiles: Path

    @property
    def images(self) -> Path:
        return self.scenes / "images"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", default="0;1;2")
    parser.add_argument("--variants", default="", help="parts of their names, separated by ;")
    parser.add_argument("--ways", default="", help="parts of their names, separated by ;")
    parser.add_argument("--overrides", default="", help="settings of all trainings")
    parser.add_argument("--real", action="store_true", help="halves of real scenes")
    parser.add_argument("--output", type=Path, default=Path("output/aerial"))
    parser.add_argument("--markdown", type=Path, help="a file for the table")
    arguments = parser.parse_args()
    use_project_database()
    seeds = [int(word) for word in arguments.seeds.split(";")]
    chosen = _Chosen(
        {k: v for k, v in VARIANTS.items() if _wanted(k, arguments.variants)},
        {k: v for k, v in WAYS.items() if _wanted(k, arguments.ways)},
        arguments.overrides,
    )
    out: Path = arguments.output
    records = Records(out / "runs.json")
    table = _real(chosen, seeds, records, out) if arguments.real else _simulated(
        chosen, seeds, records, out
    )  # fmt: skip
    text = markdown(rows_of(table))
    print(text)
    if arguments.markdown:
        write_text_atomically(arguments.markdown, text + "\n")


@dataclass(frozen=True)
class _Chosen:
    variants: Mapping[str, str]
    ways: Mapping[str, Mapping[str, Any]]
    overrides: str


def _wanted(name: str, words: str) -> bool:
    return not words or any(word in name for word in words.split(";") if word)


#: By network and way, the figures of each seed.
Table = dict[tuple[str, str], list[dict[str, float]]]


def _simulated(chosen: _Chosen, seeds: Iterable[int], records: Records, out: Path) -> Table:
    train_on, valid, test = simulated_grounds(out)
    blind = without_heights(test, out / "test_without_heights")
    blind_valid = without_heights(valid, out / "valid_without_heights")
    table: Table = {}
    for seed in seeds:
        for name, settings in chosen.variants.items():
            network = partial(_trained, train_on, f"{settings} {chosen.overrides}", seed, records)
            mapped = [(name, valid, test)]
            if name == WITH_HEIGHT:
                mapped.append((WITHOUT, blind_valid, blind))
            for label, fitted_on, target in mapped:
                for way, recipe in chosen.ways.items():
                    fit = fitted_on if way == FITTED else None
                    key = f"{label} | {way} | {seed} | {chosen.overrides}"
                    made = partial(_mapped, network, recipe, target, fit, out / "maps" / _file(key))
                    table.setdefault((label, way), []).append(records(key, made))
    return table


def _real(chosen: _Chosen, seeds: Iterable[int], records: Records, out: Path) -> Table:
    grounds = real_grounds(out)
    table: Table = {}
    for seed in seeds:
        for here, there in PAIRS:
            for name, settings in chosen.variants.items():
                if here.startswith("ec09") and name != "RGB":
                    continue  # it has no elevation
                overrides = f"{settings} {chosen.overrides}"
                network = partial(_trained, grounds[here], overrides, seed, records)
                for way, recipe in chosen.ways.items():
                    if way == FITTED:
                        continue  # no third scene to fit its weights on
                    label = f"{here} → {there}, {name}"
                    key = f"{label} | {way} | {seed} | {chosen.overrides}"
                    folder = out / "maps" / _file(key)
                    made = partial(_mapped, network, recipe, grounds[there], None, folder)
                    table.setdefault((label, way), []).append(records(key, made))
    return table


def _file(key: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in key)


# --- ground ---------------------------------------------------------------------------------------


def simulated_grounds(out: Path) -> tuple[Ground, Ground, Ground]:
    """Ground to learn from, to fit weights of scales on, and to score by its clean truth."""
    raw = out / "raw"
    simulate(
        output_path=raw,
        sensor="aerial",
        cities=CITIES,
        test_cities=TESTS,
        dates=1,
        size=SIZE,
        seed=SEED,
        num_workers=2,
    )
    return (
        _prepared(raw, out / "train", "train", tiled=True),
        _prepared(raw, out / "valid", "valid"),
        _prepared(with_clean_labels(raw, out / "clean"), out / "test", "test", links=raw),
    )


def real_grounds(out: Path) -> dict[str, Ground]:
    """The real scenes, each a data set of its own."""
    data = Path(os.environ.get("BUILTUP_DATA", "../shared/data")) / "imagery" / "aerial"
    if not data.is_dir():
        sys.exit(f"error: {data}: no such folder; set BUILTUP_DATA")
    grounds = {}
    for name in dict.fromkeys(name for pair in PAIRS for name in pair):
        raw = out / "real" / name / "raw"
        for path in sorted(data.glob(f"*/{name}-*")):
            link = raw / path.parent.name / path.name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to(path.resolve())
        grounds[name] = _prepared(raw, out / "real" / name, "", tiled=True, links=data)
    return grounds


def _prepared(
    raw: Path, folder: Path, split: str, *, tiled: bool = False, links: Path | None = None
) -> Ground:
    ground = Ground(folder / "scenes", folder / "tiles")
    import_scenes(
        input_path=raw, output_path=ground.scenes, split=split, allow=str(links or ""),
        num_workers=2,
    )  # fmt: skip
    for layer in LAYERS if tiled else ():
        if (ground.scenes / layer).is_dir():
            generate_tiles(
                input_path=ground.scenes / layer,
                output_path=ground.tiles / layer,
                tile_size=512,
                overlap=0,
                materialize=False,
                num_workers=1,
            )
    if tiled:
        generate_tiles_stats(input_path=ground.tiles, output_path=ground.tiles, num_workers=2)
    return ground


def without_heights(ground: Ground, folder: Path) -> Ground:
    """The same scenes, of which nobody knows heights."""
    for layer in ("images", "masks"):
        link = folder / "scenes" / layer
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to((ground.scenes / layer).resolve())
    return Ground(folder / "scenes", folder / "tiles")


# --- networks and maps ----------------------------------------------------------------------------


def _trained(ground: Ground, overrides: str, seed: int, records: Records) -> str:
    """The run of a network that learns from all of a ground; kept by its settings."""
    own = f"seed={seed} val_fold=None data_path='{ground.tiles}'"
    settings = f"{COMMON} {overrides} {own}"

    def made() -> dict[str, Any]:
        started = time.monotonic()
        run = train(CONFIG, settings)
        return {"run": run.run_id, "seconds": time.monotonic() - started}

    return str(records(f"training | {ground.tiles} | {overrides.strip()} | {seed}", made)["run"])


def _mapped(
    network: Callable[[], str],
    way: Mapping[str, Any],
    target: Ground,
    fitted_on: Ground | None,
    folder: Path,
) -> dict[str, Any]:
    """Map a ground with `predict`, anew, and score the maps by its masks."""
    recipe = Recipe(model=network(), window=WINDOW, adapt="none", **way)
    if fitted_on is not None:
        recipe = _fitted(recipe, fitted_on, folder.with_name(folder.name + "_fit"))
    shutil.rmtree(folder, ignore_errors=True)
    started = time.monotonic()
    _predict(recipe, target, folder)
    seconds = time.monotonic() - started
    scores = score_layer(Results(folder), target.scenes, LayerOptions("masks", per_scene=True))
    found = scores.metrics()
    pixels = sum(int(scene.matrix.sum()) for scene in scores.full.scenes)
    return {**found, "seconds": seconds, "mpx_s": pixels / 1e6 / seconds}


def _fitted(recipe: Recipe, ground: Ground, folder: Path) -> Recipe:
    """The recipe with weights of its scales that are fitted on a ground."""
    shutil.rmtree(folder, ignore_errors=True)
    _predict(replace(recipe, fold="mean"), ground, folder)
    cascade_fit(input_path=str(folder), gt_path=ground.scenes / "masks")
    return replace(recipe, fold=f"logits:{folder}")


def _predict(recipe: Recipe, ground: Ground, folder: Path) -> None:
    predict(recipe, PredictOptions(str(ground.images), output_path=str(folder), num_workers=1))


# --- the table ------------------------------------------------------------------------------------


def rows_of(table: Table) -> list[list[str]]:
    """A row a network and way: mean ± spread over seeds of each figure."""
    rows = [["network", "mapped by", *FIGURES, "f1_mean ± std over scenes", "Mpx/s"]]
    for (network, way), runs in table.items():
        cells = [spread([run.get(key) for run in runs]) for key in FIGURES.values()]
        deviation = spread([run.get("weighted_f1_std") for run in runs])
        f1 = f"{spread([run.get('weighted_f1_mean') for run in runs])} ({deviation})"
        speed = f"{statistics.median(run['mpx_s'] for run in runs):.2f}"
        rows.append([network, way, *cells, f1, speed])
    return rows


def spread(values: list[float | None]) -> str:
    known = [value for value in values if value is not None and value == value]
    if not known:
        return "–"
    text = _number(statistics.fmean(known))
    return f"{text} ± {_number(statistics.stdev(known))}" if len(known) > 1 else text


def _number(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1)


if __name__ == "__main__":
    try:
        main()
    except BuiltupError as e:
        sys.exit(f"error: {e}")
