"""What tags of many scenes add to pixel labels of few: docs/results.md.

    python benchmarks/weak.py [--part aerial|radar|towns] [--seeds "0;1;2"] [--only "…;…"]
        [--on validation]

`aerial`: 40 simulated scenes with heights, of which 10 % have pixel labels, 70 % tags of cells of
25 m, and 20 % validate; twelve further scenes are mapped and scored by their clean truth. `radar`
and `towns` (`weak_radar.py`): San Francisco's blocks, each left out in turn, and simulated towns of
another style, tags built-up or not. Every row is the same ladder (docs/weak.md), on networks that a
CPU learns in minutes; a seed draws the split, too.
Beside the scores stands which part of the way from B1 to the upper bound a row has gone,
(M − B1) / (upper − B1). `--on validation` scores the scenes that validate instead: those on which
recipes may be chosen.

What is trained and mapped already is kept (`<output>/runs.json`): stop it and run it again.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from aerial import spread
from new_ground import Records
from studies.commands import use_project_database

from builtup import train
from builtup.errors import BuiltupError
from builtup.jobs.files import write_text_atomically
from builtup.maps.pseudo_labels import pseudo_labels
from builtup.maps.validate_layer import LayerOptions, score_layer
from builtup.prediction.predict import PredictOptions, predict
from builtup.prediction.recipe import Recipe
from builtup.runs.results import Results
from builtup.scoring.tables import markdown
from builtup.sensors.optical.import_scenes import import_scenes
from builtup.simulate.aerial.dataset import with_clean_labels
from builtup.simulate.dataset import simulate
from builtup.tiles.cut import generate_tiles
from builtup.tiles.stats import generate_tiles_stats
from builtup.tiles.weak_split import N2, VALIDATION
from builtup.tiles.weaken import weaken
from builtup.training.pseudo_record import PseudoRecord

ROOT = Path(__file__).parents[1]
WEAK, WEAK_FINE = "configs/train/weak", "configs/selftrain/weak_fine.py"
WEAK_BASE = "configs/train/aerial/_aerial.py"
#: Of trainings that say no other: colours and heights, and 1,000 steps of 8 crops, in ten epochs,
#: in the first five of which the single stage makes no masks. Chosen on the scenes that validate:
#: without heights, or by 500 steps on scenes of four times the area, the upper bound learns too
#: little to stand above B1.
LENGTH = "channel_set=rgb_height num_epochs=10 samples_per_epoch=800 num_workers=0 validate=False"
#: Chosen on the scenes that validate, by 200 steps: weights up to 10 left the upper bound below B1
#: there, weights up to 2 found no cars.
WEIGHTS = "class_weight_limits=0.25,4.0"
SMALL = (
    "architecture=small_unet encoder=plain widths=16,32,64,96 norm=group crop=128 lr=0.002 "
    f"{WEIGHTS}"
)
#: For 1,000 steps, chosen on the scenes that validate, by seed 0: an average over the last hundred,
#: and strong views that leave a tree green.
CONSISTENT = "strong_views=0.25,0.25,0.25,0.05,1.0"
AVERAGE = "ema_decay=0.99"
FINE = f"{LENGTH} num_epochs=2 samples_per_epoch=400 crop=128 lr=0.0002 {WEIGHTS}"
#: Of tags alone, 600 steps, of the single stage each as dear as three of the others'. Ground is in
#: every cell, so that tags say nothing of it: it is what is left, a constant (by 400 steps on the
#: scenes that validate class activation maps were no better with it learnt: all is ground to them).
TAGS = "crop=128 lr=0.002 width=8 samples_per_epoch=480"
GROUND_LEFT = f"{TAGS} background=4"


@dataclass(frozen=True)
class Row:
    """A step of the ladder: a config and the settings that differ from it.

    It learns from pixels of few scenes and tags of many, with `upper` from pixels of all. `teacher`
    is the row whose maps label the scenes with tags for it; `fine` is learnt after it, from its
    network.
    """

    config: str
    settings: str
    upper: bool = False
    teacher: str = ""
    fine: str = ""


ROWS: dict[str, Row] = {
    "B1": Row(f"{WEAK}/b1.py", SMALL),
    "upper bound": Row(f"{WEAK}/b1.py", SMALL, upper=True),
    "M1": Row(f"{WEAK}/m1.py", SMALL),
    "M3": Row(f"{WEAK}/m3.py", SMALL, teacher="M1", fine=WEAK_FINE),
    "M4": Row(f"{WEAK}/m4.py", f"{SMALL} {CONSISTENT}"),
    "M4 + EMA": Row(f"{WEAK}/m4_ema.py", f"{SMALL} {CONSISTENT} {AVERAGE}"),
    "B0": Row(f"{WEAK}/task_i_dropout.py", f"crop=128 lr=0.002 {WEIGHTS} width=16"),
    "CAM, tags alone": Row(f"{WEAK}/cam.py", GROUND_LEFT),
    "CAM, ground learnt": Row(f"{WEAK}/cam.py", TAGS),
    "single stage, tags alone": Row(f"{WEAK}/task_ii_tags.py", GROUND_LEFT),
}
LOWER, UPPER = "B1", "upper bound"
#: The figures of a map, by the names of `score_layer`.
FIGURES = {"mIoU": "miou", "building IoU": "class/building/iou", "car IoU": "class/car/iou"}
#: Simulated scenes: to learn and validate, and to score; pixels of a side; pixels of a cell.
SCENES, TESTS, SIZE, SEED = 40, 12, 384, 41
CELL, CONTEXT, SHARES = 100, 14, "10;70;20"
LAYERS = ("images", "masks", "height")
GROUND = f"{SCENES} {TESTS} {SIZE} {SEED} {CELL} {CONTEXT} {SHARES}"


@dataclass(frozen=True)
class Ground:
    """Folders of a split: weakened tiles, the same with pixel labels for all that has tags, scenes
    with tags and their masks, and the scenes that are scored."""

    weak: Path
    upper: Path
    tagged: Path
    scored: Path


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--part", choices=("aerial", "radar", "towns"), default="aerial")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--only", default="", help="names of rows, separated by ;")
    parser.add_argument("--on", choices=("test", "validation"), default="test")
    parser.add_argument("--overrides", default="", help="settings of all trainings")
    parser.add_argument("--output", type=Path, default=Path("output/weak"))
    parser.add_argument("--markdown", type=Path, help="a file for the table")
    arguments = parser.parse_args()
    use_project_database()
    records = Records(arguments.output / "runs.json")
    seeds = [int(word) for word in arguments.seeds.split(";")]
    if (part := arguments.part) != "aerial":
        from weak_radar import radar_tables

        names = [word for word in arguments.only.split(";") if word]
        out = arguments.output / part
        text = radar_tables(part, seeds, names, arguments.overrides, records, out)
    else:
        table, labels = _aerial(arguments, seeds, records)
        text = markdown(rows_of(table, FIGURES))
        text += f"\n\n{markdown(label_rows(labels))}" if labels else ""
    print(text)
    if arguments.markdown:
        write_text_atomically(arguments.markdown, text + "\n")


#: By row and seed, figures; and by seed what labels by tags were worth.
Table = dict[str, dict[int, Mapping[str, Any]]]
Labels = list[Mapping[str, Mapping[str, float]]]


def recipes() -> str:
    """What stands for the content of the configs that are learnt by, in keys of records."""
    paths = [*sorted((ROOT / WEAK).glob("*.py")), ROOT / WEAK_FINE, ROOT / WEAK_BASE]
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:8]


def chosen(known: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Those of the known that are named, all where none is; ends the script for other names."""
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"error: {', '.join(unknown)}: unknown; known are {', '.join(known)}")
    return {name: known[name] for name in names or known}


