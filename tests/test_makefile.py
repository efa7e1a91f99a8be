"""What the targets of the Makefile run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def make_bench(tmp_path: Path, *options: str) -> tuple[list[str], int]:
    """What `make bench` would run, where limit.py misses its target, and its exit status."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "ran $*"\n[ "$1" != benchmarks/limit.py ]\n')
    python.chmod(0o755)
    command = ["make", "--no-print-directory", "-o", ".venv/.installed", "bench", f"PY={python}"]
    done = subprocess.run(
        [*command, *options],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},  # these tests may run within another make
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line.removeprefix("ran ") for line in done.stdout.splitlines()]
    return [line for line in lines if line.startswith("benchmarks/")], done.returncode


def test_make_bench_goes_on_after_a_missed_target_and_says_so_at_the_end(tmp_path: Path) -> None:
    names = ["run", "limit", "allocator", "quantised", "seams", "scaling", "loader"]
    names.append("polygons_scaling")
    ran, status = make_bench(tmp_path, "MODEL=abc")
    assert [line.split()[0] for line in ran] == [f"benchmarks/{name}.py" for name in names]
    assert ran[names.index("scaling")].split()[1:] == ["--price", "0.05", "--model", "abc"]
    assert status != 0
    assert make_bench(tmp_path, "BENCH=seams scaling", "PRICE=2") == (
        ["benchmarks/seams.py", "benchmarks/scaling.py --price 2"],
        0,
    )
