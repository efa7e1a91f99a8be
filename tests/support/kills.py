"""Steps that are killed at random moments, and what they leave."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any


def outputs(root: Path) -> dict[str, bytes]:
    """All files but the manifests, which hold the times of the inputs."""
    files = [p for p in root.rglob("*") if p.is_file() and p.parent.name != ".manifest"]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def strike(
    process_of: Callable[[], Any],
    longest: float,
    out: Path,
    expected: dict[str, bytes],
    kills: int = 12,
) -> int:
    """Kill processes within `longest` seconds of their work in `out`; how many were still at it."""
    moments = random.Random(1)
    hits = 0
    for _ in range(kills):
        process = process_of()
        process.start()
        process.join(moments.uniform(0.01, longest))
        hits += process.is_alive()
        process.kill()
        process.join()
        seen = outputs(out) if out.exists() else {}
        for name, content in seen.items():  # what is there under its name is whole
            assert ".partial" in name or content == expected[name]
        if process.exitcode == 0:  # it had finished: begin anew
            shutil.rmtree(out)
    return hits