def _aerial(
    arguments: argparse.Namespace, seeds: Iterable[int], records: Records
) -> tuple[Table, Labels]:
    out: Path = arguments.output / "aerial"
    rows = chosen(ROWS, [word for word in arguments.only.split(";") if word])
    table: Table = {}
    labels: Labels = []
    for seed in seeds:
        ground = aerial_ground(out, seed, arguments.on)
        learner = Learner(ground, seed, arguments.overrides, records, out / f"seed_{seed}")
        for name in rows:
            key = f"{ground.scored} | {name} | {learner.key(name)}"
            folder = learner.folder / "maps" / name.replace(" ", "_")  # for as long as it is scored
            made = partial(_mapped, partial(learner.network, name), ground.scored, folder)
            table.setdefault(name, {})[seed] = records(key, made)
        if any(row.teacher for row in rows.values()):
            labels.append(learner.stages(LOWER_TEACHER))
    return table, labels


LOWER_TEACHER = ROWS["M3"].teacher

# --- ground ---------------------------------------------------------------------------------------


def aerial_ground(out: Path, seed: int, scored: str) -> Ground:
    """The simulated scenes, split by a seed."""
    raw = out / "raw"
    simulate(
        output_path=raw, sensor="aerial", cities=SCENES, test_cities=TESTS, dates=1, size=SIZE,
        seed=SEED, num_workers=1,
    )  # fmt: skip
    scenes, tiles = out / "scenes", out / "tiles"
    import_scenes(input_path=raw, output_path=scenes, split="train;valid", num_workers=1)
    clean = with_clean_labels(raw, out / "clean")
    for split, name in (("train;valid", "clean_scenes"), ("test", "test")):
        import_scenes(
            input_path=clean, output_path=out / name, split=split, allow=str(raw), num_workers=1
        )
    for layer in LAYERS:
        generate_tiles(
            input_path=scenes / layer, output_path=tiles / layer, tile_size=512, overlap=0,
            materialize=False, num_workers=1,
        )  # fmt: skip
    folder = out / f"seed_{seed}"
    n1, n2, validation = SHARES.split(";")
    full = f"{int(n1) + int(n2)};0;{validation}"
    for name, shares in (("weak", SHARES), ("upper", full)):
        weaken(
            input_path=tiles, output_path=folder / name, cell=CELL, context=CONTEXT,
            shares=shares, seed=seed, num_workers=1,
        )  # fmt: skip
    roles = roles_of(folder / "weak")
    tagged = linked(out / "clean_scenes", folder / "tagged", roles[N2])
    if scored == "validation":
        test = linked(out / "clean_scenes", folder / "validation", roles[VALIDATION])
    else:
        test = out / "test"
    return Ground(folder / "weak", folder / "upper", tagged, test)


