"""Train the model that comes with the project, from simulated towns alone.

    python benchmarks/studies/shipped_model.py [--seed 0] [--write FILE]

Simulates towns, prepares them, trains one network and writes it with its description
into one file (by default that of the package, which `predict` takes without `--model`). Steps that
are done do nothing when it is run again; other towns need another --output. Each seed has towns of
its own, that no other command simulates by default. The defaults stay below two hours of two cores.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from commands import builtup, use_project_database

#: Seeds of towns from here on: `simulate` and `demo` begin with 0, and their towns stay unseen.
FIRST = 1_700_000
#: What its file says of how maps are made where the user says nothing.
DEFAULTS = {"threshold_rule": "half", "adapt": "auto"}
#: More context in a sample: docs/results.md, "The model that comes along".
SETTINGS = "crop=192"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of towns, weights and samples")
    parser.add_argument("--cities", type=int, default=16, help="towns, one of them held out")
    parser.add_argument("--dates", type=int, default=2, help="of each town")
    parser.add_argument("--size", type=int, default=768, help="pixels along a side of a town")
    parser.add_argument("--variety", default="plain", help="of the towns, as simulate has it")
    parser.add_argument("--config", default="configs/train/recommended_cpu.py")
    parser.add_argument("--overrides", default=SETTINGS, help="settings to replace")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--minutes", type=float, default=45.0, help="at most, of training")
    parser.add_argument("--output", type=Path, default=Path("output/shipped_model"))
    parser.add_argument("--write", type=Path, default=None, help="the file; the package's own")
    arguments = parser.parse_args()
    use_project_database()
    folder = arguments.output / f"seed{arguments.seed}"
    prepared(folder, arguments)
    run_id = trained(folder, arguments)
    from builtup.runs.model_file import SHIPPED_FILE
    from builtup.training.model_file import write_model_file

    path = arguments.write or SHIPPED_FILE
    said = write_model_file(
        run_id, path, name=SHIPPED_FILE.stem, trained_on=description(arguments), **DEFAULTS
    )
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, weights sha256 {said.weights}")
    print(f"threshold {said.threshold:.3f}, training run {run_id}")


def description(arguments: argparse.Namespace) -> str:
    """What it was trained on, in words."""
    towns, dates = arguments.cities - 1, arguments.dates
    extent = arguments.size / 100
    return (
        f"{towns} simulated Sentinel-1 towns ({arguments.variety}) of {extent:.1f} km × "
        f"{extent:.1f} km, {dates} dates each (town seed {FIRST + arguments.seed}); one more chose "
        "weights and threshold"
    )


def prepared(folder: Path, arguments: argparse.Namespace) -> None:
    """Simulate the towns and cut them into tiles."""
    builtup(
        "simulate",
        output_path=folder / "data",
        cities=arguments.cities,
        test_cities=0,
        dates=arguments.dates,
        size=arguments.size,
        seed=FIRST + arguments.seed,
        variety=arguments.variety,
    )
    builtup("prepare", input_path=folder / "data", output_path=folder, tiles_path=folder)


def trained(folder: Path, arguments: argparse.Namespace) -> str:
    """Train in this process; the id of the run."""
    from builtup import logs, train

    logs.set_up()
    settings = {
        "data_path": folder / "train_tiles",
        "seed": arguments.seed,
        "num_epochs": arguments.epochs,
        "max_minutes": arguments.minutes,
    }
    own = " ".join(shlex.quote(f"{name}={value}") for name, value in settings.items())
    return train(arguments.config, f"{own} {arguments.overrides}".strip()).run_id


if __name__ == "__main__":
    sys.exit(main())
