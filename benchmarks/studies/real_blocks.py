"""A hard test with little data: one real city in four blocks, random forest and network.

    python benchmarks/studies/real_blocks.py [--city SanFranciscoWest_1988] [--seeds "0;1;2"]

A scene of $BUILTUP_DATA is split in four (San Francisco at row 560 and column 256, Beijing in the
middle of its labelled campus). In turn each block is held out with a gap of 32 pixels, and every
labelled pixel of it is scored at probability 0.5 (the network also at the threshold that its
training ground chose). The forest is the classic reference
(`builtup.maps.forest`), the network `configs/train/recommended_cpu.py` by `cross_validate`: its
last weights, nothing chosen on the block.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import rasterio
from commands import builtup, use_project_database

from builtup.geo.probability import IGNORE
from builtup.maps.forest import fit_forest, forest_probability
from builtup.tiles.folds import Folds
from builtup.tiles.tile import read_tiles

CONFIG = "configs/train/recommended_cpu.py"
#: Where each city is split, and where its results go.
CITIES = {
    "SanFranciscoWest_1988": ("rows=560;cols=256", Path("output/san_francisco")),
    "Beijing_2020": ("2x2", Path("output/beijing")),
}

#: By fold (or all together): true positive, false positive, false negative, all labelled pixels.
Counts = dict[str, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0;1;2")
    parser.add_argument("--city", choices=CITIES, default="SanFranciscoWest_1988")
    parser.add_argument("--output", type=Path, help="a folder; output/<the city> by default")
    parser.add_argument("--config", default=CONFIG)
    parser.add_argument("--overrides", default="", help="settings of the config to replace")
    arguments = parser.parse_args()
    data = Path(os.environ.get("BUILTUP_DATA", "../shared/data")) / "real_s1" / "train"
    split, folder = CITIES[arguments.city]
    if not (data / arguments.city).is_dir():
        sys.exit(f"error: {data / arguments.city}: no such folder; set BUILTUP_DATA")
    out: Path = arguments.output or folder
    use_project_database()
    prepare(data / arguments.city, out, split)
    rows = [("random forest", seed, score_forest(out, seed)) for seed in (0, 1, 2)]
    name = Path(arguments.config).stem
    network = out / name
    builtup(
        "cross_validate",
        config_path=arguments.config,
        seeds=arguments.seeds,
        overrides=f"data_path={out / 'tiles'} {arguments.overrides}".strip(),
        output=network,
    )
    for label, suffix in ((f"{name}, at 0.5", "_half"), (f"{name}, own threshold", "_chosen")):
        for seed, counts in read_counts(network / "blocks.csv", suffix).items():
            rows.append((label, seed, counts))
    report(rows, out / "scores.json")


def prepare(data: Path, out: Path, split: str) -> None:
    """Scenes, masks, tiles and folds of the one city."""
    link = out / "input" / data.name
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.symlink_to(data.resolve())
    tiles = out / "tiles"
    builtup("generate_3b_images", input_path=out / "input", output_path=out / "images_3b")
    builtup("rasterize", input_path=out / "input", output_path=out / "masks")
    for source, target in ((out / "images_3b", "images"), (out / "masks", "masks")):
        builtup(
            "generate_tiles",
            input_path=source,
            output_path=tiles / target,
            tile_size=256,
            overlap=32,
        )
    builtup(
        "generate_tiles_stats", input_path=tiles, output_path=tiles, folds="blocks", blocks=split
    )


def score_forest(out: Path, seed: int) -> Counts:
    """Fit on the ground outside each block and its gap; count in the block."""
    (image,) = (out / "images_3b").rglob("*.tif")
    (truth,) = (out / "masks").rglob("*.tif")
    with rasterio.open(image) as dataset, rasterio.open(truth) as dataset_mask:
        power = dataset.read([1, 2])
        mask = dataset_mask.read(1)
    folds = Folds.read(out / "tiles")
    tile = read_tiles(out / "tiles" / "images" / "tiles.csv")[0]
    counts = {}
    for fold, name in enumerate(folds.names):
        held = folds.held_out(tile, fold)
        hidden = folds.held_out(tile, fold, with_gap=True)
        if held is None or hidden is None:
            sys.exit(f"error: {tile.path}: holds nothing of fold {name}; remove {out}")
        known = mask.copy()
        known[hidden.slices] = IGNORE
        without = np.where(known == IGNORE, np.nan, power).astype(np.float32)
        forest = fit_forest([(without, known)], seed=seed)
        built_up = forest_probability(forest, power)[held.slices] >= 0.5
        target = mask[held.slices]
        counts[name] = np.array(
            [
                np.count_nonzero(built_up & (target == 1)),
                np.count_nonzero(built_up & (target == 0)),
                np.count_nonzero(~built_up & (target == 1)),
                np.count_nonzero(target != IGNORE),
            ]
        )
    return counts


def read_counts(path: Path, suffix: str) -> dict[int, Counts]:
    """The counts of a cross-validation by seed and fold."""
    found: dict[int, Counts] = defaultdict(lambda: defaultdict(lambda: np.zeros(4, int)))
    with path.open(newline="") as f:
        for row in csv.DictReader(f):
            tp, fp, fn, tn = (int(row[f"{key}{suffix}"]) for key in ("tp", "fp", "fn", "tn"))
            found[int(row["seed"])][row["fold"]] += np.array([tp, fp, fn, tp + fp + fn + tn])
    return found


def f1(counts: np.ndarray) -> float:
    tp, fp, fn, _ = (int(x) for x in counts)
    return 2 * tp / max(1, 2 * tp + fp + fn)


def everywhere(counts: np.ndarray) -> np.ndarray:
    """The counts of a map that says built-up of every pixel, from those of another."""
    tp, _, fn, labelled = counts
    return np.array([tp + fn, labelled - tp - fn, 0, labelled])


def mean_and_spread(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def report(rows: list[tuple[str, int, Counts]], path: Path) -> None:
    """Print a line a method and seed, then means and spreads; write all as JSON."""
    names = sorted(rows[0][2])
    print("| method | seed | " + " | ".join(names) + " | pooled |")
    print("|---" * (len(names) + 3) + "|")
    pooled = defaultdict(list)
    for method, seed, counts in rows:
        pooled[method].append(f1(sum(counts.values(), np.zeros(4, int))))
        cells = [f"{f1(counts[name]):.3f}" for name in names]
        print(f"| {method} | {seed} | {' | '.join(cells)} | {pooled[method][-1]:.3f} |")
    print(f"\n| mean ± spread over seeds | {' | '.join(names)} | pooled |")
    print("|---" * (len(names) + 2) + "|")
    for method, values in pooled.items():
        of_seeds = [counts for m, _, counts in rows if m == method]
        by_block = [[f1(counts[name]) for counts in of_seeds] for name in names]
        cells = [mean_and_spread(v) for v in [*by_block, values]]
        print(f"| {method} | {' | '.join(cells)} |")
    everything = {name: everywhere(rows[0][2][name]) for name in names}
    cells = [
        f"{f1(c):.3f}" for c in [*everything.values(), sum(everything.values(), np.zeros(4, int))]
    ]
    print(f"| built-up everywhere | {' | '.join(cells)} |")
    record = [
        {"method": method, "seed": seed, "counts": {k: v.tolist() for k, v in counts.items()}}
        for method, seed, counts in rows
    ]
    path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
