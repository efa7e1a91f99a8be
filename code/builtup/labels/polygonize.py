"""City masks to polygons: a shapefile of exact outlines and a GeoPackage to work with.

`<TILE>_<City>.shp` holds every region of the mask as it stands: rasterised, it is the mask again.
`<TILE>_<City>.gpkg` holds those of a least area, simplified without losing their topology, under
the same ids and with the areas and probabilities of the exact regions. Background is not written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.io import DatasetReader

from builtup.errors import BuiltupError, GridError, InputError
from builtup.inference.results import (
    PROBABILITY_NODATA,
    PROBABILITY_SCALE,
    CityRasters,
    building_band,
    city_rasters,
    read_tags,
    resolve_results,
    upload_results,
)
from builtup.labels.areas import ground_areas, metres_per_pixel
from builtup.labels.outlines import Regions, trace
from builtup.labels.simplify import simplified
from builtup.labels.writers import SHAPEFILE_PARTS, Features, write_geopackage, write_shapefile
from builtup.raster.grid import Grid
from builtup.raster.io import gdal_env, open_raster, read_window
from builtup.raster.windows import Window
from builtup.steps import Job, Step, Summary, run_step

__all__ = ["on_ground", "polygonize", "polygonize_city"]

STEP = Step("polygonize", 1)


def polygonize(
    *,
    input_path: str = "",
    run_id: str = "",
    min_area: float = 400,
    simplify: float = 10,
    num_workers: int = 1,
    on_error: str = "stop",
) -> Summary:
    """Write the polygons of each city mask of a set of predictions, beside the mask.

    `min_area` (m²) and `simplify` (tolerance in metres) concern the GeoPackage only. Raises
    InputError where there are no city masks, or one does not fit its probability raster.
    """
    results = resolve_results(input_path, run_id)
    settings = {"min_area": float(min_area), "simplify": float(simplify)}
    jobs: list[Job] = []
    problems: list[BuiltupError] = []
    for rasters in city_rasters(results):
        try:
            jobs.append(_job(rasters, settings))
        except BuiltupError as e:
            problems.append(e)
    summary = run_step(
        STEP,
        jobs,
        _work,
        num_workers=num_workers,
        on_error=on_error,
        problems=problems,
        noun="cities",
    )
    upload_results(results)
    return summary


def _job(rasters: CityRasters, settings: dict[str, float]) -> Job:
    shapefile = rasters.mask.with_suffix(".shp")
    parts = [shapefile.with_suffix(suffix) for suffix in reversed(SHAPEFILE_PARTS)]
    with gdal_env(), open_raster(rasters.mask) as mask, open_raster(rasters.prob) as prob:
        read_tags(mask)
        grid = Grid.of(mask)
        difference = grid.difference(Grid.of(prob))
    if difference is not None:
        raise GridError(
            rasters.mask,
            f"not on the grid of {rasters.prob.name} ({difference})",
            "run all_agg_by_city again",
        )
    return Job(
        rasters.city,
        (rasters.mask, rasters.prob),
        (*parts, rasters.mask.with_suffix(".gpkg")),
        settings,
        grid.pixels,
        rasters,
    )


def _work(job: Job) -> dict[str, int]:
    return polygonize_city(
        job.context, min_area=job.settings["min_area"], simplify=job.settings["simplify"]
    )


def polygonize_city(rasters: CityRasters, *, min_area: float, simplify: float) -> dict[str, int]:
    """Write the shapefile and the GeoPackage of one city; return their counts of polygons."""
    with (
        gdal_env(),
        open_raster(rasters.mask) as mask,
        open_raster(rasters.prob) as prob,
    ):
        city, grid = read_tags(mask).city, Grid.of(mask)
        crs = grid.crs.to_wkt()
        kept: list[_Batch] = []
        batches = _batches(trace(grid.width, grid.height, _reader(mask, prob)), grid)
        exact = _keeping(kept, batches, min_area, grid)
        total = write_shapefile(rasters.mask.with_suffix(".shp"), exact, city=city, crs=crs)
    work = _simplified(kept, simplify, grid)
    write_geopackage(rasters.mask.with_suffix(".gpkg"), [work], city=city, crs=crs)
    return {"polygons": total, "simplified": len(work)}


def _reader(
    mask: DatasetReader, prob: DatasetReader
) -> Callable[[Window], tuple[NDArray[np.bool_], NDArray[np.uint8]]]:
    """Reads what is built up in a window, and its 8-bit probability."""

    band = building_band(prob)

    def read(window: Window) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
        built_up = read_window(mask, window, 1) == 1
        value = read_window(prob, window, band)
        if (built_up & (value == PROBABILITY_NODATA)).any():
            raise InputError(
                mask.name,
                f"built up where {Path(prob.name).name} has no data",
                "run all_agg_by_city again",
            )
        return built_up, value

    return read


@dataclass(frozen=True)
class _Batch:
    """Regions in pixel coordinates with the attributes that they are written with."""

    outlines: NDArray[np.object_]
    id: NDArray[np.int32]
    area_m2: NDArray[np.float64]
    mean_prob: NDArray[np.float64]

    def features(self, grid: Grid) -> Features:
        return Features(on_ground(self.outlines, grid), self.id, self.area_m2, self.mean_prob)


def _batches(traced: Iterable[Regions], grid: Grid) -> Iterator[_Batch]:
    first = 1
    for regions in traced:
        yield _Batch(
            regions.outlines,
            np.arange(first, first + len(regions), dtype=np.int32),
            ground_areas(regions.outlines, regions.pixels, grid),
            regions.value_sum / (regions.pixels * PROBABILITY_SCALE),
        )
        first += len(regions)


def _keeping(
    kept: list[_Batch], batches: Iterable[_Batch], min_area: float, grid: Grid
) -> Iterator[Features]:
    """Pass on all regions as features, and keep those of at least `min_area` in `kept`."""
    for batch in batches:
        large = batch.area_m2 >= min_area
        kept.append(
            _Batch(
                batch.outlines[large],
                batch.id[large],
                batch.area_m2[large],
                batch.mean_prob[large],
            )
        )
        yield batch.features(grid)


def _simplified(kept: list[_Batch], tolerance: float, grid: Grid) -> Features:
    joined = _Batch(
        np.concatenate([batch.outlines for batch in kept] or [np.zeros(0, object)]),
        np.concatenate([batch.id for batch in kept] or [np.zeros(0, np.int32)]),
        np.concatenate([batch.area_m2 for batch in kept] or [np.zeros(0)]),
        np.concatenate([batch.mean_prob for batch in kept] or [np.zeros(0)]),
    )
    simple = simplified(joined.outlines, tolerance, metres_per_pixel(grid))
    return replace(joined, outlines=simple).features(grid)


def on_ground(outlines: NDArray[np.object_], grid: Grid) -> NDArray[np.object_]:
    """Outlines from pixel coordinates (column, row) to those of the grid's CRS."""
    t = grid.transform
    matrix = np.array([[t.a, t.d], [t.b, t.e]])
    return np.asarray(shapely.transform(outlines, lambda xy: xy @ matrix + (t.c, t.f)))
