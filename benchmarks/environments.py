"""Virtual environments of the peers, made on demand under benchmarks/.venvs (about 6 GB each).

They stay apart from the project's own: a peer's dependencies never touch ours. Where they hold
the same torch, uv's cache links the same files into each.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

__all__ = ["Unavailable", "peer_python"]

HERE = Path(__file__).parent
ENVIRONMENTS = HERE / ".venvs"
#: An installation that takes longer has lost its index.
LIMIT_SECONDS = 1800


class Unavailable(RuntimeError):
    """A peer cannot be run here; the message says why."""


def peer_python(name: str) -> Path:
    """The interpreter with the packages of peers/<name>.txt; Unavailable when they do not install.

    A finished environment is known by the copy of its requirements, written last.
    """
    wanted = HERE / "peers" / f"{name}.txt"
    folder = ENVIRONMENTS / name
    python = folder / "bin" / "python"
    marker = folder / wanted.name
    if marker.exists() and marker.read_bytes() == wanted.read_bytes() and python.exists():
        return python
    print(f"{name}: installing into {folder.relative_to(HERE.parent)} …", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _install(folder, python, wanted)
    shutil.copyfile(wanted, marker)
    return python


def _install(folder: Path, python: Path, wanted: Path) -> None:
    if shutil.which("uv"):
        _run("uv", "venv", "--quiet", "--python", sys.executable, str(folder))
        _run("uv", "pip", "install", "--quiet", "--python", str(python), "-r", str(wanted))
    else:
        venv.create(folder, with_pip=True)
        _run(str(python), "-m", "pip", "install", "--quiet", "-r", str(wanted))


def _run(*command: str) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{' '.join(command[:3])}: no end after {LIMIT_SECONDS} s") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Unavailable(f"{' '.join(command[:3])} failed: {said[-1] if said else 'no message'}")
