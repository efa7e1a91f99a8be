"""What a coarse settlement layer adds to self-training on San Francisco, by cell size and error.

    python benchmarks/coarse_shares.py [--teachers "a;b;c"] [--cells "10;25;100"]
        [--wrong "0;0.1;0.2"]

Each teacher (a model file or run, one a seed; `benchmarks/studies/shipped_model.py --seed …` makes
them) maps the scene, and students of its maps learn beside them from the built-up shares of square
cells. The shares are those of the truth, as a layer such as GHSL would have them but for its own
errors; so many of the cells are exchanged among one another. The truth takes no other part:
teachers have seen simulated towns only, and every score is transductive. What is made already is
kept below the output.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from new_ground import Records
from new_ground_data import SF, Ground, Grounds, count_maps
from numpy.typing import NDArray
from rasterio.transform import Affine
from studies.commands import use_project_database

from builtup.errors import BuiltupError
from builtup.geo.probability import IGNORE
from builtup.prediction.predict import PredictOptions, predict
from builtup.prediction.recipe import Recipe
from builtup.scoring.counts import PixelCounts, f1
from builtup.scoring.curves import average_precision, choose_threshold
from builtup.scoring.tables import markdown
from builtup.studies.self_train import self_train

#: The row of teachers and that of students without a layer.
TEACHER, PLAIN = "teacher, adapted, tta=d4", "student of its maps"
#: Metres of a pixel of the scene.
PIXEL = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--teachers", default="shipped", help="models, separated by ;")
    parser.add_argument("--cells", default="10;25;100", help="pixels along a side")
    parser.add_argument("--wrong", default="0;0.1;0.2", help="share of cells that are exchanged")
    parser.add_argument("--overrides", default="", help="of the student's config")
    parser.add_argument("--output", type=Path, default=Path("output/coarse_shares"))
    arguments = parser.parse_args()
    use_project_database()
    out: Path = arguments.output
    target = Grounds(out, {}).real(SF)
    records = Records(out / "runs.json")
    table: dict[str, list[dict[str, float]]] = {}
    for seed, teacher in enumerate(arguments.teachers.split(";")):
        settings = f"seed={seed} {arguments.overrides}".strip()
        for name, layer in _layers(arguments, target, seed, out):
            folder = out / "students" / f"{seed}_{name.replace(' ', '_').replace('%', '')}"
            made = partial(_row, name, teacher, layer, settings, target, folder)
            key = f"{name} | {teacher} | {settings}"
            table.setdefault(name, []).append(records(key, made))
    print(markdown(_rows(table)))


def _layers(
    arguments: argparse.Namespace, target: Ground, seed: int, out: Path
) -> list[tuple[str, str]]:
    """The rows: a name, and the raster of shares or nothing."""
    ((_, _, truth),) = target.arrays()
    rows = [(TEACHER, ""), (PLAIN, "")]
    for cell in map(int, arguments.cells.split(";")):
        for wrong in map(float, arguments.wrong.split(";")):
            name = f"+ shares of {cell * PIXEL} m, {wrong:.0%} wrong"
            path = out / "layers" / f"{seed}_{cell}_{wrong:g}.tif"
            _write_shares(path, truth, target, cell, exchanged(truth, cell, wrong, seed))
            rows.append((name, str(path)))
    return rows


def exchanged(truth: NDArray[np.uint8], cell: int, wrong: float, seed: int) -> NDArray[np.float32]:
    """Shares of cells of a truth (H, W), a part `wrong` of them exchanged among one another."""
    rows, columns = (-(-side // cell) for side in truth.shape)
    padded = np.full((rows * cell, columns * cell), IGNORE, np.uint8)
    padded[: truth.shape[0], : truth.shape[1]] = truth
    blocks = padded.reshape(rows, cell, columns, cell).swapaxes(1, 2).reshape(-1, cell * cell)
    known = blocks != IGNORE
    count = known.sum(axis=1)
    shares = ((blocks == 1) & known).sum(axis=1) / np.maximum(count, 1)
    where = np.flatnonzero(count)
    generator = np.random.default_rng(seed)
    chosen = generator.permutation(where)[: round(wrong * len(where))]
    shares[chosen] = shares[np.roll(chosen, 1)]  # a cycle: none keeps its own place
    shares[count == 0] = np.nan
    return shares.reshape(rows, columns).astype(np.float32)


def _write_shares(
    path: Path, truth: NDArray[np.uint8], target: Ground, cell: int, shares: NDArray[np.float32]
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(target.masks[0].path) as mask:
        grid: Affine = mask.transform * Affine.scale(cell)
        profile = {"driver": "GTiff", "dtype": "float32", "count": 1, "nodata": np.nan}
        profile |= {"height": shares.shape[0], "width": shares.shape[1]}
        with rasterio.open(path, "w", crs=mask.crs, transform=grid, **profile) as layer:
            layer.write(shares, 1)


def _row(
    name: str, teacher: str, layer: str, settings: str, target: Ground, folder: Path
) -> dict[str, Any]:
    if name == TEACHER:
        return _mapped(Recipe(teacher, tta="d4"), target, folder)
    return _student(teacher, layer, settings, target, folder)


def _student(
    teacher: str, layer: str, settings: str, target: Ground, folder: Path
) -> dict[str, Any]:
    lines = self_train(
        model=teacher,
        input_path=str(target.split),
        output_path=folder,
        overrides=settings,
        shares_path=layer,
        num_workers=1,
    )
    run = lines[0].split("run ")[1].split(",")[0]
    return _mapped(Recipe(run), target, folder / "map") | {"run": run}


def _mapped(recipe: Recipe, target: Ground, folder: Path) -> dict[str, Any]:
    shutil.rmtree(folder, ignore_errors=True)
    predict(recipe, PredictOptions(str(target.split), output_path=str(folder), num_workers=1))
    counts = sum((found for _, found in count_maps(folder, target)), PixelCounts.zero())
    best = choose_threshold(counts.histogram)
    return {
        "f1": float(f1(counts.cells)),
        "best": float("nan") if best is None else best.f1,
        "ap": average_precision(counts.histogram),
    }


def _rows(table: dict[str, list[dict[str, float]]]) -> list[list[str]]:
    rows = [["San Francisco West", "F1", "best F1", "AP", "gain over the plain student, by seed"]]
    plain = [run["f1"] for run in table[PLAIN]]
    for name, runs in table.items():
        gains = [f"{run['f1'] - own:+.3f}" for run, own in zip(runs, plain, strict=True)]
        rows.append([name, *(_spread(runs, key) for key in ("f1", "best", "ap")), ", ".join(gains)])
    return rows


def _spread(runs: list[dict[str, float]], key: str) -> str:
    values = [run[key] for run in runs]
    text = f"{statistics.fmean(values):.3f}"
    return f"{text} ± {statistics.stdev(values):.3f}" if len(values) > 1 else text


if __name__ == "__main__":
    try:
        main()
    except BuiltupError as e:
        sys.exit(f"error: {e}")