def roles_of(folder: Path) -> dict[str, list[str]]:
    """The scenes of each role of a weakened folder."""
    roles: dict[str, list[str]] = {}
    for line in (folder / "split.csv").read_text(encoding="utf-8").splitlines()[1:]:
        scene, _, role = line.split(",")
        roles.setdefault(role, []).append(scene)
    return roles


def linked(scenes: Path, folder: Path, names: Iterable[str]) -> Path:
    """A folder of links to some scenes of another one, and to no others."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in names:
        for layer in LAYERS:
            for path in scenes.glob(f"{layer}/*/{name}_*.tif"):
                link = folder / layer / path.parent.name / path.name
                link.parent.mkdir(parents=True, exist_ok=True)
                if not link.exists():
                    link.symlink_to(path.resolve())
    return folder


# --- networks and maps ----------------------------------------------------------------------------


@dataclass
class Learner:
    """The trainings of a split, each made once, with what they need of one another."""

    ground: Ground
    seed: int
    overrides: str
    records: Records
    folder: Path
    rows: Mapping[str, Row] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.rows = self.rows or ROWS

    def key(self, name: str) -> str:
        """All that a row depends on."""
        row = self.rows[name]
        own = f"{row.config} {recipes()} | {row.settings} {self.overrides} | {LENGTH}"
        own += f" | {self.seed} {GROUND}"
        return f"{own} | {row.fine} {FINE} after {self.key(row.teacher)}" if row.teacher else own

    def network(self, name: str) -> str:
        """The run of a row."""
        row = self.rows[name]
        data = self.ground.upper if row.upper else self.ground.weak
        settings = f"{LENGTH} {row.settings} {self.overrides} seed={self.seed} data_path='{data}'"
        if row.teacher:
            settings += f" pseudo_path='{self.labels(row.teacher)}'"
        run = self._trained(f"{data} | {self.key(name)}", row.config, settings)
        if not row.fine:
            return run
        settings = f"{FINE} seed={self.seed} data_path='{data}' teacher='{run}'"
        return self._trained(f"{data} | fine | {self.key(name)}", row.fine, settings)

    def _trained(self, key: str, config: str, settings: str) -> str:
        def made() -> dict[str, Any]:
            started = time.monotonic()
            run = train(config, settings)
            return {"run": run.run_id, "seconds": time.monotonic() - started}

        return str(self.records(f"training | {key}", made)["run"])

    def labels(self, teacher: str) -> Path:
        """The folder of the labels that a row's maps and the tags give."""
        folder = self.folder / f"pseudo_{teacher.replace(' ', '_')}"
        self.records(f"labels | {folder} | {self.key(teacher)}", partial(self._label, teacher))
        return folder / "labels"

    def _label(self, teacher: str) -> dict[str, Any]:
        folder = self.folder / f"pseudo_{teacher.replace(' ', '_')}"
        maps, labels = folder / "maps", folder / "labels"
        mapped(self.network(teacher), self.ground.tagged, maps)
        pseudo_labels(
            input_path=str(maps), tiles_path=self.ground.weak, output_path=labels, mode="tags",
            gt_path=str(self.ground.tagged / "masks"), num_workers=1,
        )  # fmt: skip
        generate_tiles_stats(input_path=labels, output_path=labels, num_workers=1)
        stages = PseudoRecord.read(labels).stages
        assert stages is not None
        return {name: dict(found) for name, found in stages.items()}

    def stages(self, teacher: str) -> Mapping[str, Mapping[str, float]]:
        """What labels were worth as the map says, as tags allow, and where they were kept."""
        self.labels(teacher)
        folder = self.folder / f"pseudo_{teacher.replace(' ', '_')}"
        found: Mapping[str, Mapping[str, float]] = self.records.values[
            f"labels | {folder} | {self.key(teacher)}"
        ]
        return found


