"""The step polygonize over one city: exact shapefile, simplified GeoPackage, both."""

from __future__ import annotations

import pyogrio.raw  # noqa: F401  the step imports it when it writes; imports are not measured

from builtup.jobs.allocator import keep_freed_memory
from builtup.maps.polygonize import polygonize

keep_freed_memory()  # as the command line does at its start


def run(folder: str) -> dict[str, object]:
    """Outline, write, hash; work in megapixels."""
    summary = polygonize(input_path=folder)
    return {"work": summary.pixels / 1e6, "facts": {"regions": summary.counts["polygons"]}}
