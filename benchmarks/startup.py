"""Start-up: how long `--help` of each data command takes, and what `predict` spends on imports.

    python benchmarks/startup.py OTHER [--pairs 5]

compares this checkout with another one (`git worktree add ../before <commit>`): CPU seconds of
`predict` on one scene of 64², with products and MLflow, from the start of the process to its end.
The network does next to nothing there, so nearly all is imports. The model is trained for an
instant with OTHER's code. Exit status 1 where less than a third is saved.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import HERE, Spread, child_environment, spread

__all__ = ["DATA_COMMANDS", "Startup", "measure_startup"]

#: Every command that works on data alone; none of them needs a network or a tracking server.
DATA_COMMANDS = (
    "inspect", "simulate", "prepare", "generate_3b_images", "rasterize", "generate_tiles",
    "generate_test_tiles", "generate_tiles_stats", "merge_tiles", "all_agg_by_city", "polygonize",
    "to_submission",
)  # fmt: skip
#: Packages that take seconds to import.
HEAVY = ("torch", "mlflow", "rasterio", "matplotlib", "scipy")
#: Of these, what must not be there.
FORBIDDEN = ("torch", "mlflow")
LIMIT_SECONDS = 1.0

_PROBE = """
import json, sys
from builtup.cli import cli
cli(sys.argv[1:], standalone_mode=False)
print(json.dumps([name for name in {heavy!r} if name in sys.modules]))
"""


@dataclass(frozen=True)
class Startup:
    """Wall seconds of `builtup <command> --help`, and the heavy packages that it imported."""

    command: str
    seconds: Spread
    imported: tuple[str, ...]

    def misses(self) -> list[str]:
        """The targets that were not met, in words."""
        found = [f"imports {name}" for name in self.imported if name in FORBIDDEN]
        if self.seconds.median >= LIMIT_SECONDS:
            found.append(f"{self.seconds.median:.2f} s ≥ {LIMIT_SECONDS:g} s")
        return found

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "seconds": vars(self.seconds),
            "imported": self.imported,
            "misses": self.misses(),
        }


def measure_startup(command: str, runs: int = 5) -> Startup:
    """Time `--help` in fresh processes after one that warms the file cache."""
    probe = subprocess.run(
        [sys.executable, "-c", _PROBE.format(heavy=HEAVY), command, "--help"],
        check=True,
        env=child_environment({}),
        capture_output=True,
        text=True,
    )
    imported = tuple(json.loads(probe.stdout.strip().splitlines()[-1]))
    return Startup(command, spread([_time_help(command) for _ in range(runs)]), imported)


def _time_help(command: str) -> float:
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "builtup", command, "--help"],
        check=True,
        env=child_environment({}),
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - started


# --- predict ----------------------------------------------------------------------------------

ROOT = HERE.parent
#: What this checkout may take of the other's CPU seconds.
MOST_SHARE = 2 / 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path, help="the checkout to compare with")
    parser.add_argument("--pairs", type=int, default=5, help="alternating pairs")
    options = parser.parse_args()
    folder = ROOT / "output" / "bench" / "startup"
    other = options.other.resolve()
    run_id = _train(other, folder)
    here, there = [], []
    for pair in range(options.pairs + 1):
        seconds = [_predict(checkout, folder, run_id) for checkout in (ROOT, other)]
        if pair:  # the first warms the file cache and the bytecode
            here.append(seconds[0])
            there.append(seconds[1])
    share = spread([a / b for a, b in zip(here, there, strict=True)])
    print(
        f"predict, CPU seconds: {spread(here).median:.2f}, before {spread(there).median:.2f}; "
        f"share {share.median:.2f} ({share.low:.2f} to {share.high:.2f}), "
        f"at most {MOST_SHARE:.2f} is the target"
    )
    return 1 if share.median > MOST_SHARE else 0


def _train(checkout: Path, folder: Path) -> str:
    """Simulated scenes and a network trained on them with the code of a checkout; the run's id."""
    shutil.rmtree(folder, ignore_errors=True)
    scenes, tiles = folder / "scenes", folder / "tiles"
    sizes = ("--cities", "2", "--test_cities", "1", "--dates", "1", "--size", "64")
    _builtup(checkout, folder, "simulate", "--output_path", str(scenes), *sizes)
    places = ("--output_path", str(folder / "rasters"), "--tiles_path", str(tiles))
    _builtup(checkout, folder, "prepare", "--input_path", str(scenes), *places)
    _builtup(checkout, folder, "setup")
    settings = f"data_path={tiles / 'train_tiles'} num_epochs=1 samples_per_epoch=8 crop=64 "
    settings += "batch_size=4 val_interval=1 device=cpu num_workers=0 log_predictions=0"
    config = ("--config_path", "configs/train/demo.py", "--overrides", settings)
    _builtup(checkout, folder, "main", *config, cwd=checkout)
    (run,) = (folder / "output" / "mlruns").glob("*/*/artifacts/summary.json")
    return run.parents[1].name


def _predict(checkout: Path, folder: Path, run_id: str) -> float:
    """CPU seconds of mapping the test scene anew."""
    shutil.rmtree(folder / "maps", ignore_errors=True)
    paths = ("--input_path", str(folder / "scenes" / "test"), "--output_path", str(folder / "maps"))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _builtup(checkout, folder, "predict", "--model", run_id, *paths, "--num_workers", "1")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _builtup(checkout: Path, folder: Path, *words: str, cwd: Path | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    place = {
        "PYTHONPATH": str(checkout / "code"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'output' / 'mlflow.db'}",
        "OMP_NUM_THREADS": "1",
    }
    environment = {**child_environment(place)}
    environment.pop("MLFLOW_RUN_ID", None)
    done = subprocess.run(
        [sys.executable, "-m", "builtup", *words],
        cwd=cwd or folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"builtup {words[0]}: {(done.stderr or done.stdout).strip().splitlines()[-1]}")


if __name__ == "__main__":
    sys.exit(main())
