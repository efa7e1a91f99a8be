"""Small data for the tests: scenes in the UNOSAT layout and shapefiles of polygons."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio.raw
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.typing import ArrayLike, NDArray
from shapely.geometry.base import BaseGeometry

ROOT = Path(__file__).parents[2]
CRS = "EPSG:32638"
#: 10 m pixels; 300000 E, 4000000 N is the upper left corner.
TRANSFORM = Affine(10, 0, 300_000, 0, -10, 4_000_000)


def real_data(part: str = "real_s1") -> Path:
    """A folder of the real data; skips the test where it is absent."""
    folder = ROOT / os.environ.get("BUILTUP_DATA", "../shared/data") / part
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set BUILTUP_DATA")
    return folder


def speckle(shape: tuple[int, int], level: float = 0.1, seed: int = 0) -> NDArray[np.float32]:
    """Gamma speckle of 4.4 looks around a level of linear power."""
    generator = np.random.default_rng(seed)
    return (level * generator.gamma(4.4, 1 / 4.4, shape)).astype(np.float32)


def write_raster(
    path: Path,
    values: ArrayLike,
    transform: Affine | None = TRANSFORM,
    crs: str | None = CRS,
    **profile: Any,
) -> Path:
    """Write a (H, W) or (B, H, W) array as GeoTIFF."""
    array = np.asarray(values)
    bands = array if array.ndim == 3 else array[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = {
        "count": bands.shape[0],
        "height": bands.shape[1],
        "width": bands.shape[2],
        "dtype": bands.dtype,
        "crs": crs,
        **({} if transform is None else {"transform": transform}),
        **profile,
    }
    with rasterio.open(path, "w", driver="GTiff", **settings) as dataset:
        dataset.write(bands)
    return path


def write_scene(
    root: Path,
    city: str = "Alpha_2015",
    tile: str = "38SLF",
    date: str = "20150101",
    orbit: str = "ASC",
    vv: ArrayLike | None = None,
    vh: ArrayLike | None = None,
    transform: Affine | None = None,
    crs: str | None = CRS,
    suffix: str = "",
    folder: str | None = None,
    satellite: str = "s1a",
    **profile: Any,
) -> tuple[Path, Path]:
    """Write the VV and VH files of one scene below the split `root`: (vv path, vh path).

    `<root>/<city>/<date>_<tile>/<satellite>_<tile>_vv_<orbit>_<date><suffix>.tif`; `folder` takes
    the place of `<date>_<tile>` ("" for none), `suffix` may hold a time and a number, an empty
    `orbit` is left out. Absent arrays are 64 x 64 of speckle.
    """
    seed = int(date)
    shape = next((np.asarray(a).shape for a in (vv, vh) if a is not None), (64, 64))
    power = {
        "vv": speckle(shape, 0.14, seed) if vv is None else np.asarray(vv, dtype=np.float32),
        "vh": speckle(shape, 0.024, seed + 1) if vh is None else np.asarray(vh, dtype=np.float32),
    }
    place = root / city / (f"{date}_{tile}" if folder is None else folder)
    end = (f"_{orbit}" if orbit else "") + f"_{date}{suffix}.tif"
    vv_path, vh_path = (
        write_raster(
            place / f"{satellite}_{tile}_{polarisation}{end}",
            power[polarisation],
            TRANSFORM if transform is None else transform,
            crs,
            **profile,
        )
        for polarisation in ("vv", "vh")
    )
    return vv_path, vh_path


def write_polygons(
    path: Path, geometries: Iterable[BaseGeometry], crs: str | None = "EPSG:32638"
) -> Path:
    """Write polygons as a shapefile with the field DN = 255, as UNOSAT has it."""
    shapes = np.array(list(geometries), dtype=object)
    path.parent.mkdir(parents=True, exist_ok=True)
    pyogrio.raw.write(
        path,
        geometry=shapely.to_wkb(shapes),
        field_data=[np.full(len(shapes), 255, dtype=np.int32)],
        fields=np.array(["DN"], dtype=object),
        geometry_type="Polygon",
        crs=crs,
        driver="ESRI Shapefile",
    )
    return path


def city_polygons(root: Path, city: str = "Alpha_2015", tile: str = "38SLF") -> Path:
    """Where a city's polygons stand: `<root>/<City>_<year>/<TILE>_<City>.shp`."""
    return root / city / f"{tile}_{city.rpartition('_')[0]}.shp"


def on_ground(polygon: BaseGeometry, transform: Affine = TRANSFORM) -> BaseGeometry:
    """A polygon drawn in pixels, in ground coordinates."""
    t = transform
    return shapely.transform(
        polygon, lambda xy: np.stack([t.c + t.a * xy[:, 0], t.f + t.e * xy[:, 1]], axis=1)
    )
