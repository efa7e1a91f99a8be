"""What a search loses beside its trainings alone: `python benchmarks/search_overhead.py`.

The same trainings twice, in alternation: as trials of `search` (pruner=none), and each by `train`
with the settings that its trial had. Seconds by the clock and of the CPU, all processes counted;
the target is a loss of at most 5 % where a training takes a minute, as they do: shorter ones are
said to be so. What the search does before its first and after its last trial is named apart: it
does not grow with the trials. A trial begins with its imports made, which a training alone does
itself, so that a loss may be below 0.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import dataclasses
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from harness import machine
from scene import ROOT

__all__ = ["Spent", "is_short", "loss", "main", "spent_by"]

TARGET = 0.05
#: Four times the epochs of the config: with fewer a start counts for more than what is learnt.
OVERRIDES = "num_epochs=24"
#: Seconds that a training alone takes at least, where what is measured is what users have.
LEAST = 60.0
CONFIG = "configs/search/recommended_cpu.py"


@dataclasses.dataclass(frozen=True)
class Spent:
    """Seconds by the clock, and of the CPU over a command and all that it started."""

    wall: float
    cpu: float

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.wall + other.wall, self.cpu + other.cpu)


def loss(search: Spent, trainings: Spent) -> Spent:
    """The share of a search's seconds that its trainings alone would not need."""
    return Spent(1 - trainings.wall / search.wall, 1 - trainings.cpu / search.cpu)


def spent_by(folder: Path, *arguments: str) -> Spent:
    """Run a command of builtup in a folder that has its own database, and see what it takes."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")},
        "PYTHONPATH": str(ROOT / "code"),
        "BUILTUP_QUIET": "1",
    }
    _adopt_orphans()
    before, began = _cpu_of_ended(), time.perf_counter()
    command = [sys.executable, "-m", "builtup", *arguments]
    ended = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - began
    if ended.returncode:
        raise SystemExit(f"builtup {' '.join(arguments)} ended with {ended.returncode}")
    with suppress(ChildProcessError):  # none is left
        while True:
            os.wait()
    return Spent(wall, _cpu_of_ended() - before)


def _adopt_orphans() -> None:
    """Let processes that outlive who began them, as that with a search's imports, become ours."""
    ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER


def _cpu_of_ended() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _tiles(folder: Path) -> Path:
    """Three small simulated cities, tiled; made once."""
    tiles = folder / "train_tiles"
    if not (tiles / "tile_stats.csv").is_file():
        options = {"cities": "3", "test_cities": "0", "dates": "1", "size": "512"}
        spent_by(folder, "simulate", "--output_path", "towns", *_as_options(options))
        paths = {"input_path": "towns", "output_path": "made", "tiles_path": "."}
        spent_by(folder, "prepare", *_as_options(paths))
    return tiles


def _as_options(values: dict[str, str]) -> list[str]:
    return [part for name, text in values.items() for part in (f"--{name}", text)]


def _round(folder: Path, tiles: Path, trials: int, number: int, overrides: str) -> dict[str, float]:
    """A search and the same trainings alone."""
    output = folder / f"search_{number}"
    shutil.rmtree(output, ignore_errors=True)
    common = f"{overrides} data_path={tiles} num_workers=0"
    options = {
        "config_path": CONFIG,
        "trials": str(trials),
        "seed": str(number),
        "output": str(output),
        "overrides": f"{common} pruner=none val_fold=0",
    }
    search = spent_by(folder, "search", *_as_options(options))
    lines = list(csv.DictReader((output / "trials.csv").open()))
    inside = 60 * sum(float(line["minutes"]) for line in lines)
    alone = Spent(0.0, 0.0)
    for line in lines:
        own = f"{common} val_fold=0 log_model=false log_predictions=0 {line['overrides']}"
        alone += spent_by(folder, "train", *_as_options({"config_path": CONFIG, "overrides": own}))
    lost = loss(search, alone)
    found = {"search": search.wall, "alone": alone.wall, "lost": lost.wall, "lost_cpu": lost.cpu}
    return {**found, "beside_trials": search.wall - inside, "trials": float(len(lines))}


def is_short(rounds: Sequence[Mapping[str, float]]) -> bool:
    """Whether trainings took less than what users wait for."""
    return any(r["alone"] / r["trials"] < LEAST for r in rounds)


def main() -> None:
    """Measure and print; exit status 1 where the loss is above the target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "output" / "bench" / "search")
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--overrides", default=OVERRIDES, help="settings of all trainings")
    asked = parser.parse_args()
    folder = asked.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    tiles = _tiles(folder)
    rounds = []
    for number in range(asked.rounds):
        rounds.append(_round(folder, tiles, asked.trials, number, asked.overrides))
        r = rounds[-1]
        print(
            f"search of {asked.trials} trials {r['search']:.1f} s, {r['beside_trials']:.1f} s of "
            f"it beside its trials; the same trainings alone {r['alone']:.1f} s: loss "
            f"{r['lost']:+.1%} by the clock, {r['lost_cpu']:+.1%} of the CPU",
            flush=True,
        )
    record = {"overrides": asked.overrides, "rounds": rounds, "machine": machine()}
    (folder / "search_overhead.json").write_text(json.dumps(record, indent=1) + "\n")
    lost = statistics.median(r["lost"] for r in rounds)
    print(f"loss {lost:+.1%} (median of {len(rounds)} rounds), target {TARGET:.0%}")
    if is_short(rounds):
        print(f"trainings of less than {LEAST:.0f} s: raise num_epochs to judge by this")
    raise SystemExit(lost > TARGET)


if __name__ == "__main__":
    main()
