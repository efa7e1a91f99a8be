"""What the targets of the Makefile run."""

from __future__ import annotations

import os
import shutil
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


def make_venv(folder: Path, *options: str, uv: bool = True) -> subprocess.CompletedProcess[str]:
    """`make venv` in a folder, with stand-ins for Python and uv that note what they are asked."""
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    tools = folder / ".venv" / "bin"
    tools.mkdir(parents=True, exist_ok=True)
    for name in ("python", *(["uv"] if uv else [])):
        (tools / name).write_text(f'#!/bin/sh\necho "{name} $*" >> asked\n')
        (tools / name).chmod(0o755)
    (folder / "asked").write_text("")
    return subprocess.run(
        ["make", "--no-print-directory", "venv", "PYTHON=python3", *options],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_gpu_the_build_for_cpus_is_asked_for_and_no_library_of_cuda(
    tmp_path: Path,
) -> None:
    assert make_venv(tmp_path, "TORCH=cpu").returncode == 0
    (asked,) = [line for line in (tmp_path / "asked").read_text().splitlines() if " -r " in line]
    assert "--torch-backend cpu" in asked
    wanted = (tmp_path / ".venv" / "requirements.txt").read_text()
    assert "\ntorch==" in wanted and "\ntorchvision==" in wanted
    assert not [line for line in wanted.splitlines() if line.startswith(("nvidia", "triton"))]
    again = make_venv(tmp_path)  # the lists are newer: without the word it is what .venv holds
    assert again.returncode == 0
    assert "--torch-backend cpu" in (tmp_path / "asked").read_text()


def test_pip_does_the_same_where_there_is_no_uv(tmp_path: Path) -> None:
    assert make_venv(tmp_path, "TORCH=cpu", uv=False).returncode == 0
    (asked,) = [line for line in (tmp_path / "asked").read_text().splitlines() if " -r " in line]
    assert "--extra-index-url https://download.pytorch.org/whl/cpu" in asked


def test_the_standard_build_is_what_the_lists_say(tmp_path: Path) -> None:
    assert make_venv(tmp_path).returncode == 0
    (asked,) = [line for line in (tmp_path / "asked").read_text().splitlines() if " -r " in line]
    assert "torch" not in asked
    for name in ("requirements.txt", "requirements-dev.txt"):
        assert (tmp_path / ".venv" / name).read_text() == (ROOT / name).read_text()
    refused = make_venv(tmp_path, "TORCH=cpu")
    assert refused.returncode != 0
    assert "holds PyTorch's build standard; run make clean" in " ".join(refused.stdout.split())