def mapped(run: str, scenes: Path, folder: Path) -> None:
    """Map scenes with `predict`, anew."""
    shutil.rmtree(folder, ignore_errors=True)
    recipe = Recipe(model=run, window=256, adapt="none")
    options = PredictOptions(
        str(scenes / "images"), output_path=str(folder), probabilities=True, num_workers=1
    )
    predict(recipe, options)


def _mapped(network: Callable[[], str], scenes: Path, folder: Path) -> dict[str, Any]:
    mapped(network(), scenes, folder)
    found = score_layer(Results(folder), scenes, LayerOptions("masks")).metrics()
    shutil.rmtree(folder)
    return dict(found)


# --- the tables -----------------------------------------------------------------------------------


def rows_of(table: Table, figures: Mapping[str, str]) -> list[list[str]]:
    """A row a step of the ladder: mean ± spread over seeds, and the part of the gap it closes."""
    rows = [["", *figures, "of the gap in mIoU, by seed"]]
    main = next(iter(figures.values()))
    for name, seeds in table.items():
        cells = [spread([of.get(key) for of in seeds.values()]) for key in figures.values()]
        rows.append([name, *cells, gaps(table, name, main)])
    return rows


def gaps(table: Table, name: str, figure: str) -> str:
    """(M − B1) / (upper − B1) of each seed that has all three, in percent."""
    if name in (LOWER, UPPER) or not {LOWER, UPPER} <= set(table):
        return "–"
    parts = []
    for seed, of in table[name].items():
        if seed in table[LOWER] and seed in table[UPPER]:
            lower, upper = (float(table[row][seed][figure]) for row in (LOWER, UPPER))
            closed = (float(of[figure]) - lower) / (upper - lower) if upper > lower else np.nan
            parts.append("–" if np.isnan(closed) else f"{closed:+.0%}".replace("%", " %"))
    return ", ".join(parts) or "–"


def label_rows(labels: Labels) -> list[list[str]]:
    """A row a stage of the labels."""
    names = {"raw": "as the map decides", "tags": "of the classes tagged", "kept": "and .9 sure"}
    keys = {"labelled": "labelled", "macro_iou": "mIoU", "accuracy": "accuracy"}
    rows = [["labels", *keys.values(), "building IoU"]]
    for stage, words in names.items():
        found = [of[stage] for of in labels]
        rows.append([words, *(spread([of[key] for of in found]) for key in (*keys, "iou"))])
    return rows


if __name__ == "__main__":
    try:
        main()
    except BuiltupError as e:
        sys.exit(f"error: {e}")
