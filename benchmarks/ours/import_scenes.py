"""The step import_scenes over a data set of one scene."""

from __future__ import annotations

import logging
from pathlib import Path

from builtup.jobs.allocator import keep_freed_memory
from builtup.sensors.optical.import_scenes import import_scenes

keep_freed_memory()  # as the command line does at its start
logging.disable(logging.WARNING)


def run(root: str, output: str) -> dict[str, float]:
    """Picture with overviews, classes, heights, hashes, manifest; work in megapixels."""
    summary = import_scenes(input_path=Path(root), output_path=Path(output), num_workers=1)
    return {"work": summary.pixels / 1e6}
