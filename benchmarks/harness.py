"""Two sides measured in alternation, each run in a fresh process.

Runs alternate A B A B …, so that whatever else the machine does falls on both sides alike; a
figure is the median over the pairs, and the ratio is taken pair by pair and shown with its least
and greatest value. Before each pair the inputs are read once: both sides find them in the page
cache. Memory is the peak above what the process held when its imports (and a model) were loaded.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = [
    "Case",
    "Comparison",
    "Measurement",
    "Side",
    "SideFailed",
    "Spread",
    "child_environment",
    "compare",
    "machine",
    "measure",
    "spread",
    "warm",
]

HERE = Path(__file__).parent
CHILD = HERE / "child.py"


class SideFailed(RuntimeError):
    """A measured process ended with an error; the message holds the end of what it said."""


@dataclass(frozen=True)
class Side:
    """A file with `run` (see child.py), the interpreter that runs it, and its arguments."""

    name: str
    file: Path
    arguments: Mapping[str, Any]
    python: Path = Path(sys.executable)
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """One run: wall and CPU seconds, amount of work, MB (10⁶ bytes) above the loaded process."""

    seconds: float
    cpu_seconds: float
    work: float
    memory_mb: float
    loaded_mb: float
    versions: Mapping[str, str]

    @property
    def rate(self) -> float:
        """Work per second."""
        return self.work / self.seconds


@dataclass(frozen=True)
class Spread:
    """Median, least and greatest of a series."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Case:
    """A measured claim: ours against a peer, with the targets it is held to.

    `least_ratio` is for throughput (ours / peer); `most_memory_mb` for our peak; `most_growth` for
    the quotient of our peak and that on the `small` scene. `cleanup` runs before every process.
    """

    name: str
    title: str
    unit: str
    ours: Side
    peer: Side
    inputs: Sequence[Path] = ()
    small: Side | None = None
    least_ratio: float | None = None
    most_memory_mb: float | None = None
    most_growth: float | None = None
    cleanup: Callable[[], None] | None = None


@dataclass(frozen=True)
class Comparison:
    """What the alternating pairs of a case gave."""

    case: Case
    ours: Sequence[Measurement]
    peer: Sequence[Measurement]
    small: Sequence[Measurement]
    load: tuple[float, float]

    @property
    def ratio(self) -> Spread:
        """Throughput of ours over that of the peer, pair by pair."""
        return spread([a.rate / b.rate for a, b in zip(self.ours, self.peer, strict=True)])

    @property
    def memory(self) -> Spread:
        """Our peak memory in MB."""
        return spread([m.memory_mb for m in self.ours])

    @property
    def growth(self) -> float | None:
        """Our memory over that on the small scene, medians; None where it was not measured."""
        if not self.small:
            return None
        return self.memory.median / statistics.median(m.memory_mb for m in self.small)

    def misses(self) -> list[str]:
        """The targets that were not met, in words; empty when all were."""
        case, found = self.case, []
        if case.least_ratio is not None and self.ratio.median < case.least_ratio:
            found.append(f"ratio {self.ratio.median:.2f} < {case.least_ratio:g}")
        if case.most_memory_mb is not None and self.memory.median > case.most_memory_mb:
            found.append(f"memory {self.memory.median:.0f} > {case.most_memory_mb:g} MB")
        if case.most_growth is not None and (self.growth or 0) > case.most_growth:
            found.append(f"memory grows {self.growth:.2f} > {case.most_growth:g} times")
        return found

    def as_json(self) -> dict[str, Any]:
        """Every run and the figures drawn from them."""
        case = self.case
        return {
            "title": case.title,
            "unit": case.unit,
            "targets": {
                "ratio": case.least_ratio,
                "memory_mb": case.most_memory_mb,
                "memory_growth": case.most_growth,
            },
            "ratio": asdict(self.ratio),
            "memory_growth": self.growth,
            "misses": self.misses(),
            "load_before_after": self.load,
            "sides": {
                side.name: {
                    "seconds": asdict(spread([m.seconds for m in runs])),
                    "cpu_seconds": asdict(spread([m.cpu_seconds for m in runs])),
                    "rate": asdict(spread([m.rate for m in runs])),
                    "memory_mb": asdict(spread([m.memory_mb for m in runs])),
                    "versions": dict(runs[0].versions),
                    "runs": [[m.seconds, m.cpu_seconds, m.work, m.memory_mb] for m in runs],
                }
                for side, runs in self._series()
            },
        }

    def _series(self) -> list[tuple[Side, Sequence[Measurement]]]:
        series = [(self.case.ours, self.ours), (self.case.peer, self.peer)]
        return [*series, (self.case.small, self.small)] if self.case.small else series


def spread(values: Sequence[float]) -> Spread:
    """Median, least and greatest; ValueError for nothing."""
    if not values:
        raise ValueError("no values")
    return Spread(statistics.median(values), min(values), max(values))


def compare(case: Case, pairs: int) -> Comparison:
    """Measure both sides `pairs` times in alternation, then ours on the small scene, once or more.

    Raises SideFailed when a process fails; a side is never left out of a pair.
    """
    ours, peer, small = [], [], []
    before = os.getloadavg()[0]
    for _ in range(pairs):
        for side, runs in ((case.ours, ours), (case.peer, peer)):
            runs.append(_measure_clean(case, side))
        if case.small is not None:
            small.append(_measure_clean(case, case.small))
    return Comparison(case, ours, peer, small, (before, os.getloadavg()[0]))


def _measure_clean(case: Case, side: Side) -> Measurement:
    if case.cleanup is not None:
        case.cleanup()
    os.sync()  # what an earlier run wrote is not written back during this one
    warm(case.inputs)
    return measure(side)


def measure(side: Side) -> Measurement:
    """Run one side once in a fresh process."""
    done = subprocess.run(
        [str(side.python), str(CHILD), str(side.file), json.dumps(dict(side.arguments))],
        env=child_environment(side.env),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-15:])
        raise SideFailed(f"{side.name}: exit status {done.returncode}\n{said}")
    return Measurement(**json.loads(done.stdout.strip().splitlines()[-1]))


def child_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This environment, in which Python keeps the bytecode of what it imports, as it does by
    default: else each process would compile every module again."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONHASHSEED": "0", **extra}


def warm(paths: Sequence[Path]) -> None:
    """Read files once, so that they lie in the page cache."""
    for path in paths:
        with path.open("rb", buffering=0) as f:
            while f.read(1 << 24):
                pass


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_average": [round(x, 2) for x in os.getloadavg()],
    }


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
