"""The benchmark harness: its statistics, and a tiny run with processes that cost what they say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from harness import (  # noqa: E402
    Case,
    Comparison,
    Measurement,
    Side,
    SideFailed,
    compare,
    measure,
    spread,
)

BURN = """
import time

def run(seconds, megabytes):
    held = bytearray(int(megabytes * 1e6))
    held[::4096] = b"x" * len(held[::4096])
    time.sleep(seconds)
    return {"work": 10}
"""


def measurement(seconds: float, memory: float = 100.0, work: float = 10.0) -> Measurement:
    return Measurement(seconds, seconds, work, memory, 50.0, {})


def case(tmp_path: Path, **targets: float) -> Case:
    side = Side("ours", tmp_path / "ours.py", {})
    return Case("x", "x", "Mpx", side, Side("peer", tmp_path / "peer.py", {}), **targets)


def comparison(case: Case, ours: list[float], peer: list[float], memory: float) -> Comparison:
    return Comparison(
        case,
        [measurement(s, memory) for s in ours],
        [measurement(s) for s in peer],
        [measurement(1, 100)],
        (0.0, 0.0),
    )


@pytest.fixture
def burn(tmp_path: Path) -> Path:
    path = tmp_path / "burn.py"
    path.write_text(BURN)
    return path


def test_spread_is_median_least_and_greatest() -> None:
    assert vars(spread([3.0, 1.0, 2.0])) == {"median": 2.0, "low": 1.0, "high": 3.0}
    with pytest.raises(ValueError, match="no values"):
        spread([])


def test_ratio_is_taken_pair_by_pair(tmp_path: Path) -> None:
    found = comparison(case(tmp_path), ours=[1, 2, 4], peer=[2, 8, 4], memory=100)
    # the medians of the sides alone would give 4 / 2 = 2 as well, but a spread of 0.5 to 8
    assert vars(found.ratio) == {"median": 2.0, "low": 1.0, "high": 4.0}


def test_ratio_compares_throughputs_where_the_sides_do_different_amounts(tmp_path: Path) -> None:
    found = Comparison(
        case(tmp_path), [measurement(2, work=100)], [measurement(1, work=10)], [], (0.0, 0.0)
    )
    assert found.ratio.median == 5.0


def test_each_missed_target_is_named(tmp_path: Path) -> None:
    strict = case(tmp_path, least_ratio=2.5, most_memory_mb=90, most_growth=1.1)
    found = comparison(strict, ours=[1], peer=[2], memory=120)
    assert found.misses() == [
        "ratio 2.00 < 2.5",
        "memory 120 > 90 MB",
        "memory grows 1.20 > 1.1 times",
    ]
    assert comparison(strict, ours=[1], peer=[3], memory=80).misses() == []


def test_a_process_is_charged_for_its_time_and_memory(burn: Path) -> None:
    small = measure(Side("small", burn, {"seconds": 0.05, "megabytes": 1}))
    large = measure(Side("large", burn, {"seconds": 0.05, "megabytes": 60}))
    assert 0.05 <= small.seconds < 2
    assert small.memory_mb < 20
    assert large.memory_mb - small.memory_mb == pytest.approx(59, abs=8)


def test_sides_alternate_and_every_process_starts_clean(burn: Path, tmp_path: Path) -> None:
    started: list[int] = []
    slow = Side("ours", burn, {"seconds": 0.1, "megabytes": 1})
    fast = Side("peer", burn, {"seconds": 0.0, "megabytes": 1})
    tiny = Case("x", "x", "Mpx", slow, fast, [burn], cleanup=lambda: started.append(1))
    found = compare(tiny, pairs=2)
    assert len(found.ours) == len(found.peer) == 2
    assert len(started) == 4
    assert found.ratio.high < 1
    assert json.loads(json.dumps(found.as_json()))["sides"]["ours"]["runs"][0][2] == 10


def test_a_side_that_fails_is_an_error_with_what_it_said(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("def run():\n    raise RuntimeError('no such luck')\n")
    with pytest.raises(SideFailed, match="no such luck"):
        measure(Side("broken", path, {}))


def test_the_table_runs_for_one_tiny_case(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--only", "polygonize"]
    command += ["--small", "256", "--pairs", "1", "--root", str(tmp_path / "work")]
    done = subprocess.run(
        [*command, "--output", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert "| polygonise 256² |" in done.stdout, done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["cases"]["polygonize"]["ratio"]["median"] > 0
    assert "polygonise 256²" in (tmp_path / "RESULTS.md").read_text()
