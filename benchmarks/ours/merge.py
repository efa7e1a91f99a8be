"""The step generate_3b_images over one scene."""

from __future__ import annotations

from pathlib import Path

from builtup.jobs.allocator import keep_freed_memory
from builtup.sensors.radar.merge import generate_3b_images

keep_freed_memory()  # as the command line does at its start


def run(train: str, output: str) -> dict[str, float]:
    """Merge, hash, write, sync, rename; work in megapixels."""
    summary = generate_3b_images(
        input_path=Path(train), output_path=Path(output), num_workers=2, on_error="stop"
    )
    return {"work": summary.pixels / 1e6}
