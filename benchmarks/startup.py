"""Start-up: how long `--help` of each data command takes, and what it imports."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from harness import Spread, child_environment, spread

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
