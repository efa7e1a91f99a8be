"""Section "real scenes" of the documentation: the chain on the radar scenes of $BUILTUP_DATA.

    python benchmarks/studies/real_scenes.py [--minutes 8] [--output output/real]

Prepares both splits, trains once per held-out block (four of San Francisco, one of Beijing), each
for `--minutes`, and maps the two unlabelled scenes with the last model. Each command is printed as
a user would type it. Scores are those of the last weights at probability 0.5 on the held-out block:
nothing was chosen on it.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

from commands import use_project_database

CONFIG = "configs/train/real_scenes.py"
#: Four blocks of San Francisco with built-up ground in each; of Beijing the upper two have labels.
SPLIT = "rows=560;cols=256"
BLOCKS = [
    *(f"10SEG_SanFranciscoWest/r{row}c{column}" for row in range(2) for column in range(2)),
    "50TMK_Beijing/r0c1",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=8.0, help="at most, for each block")
    parser.add_argument("--output", type=Path, default=Path("output/real"))
    arguments = parser.parse_args()
    data = Path(os.environ.get("BUILTUP_DATA", "../shared/data")) / "real_s1"
    if not data.is_dir():
        sys.exit(f"error: {data}: no such folder; set BUILTUP_DATA")
    out: Path = arguments.output
    use_project_database()
    prepare(data, out)  # steps that are done say so and do nothing
    rows = [train(out, block, arguments.minutes) for block in BLOCKS]
    map_unlabelled(out, rows[-1]["run_id"])
    write_table(rows, out / "scores.json")


def mlflow_run(*arguments: str) -> None:
    """Print and run one of the README's commands."""
    command = ["mlflow", "run", ".", "--env-manager", "local", *arguments]
    print("$", shlex.join(command).replace(str(Path.cwd()) + "/", ""), flush=True)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(command, check=True, env=environment)


def step(entry_point: str, **parameters: object) -> None:
    mlflow_run("-e", entry_point, *_pairs(parameters))


def script(name: str, config: str, experiment: str, overrides: str) -> str:
    """Run training or inference; return the id of its run."""
    parameters = {
        "script_path": f"code/scripts/{name}.py",
        "config_path": config,
        "overrides": overrides,
    }
    mlflow_run("--experiment-name", experiment, *_pairs(parameters))
    from builtup.runs import tracking

    return str(tracking.newest_run(experiment).info.run_id)


def _pairs(parameters: dict[str, object]) -> list[str]:
    return [part for key, value in parameters.items() for part in ("-P", f"{key}={value}")]


def prepare(data: Path, out: Path) -> None:
    train, tiles = out / "train", out / "train_tiles"
    step("inspect", input_path=data)
    for split in ("train", "test"):
        step("generate_3b_images", input_path=data / split, output_path=out / split / "images_3b")
    step("rasterize", input_path=data / "train", output_path=train / "masks")
    size = {"tile_size": 256, "overlap": 32}
    step("generate_tiles", input_path=train / "images_3b", output_path=tiles / "images", **size)
    step("generate_tiles", input_path=train / "masks", output_path=tiles / "masks", **size)
    step(
        "generate_test_tiles",
        input_path=out / "test" / "images_3b",
        output_path=out / "test_tiles" / "images",
    )
    step("generate_tiles_stats", input_path=tiles, output_path=tiles, folds="blocks", blocks=SPLIT)


def train(out: Path, block: str, minutes: float) -> dict:
    run_id = script(
        "training",
        CONFIG,
        "Trainings",
        f"data_path={out / 'train_tiles'} val_fold={block} max_minutes={minutes}",
    )
    from builtup.runs.records import Summary
    from builtup.runs.tracking import run_artifacts

    summary = Summary.read(run_artifacts(run_id))
    scores = summary.metrics or {}
    return {
        "block": block,
        "run_id": run_id,
        "iterations": summary.iterations,
        **{key: scores.get(key) for key in ("f1", "iou", "precision", "recall")},
    }


def map_unlabelled(out: Path, run_id: str) -> None:
    inference = script(
        "inference",
        "configs/inference/test_real_scenes.py",
        "Inferences",
        f"run_id={run_id} data_path={out / 'test_tiles' / 'images'}",
    )
    step("to_submission", run_id=inference)


def write_table(rows: list[dict], path: Path) -> None:
    path.write_text(json.dumps(rows, indent=1) + "\n")
    print("| held-out block | iterations | F1 | IoU | precision | recall |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        figures = [
            "–" if row[key] is None else f"{row[key]:.3f}"
            for key in ("f1", "iou", "precision", "recall")
        ]
        print(f"| {row['block']} | {row['iterations']} | {' | '.join(figures)} |")


if __name__ == "__main__":
    main()
