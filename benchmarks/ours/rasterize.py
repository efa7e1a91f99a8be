"""The step rasterize over one scene: polygons onto its grid, 255 where it is invalid."""

from __future__ import annotations

from pathlib import Path

import pyogrio.raw  # noqa: F401  a worker imports it once, for its first large file of polygons

from builtup.jobs.allocator import keep_freed_memory
from builtup.tiles.masks import rasterize

keep_freed_memory()  # as the command line does at its start


def run(train: str, output: str) -> dict[str, float]:
    """Reproject, burn, mask, hash, write; work in megapixels."""
    summary = rasterize(
        input_path=Path(train),
        output_path=Path(output),
        all_touched=True,
        num_workers=2,
        on_error="stop",
    )
    return {"work": summary.pixels / 1e6}
