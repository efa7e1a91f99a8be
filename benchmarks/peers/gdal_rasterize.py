"""gdal_rasterize onto a scene's grid, then the read of the scene's validity, block by block.

gdal_rasterize reprojects the polygons to the raster's CRS itself; its mask knows no no-data. The
255 that the validity would put into it is not written here: the peer does less than we do.
"""

from __future__ import annotations

import subprocess

import numpy as np
import rasterio


def run(vv: str, vh: str, polygons: str, output: str) -> dict[str, float]:
    """Burn 1 for every touched pixel into a tiled, compressed byte raster; work in megapixels."""
    with rasterio.open(vv) as scene:
        extent = [str(x) for x in scene.bounds]
        size = [str(scene.width), str(scene.height)]
        crs = scene.crs.to_string()
    command = ["gdal_rasterize", "-q", "-at", "-burn", "1", "-init", "0", "-ot", "Byte"]
    command += ["-te", *extent, "-ts", *size, "-a_srs", crs]
    command += ["-co", "TILED=YES", "-co", "COMPRESS=DEFLATE", polygons, output]
    subprocess.run(command, check=True, env=_debian_environment())
    valid = _count_valid(vv, vh)
    return {"work": int(size[0]) * int(size[1]) / 1e6, "valid": valid}


def _debian_environment() -> dict[str, str]:
    """gdal-bin finds its own PROJ database, not the one inside rasterio's wheel."""
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}


def _count_valid(vv: str, vh: str) -> int:
    count = 0
    with rasterio.open(vv) as first, rasterio.open(vh) as second:
        step = 512
        for y in range(0, first.height, step):
            for x in range(0, first.width, step):
                window = rasterio.windows.Window(
                    x, y, min(step, first.width - x), min(step, first.height - y)
                )
                a, b = first.read(1, window=window), second.read(1, window=window)
                bad = ~np.isfinite(a) | ~np.isfinite(b) | (a <= -9999) | (b <= -9999)
                bad |= (a == 0) & (b == 0)
                count += bad.size - int(np.count_nonzero(bad))
    return count
