"""A command of ours in a process of its own, from start to end: imports count, as users wait."""

from __future__ import annotations

import os
import subprocess
import sys


def run(code: str, command: list[str], work: float) -> dict[str, float]:
    """Run `python -m builtup <command>` with the code of a checkout; `work` is what it does."""
    subprocess.run(
        [sys.executable, "-m", "builtup", *command],
        check=True,
        env={**os.environ, "PYTHONPATH": code},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return {"work": work}
