"""gdal_polygonize.py, called in the process: the very function of that script.

Its documentation (gdal.org/programs/gdal_polygonize.html) leaves out the pixels of no-data: the
mask it is given declares 0 as such, so that the background is not outlined.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing

from osgeo import gdal
from osgeo_utils.gdal_polygonize import gdal_polygonize


def run(mask: str, output: str) -> dict[str, object]:
    """Outline into a GeoPackage; work in megapixels."""
    source = gdal.Open(mask)
    pixels = source.RasterXSize * source.RasterYSize
    del source
    status = gdal_polygonize(
        src_filename=mask,
        band_number=1,
        dst_filename=output,
        driver_name="GPKG",
        dst_layername="regions",
        quiet=True,
    )
    if status != 0:
        raise SystemExit(f"gdal_polygonize: exit status {status}")
    with closing(sqlite3.connect(output)) as database:
        (regions,) = database.execute("select count(*) from regions").fetchone()
    return {
        "work": pixels / 1e6,
        "facts": {"regions": regions},
        "versions": {"gdal_polygonize": gdal.__version__},
    }
