"""Leave one city out: the recommended network, the two baselines and the random forest.

    python benchmarks/studies/left_out_cities.py [--only recommended_cpu] [--output output/left_out]

Four simulated cities, two dates each (`simulate --seed 7`, as in ablation.py), each
left out in turn; seed 0. The baselines keep their network, loss, channels, optimiser and rate, but
take crops, batches and iterations of `SETTINGS`: with their own (480, 22, 100 epochs) a fold would
take two cores for days. Every method is scored on the same pixels; `compare` says what can be told
apart. Finished folds are kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import rasterio
from commands import builtup, use_project_database

from builtup.geo.grid import Grid
from builtup.geo.probability import IGNORE, NODATA, encode, level_of
from builtup.maps.forest import fit_forest, forest_probability
from builtup.runs.study_records import CrossValidation
from builtup.scoring.blocks import BlockCounter, BlockRow, write_blocks
from builtup.sensors.scene_files import find_rasters
from builtup.studies.cross_validate import BLOCKS_CSV

#: What each config is trained with instead of its own: 16 crops of 96 pixels an iteration.
CROPS = "crop=96 batch_size=16 scale=none samples_per_epoch=640 accumulation_steps=1"
SETTINGS = {
    "recommended_cpu": "",  # 400 iterations
    "baseline_lwrefinenet_on_db": f"{CROPS} num_epochs=8",  # 320
    "baseline_resnet50-unet": f"{CROPS} num_epochs=4",  # 160: each takes eight times as long
}
FOREST = "random forest"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="configs, separated by ; (all by default)")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--output", type=Path, default=Path("output/left_out"))
    arguments = parser.parse_args()
    out: Path = arguments.output
    use_project_database()
    builtup("simulate", output_path=out / "data", cities=4, test_cities=0, dates=2, seed=7)
    train, tiles = out / "train", out / "train_tiles"
    builtup("generate_3b_images", input_path=out / "data/train", output_path=train / "images_3b")
    builtup("rasterize", input_path=out / "data/train", output_path=train / "masks")
    for kind, folder in (("images", "images_3b"), ("masks", "masks")):
        builtup("generate_tiles", input_path=train / folder, output_path=tiles / kind)
    builtup("generate_tiles_stats", input_path=tiles, output_path=tiles, folds="city")
    if not (out / FOREST / CrossValidation.NAME).is_file():
        leave_out_forest(train, out / FOREST)
    folders = [out / FOREST]
    wanted = [name for name in arguments.only.split(";") if name] or list(SETTINGS)
    for name in wanted:
        builtup(
            "cross_validate",
            config_path=f"configs/train/{name}.py",
            seeds=arguments.seeds,
            overrides=f"data_path={tiles} {SETTINGS[name]}".strip(),
            output=out / name,
        )
        folders.append(out / name)
    builtup("compare", runs=";".join(map(str, folders)), output=out / "compare")


def leave_out_forest(train: Path, folder: Path) -> None:
    """Fit on the first dates of the other cities, score every date of the one left out, at 0.5."""
    masks = {m.scene_id: m.path for m in find_rasters(train / "masks", "mask")}
    scenes: dict[str, list] = {}
    for image in find_rasters(train / "images_3b", "3b"):
        with rasterio.open(image.path) as dataset, rasterio.open(masks[image.scene_id]) as mask:
            found = (image.scene_id, Grid.of(dataset), dataset.read([1, 2]), mask.read(1))
            scenes.setdefault(image.city, []).append(found)
    rows: list[BlockRow] = []
    half = level_of(0.5)
    for city, dates in scenes.items():
        others = [of[0][2:] for name, of in scenes.items() if name != city]
        forest = fit_forest(others, seed=0)
        counter = BlockCounter(city, 0)
        for scene_id, grid, power, truth in dates:
            probability = forest_probability(forest, power)
            values = encode(probability, np.isnan(probability))
            mapped = np.stack([values >= half] * 2)
            valid = (truth != IGNORE) & (values != NODATA)
            counter.add(city, scene_id.replace("_{}", ""), grid, mapped, truth == 1, valid)
        rows += counter.rows()
    write_blocks(folder / BLOCKS_CSV, rows)
    record = CrossValidation(config=FOREST, kind="city", ground=tuple(sorted(scenes)), seeds=(0,))
    record.write(folder)


if __name__ == "__main__":
    main()
