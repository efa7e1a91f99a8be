"""Whether training waits for its data: `python benchmarks/loader.py [--config …] [--device cuda]`.

The patches a second that a config's loader gives by itself, over those that its training steps
take (one batch, again and again): 1.5 is the target. Then an epoch of both together, as training
runs it: the time of its steps alone over its own is the share in which nothing waits. The data are
two simulated cities of 1,024 pixels, tiled as the README does.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from harness import machine

from builtup.config import load as configs
from builtup.simulate.dataset import simulate
from builtup.tiles.prepare import prepare as prepare_tiles
from builtup.training.build import build_data, build_learner, seed_everything
from builtup.training.trainer import create_trainer

__all__ = ["measure"]

TARGET = 1.5
FOLDER = Path("output/bench/loader")


def prepare(folder: Path) -> Path:
    """Tiles of simulated cities, made where they are not there yet."""
    scenes = folder / "scenes"
    simulate(output_path=scenes, cities=2, test_cities=1, dates=2, size=1024, seed=0)
    prepare_tiles(input_path=scenes, output_path=folder / "rasters", tiles_path=folder)
    return folder / "train_tiles"


def measure(config: configs.Config, batches: int) -> dict[str, Any]:
    """Patches a second of the loader, of the steps, and of an epoch of both."""
    seed_everything(config.seed)
    data = build_data(config)
    learner = build_learner(config, data)
    trainer = create_trainer(learner, data.places, data.prepare, config.accumulation_steps)

    batch, loaded = load(data.train, batches)
    size = len(batch["image"])
    trainer.run([batch] * 3, max_epochs=1)  # memory is taken, kernels are chosen
    steps = train(trainer, [batch] * batches, learner.device)
    both = train(trainer, data.train, learner.device)
    rates = {
        "loader": loaded,
        "steps": batches * size / steps,
        "both": len(data.train) * size / both,
    }
    return {
        "patches_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "loader_over_steps": round(rates["loader"] / rates["steps"], 2),
        "share_of_steps_alone": round(rates["both"] / rates["steps"], 3),
        "device": str(learner.device),
        "processes": config.num_workers,
    }


def load(loader: Any, batches: int) -> tuple[Any, float]:
    """The first batch, and the patches a second of those after it."""
    coming = iter(loader)
    first = next(coming)  # when it comes, the loader's processes run
    started = time.perf_counter()
    patches = sum(len(batch["image"]) for batch in islice(coming, batches))
    return first, patches / (time.perf_counter() - started)


def train(trainer: Any, batches: Any, device: torch.device) -> float:
    """The seconds of an epoch, to its end on the device."""
    started = time.perf_counter()
    trainer.run(batches, max_epochs=1)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def main() -> int:
    """Measure and print; 1 where the loader gives less than the target."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", default="configs/train/recommended_cpu.py")
    parser.add_argument("--overrides", default="", help="settings of the config to replace")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batches", type=int, default=40, help="of the loader, and of the steps")
    given = parser.parse_args()
    data_path = prepare(FOLDER)
    wanted = f"data_path={data_path} device={given.device} val_fold=0 validate=false"
    config = configs.load(given.config, f"{wanted} {given.overrides}".strip())
    found = measure(config, given.batches)
    print(json.dumps({**vars(given), "machine": machine(), **found}, indent=1))
    reached = found["loader_over_steps"] >= TARGET
    print(
        f"the loader gives {found['loader_over_steps']} times what steps take, target {TARGET}: "
        f"{'met' if reached else 'MISSED'}"
    )
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
