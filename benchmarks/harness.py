"""Two sides measured in alternation, each run in a fresh process.

Runs alternate A B A B …, so that whatever else the machine does falls on both sides alike; a
figure is the median over the pairs, and the ratio is taken pair by pair and shown with its least
and greatest value. Before each pair the inputs are read once: both sides find them in the page
cache. Memory is the peak above what the process held when its imports (and a model) were loaded.

A side that ends with an error, runs past its limit of seconds, or asks for more memory than the
machine has free, is a SideFailed with its reason: it costs its case, not the run.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

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
    "measure_clean",
    "spread",
    "warm",
]

HERE = Path(__file__).parent
CHILD = HERE / "child.py"
#: A side's time limit; the slowest peer known takes about three minutes on a quiet machine.
LIMIT_SECONDS = 1200.0
#: Share of the free memory that a measured process may allocate.
MEMORY_SHARE = 0.9


class SideFailed(RuntimeError):
    """A measured process ended with an error; the message holds the end of what it said."""


@dataclass(frozen=True)
class Side:
    """A file with `run` (see child.py), the interpreter that runs it, and its arguments.

    `scratch` is a folder of its own for what it writes, empty before every run; `setting` says what
    a search chose for it; past `limit` seconds, imports included, it is stopped.
    """

    name: str
    file: Path
    arguments: Mapping[str, Any]
    python: Path = Path(sys.executable)
    env: Mapping[str, str] = field(default_factory=dict)
    scratch: Path | None = None
    setting: str = ""
    limit: float = LIMIT_SECONDS

    @property
    def title(self) -> str:
        """The name with the setting that a search chose."""
        return f"{self.name} ({self.setting})" if self.setting else self.name


@dataclass(frozen=True)
class Measurement:
    """One run: wall and CPU seconds, amount of work, MB (10⁶ bytes) above the loaded process.

    `facts` are figures of the result itself, such as a count of regions.
    """

    seconds: float
    cpu_seconds: float
    work: float
    memory_mb: float
    loaded_mb: float
    versions: Mapping[str, str]
    facts: Mapping[str, Any] = field(default_factory=dict)

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
    `differences` looks at what the first pair wrote and says where the results differ, empty when
    they do not. `searched` holds what was tried to find the sides' settings.
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
    differences: Callable[[Measurement, Measurement], str] | None = None
    searched: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """What the alternating pairs of a case gave."""

    case: Case
    ours: Sequence[Measurement]
    peer: Sequence[Measurement]
    small: Sequence[Measurement]
    load: tuple[float, float]
    difference: str = ""

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
        if self.difference:
            found.append(f"results differ: {self.difference}")
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
            "searched": dict(case.searched),
            "sides": {
                side.name: {
                    "setting": side.setting,
                    "facts": dict(runs[0].facts),
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
    ours: list[Measurement] = []
    peer: list[Measurement] = []
    small: list[Measurement] = []
    difference = ""
    before = os.getloadavg()[0]
    for _ in range(pairs):
        for side, runs in ((case.ours, ours), (case.peer, peer)):
            if case.cleanup is not None:
                case.cleanup()
            runs.append(measure_clean(side, case.inputs))
        if len(ours) == 1 and case.differences is not None:
            difference = case.differences(ours[0], peer[0])
        if case.small is not None:
            small.append(measure_clean(case.small, case.inputs))
    for side in (case.ours, case.peer, *([case.small] if case.small else [])):
        _empty(side, again=False)
    return Comparison(case, ours, peer, small, (before, os.getloadavg()[0]), difference)


def measure_clean(side: Side, inputs: Sequence[Path] = ()) -> Measurement:
    """Run one side once, its scratch empty and its inputs in the page cache."""
    _empty(side)
    os.sync()  # what an earlier run wrote is not written back during this one
    warm(inputs)
    return measure(side)


def _empty(side: Side, *, again: bool = True) -> None:
    if side.scratch is not None:
        shutil.rmtree(side.scratch, ignore_errors=True)
        if again:
            side.scratch.mkdir(parents=True)


def measure(side: Side) -> Measurement:
    """Run one side once in a fresh process; SideFailed, with the reason, when it gives nothing."""
    free = int(psutil.virtual_memory().available * MEMORY_SHARE)
    with subprocess.Popen(
        [str(side.python), str(CHILD), str(side.file), json.dumps(dict(side.arguments))],
        env={**child_environment(side.env), "BENCHMARK_MEMORY": str(free)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # the processes that it starts are stopped with it
    ) as process:
        try:
            out, err = process.communicate(timeout=side.limit)
        except subprocess.TimeoutExpired:
            raise SideFailed(f"{side.title}: stopped after {side.limit:g} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode != 0:
        said = [line for line in (err or out).strip().splitlines() if line.strip()]
        last = said[-1].strip() if said else "no message"
        raise SideFailed(
            f"{side.title}: {_end(process.returncode)}: {last}\n" + "\n".join(said[-15:])
        )
    return Measurement(**json.loads(out.strip().splitlines()[-1]))


def _end(status: int) -> str:
    """How a process ended, in words."""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"


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
