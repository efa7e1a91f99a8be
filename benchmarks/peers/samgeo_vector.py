"""samgeo's `raster_to_vector` over a mask, into a GeoPackage (samgeo.common)."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import rasterio
from samgeo.common import raster_to_vector


def run(mask: str, output: str) -> dict[str, object]:
    """Outline what is not 0; work in megapixels."""
    with rasterio.open(mask) as source:
        pixels = source.width * source.height
    raster_to_vector(mask, output, driver="GPKG", layer="regions")
    with closing(sqlite3.connect(output)) as database:
        (regions,) = database.execute("select count(*) from regions").fetchone()
    return {"work": pixels / 1e6, "facts": {"regions": regions}}
