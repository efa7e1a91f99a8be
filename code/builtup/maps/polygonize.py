"""Maps to polygons: a shapefile of exact outlines and a GeoPackage to work with.

`<TILE>_<City>.shp` holds every region of the mask as it stands: rasterised, it is the mask again.
`<TILE>_<City>.gpkg` holds those of a least area, without their small holes, simplified (and, where
wanted, squared), valid and apart from each other, under the same ids and with the areas and
probabilities of the exact regions. Written are regions of the mapped class, or of each class that
is asked for, one after the other: neighbours of one class stay apart, those of different classes
may overlap in the GeoPackage by what simplifying moves.
Its layer carries the tags of the mask as metadata, so that `trace` knows its run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.io import DatasetReader

from builtup.errors import BuiltupError, GridError, InputError
from builtup.geo.generalise import Generaliser
from builtup.geo.grid import Grid
from builtup.geo.prefetch import iterating_ahead
from builtup.geo.probability import NODATA, SCALE, mapped_band
from builtup.geo.rasters import gdal_env, open_raster, read_window
from builtup.geo.regions import Regions, trace
from builtup.geo.vector_writers import SHAPEFILE_PARTS, Features, Writer, geopackage, shapefile
from builtup.geo.windows import Window
from builtup.jobs.steps import Job, Step, Summary, run_step
from builtup.maps.styles import class_polygon_style, polygon_style
from builtup.options import PolygonOptions
from builtup.runs.results import (
    CONFIDENCE,
    CityRasters,
    city_rasters,
    read_tags,
    resolve_results,
    upload_results,
)

__all__ = ["polygonize", "polygonize_city"]

log = logging.getLogger(__name__)

STEP = Step("polygonize", 9)
#: Enough for a row of 512-blocks of both rasters, 24,576 wide, which lower strips read twice.
CACHE_MB = 32


def polygonize(
    *,
    input_path: str = "",
    run_id: str = "",
    polygons: PolygonOptions = PolygonOptions(),
    num_workers: int = 1,
    on_error: str = "stop",
) -> Summary:
    """Write the polygons of each city mask of a set of predictions, beside the mask.

    The sizes of `polygons` concern the GeoPackage alone. A map of images without a CRS gets none,
    and a warning. Raises InputError where there are no city masks, or one does not fit its
    probability raster, ConfigError for a class that it has not.
    """
    results = resolve_results(input_path, run_id)
    jobs: list[Job] = []
    problems: list[BuiltupError] = []
    for rasters in city_rasters(results):
        try:
            job = _job(rasters, polygons)
            jobs += [] if job is None else [job]
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


def _job(rasters: CityRasters, polygons: PolygonOptions) -> Job | None:
    """The job of a map; None, and a warning, for one that lies nowhere on Earth."""
    shapefile = rasters.mask.with_suffix(".shp")
    parts = [shapefile.with_suffix(suffix) for suffix in reversed(SHAPEFILE_PARTS)]
    with gdal_env(), open_raster(rasters.mask) as mask, open_raster(rasters.prob) as prob:
        tags, grid = read_tags(mask), Grid.of(mask)
        difference = grid.difference(Grid.of(prob))
    tags.class_set.chosen(polygons.classes)
    if not grid.crs and tags.sensor:
        text = (
            "%s: has no CRS, so its map gets no polygons; give the image one (gdal_edit.py -a_srs)"
        )
        log.warning(text, rasters.city)
        return None
    if not grid.crs:
        problem = "has no CRS"
        raise InputError(rasters.mask, problem, "assign it to both rasters (gdal_edit.py -a_srs)")
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
        _settings(polygons.sized(fine=bool(tags.sensor))._asdict()),
        grid.pixels,
        rasters,
    )


def _settings(sized: dict[str, Any]) -> dict[str, Any]:
    """The settings of a job; of the mapped class alone those that there always were."""
    return {name: value for name, value in sized.items() if name != "classes" or value}


def _work(job: Job) -> dict[str, int]:
    return polygonize_city(job.context, PolygonOptions(**job.settings))


def polygonize_city(rasters: CityRasters, polygons: PolygonOptions) -> dict[str, int]:
    """Write the shapefile and the GeoPackage of one city; return their counts of polygons.

    In one pass: memory follows the regions that have not ended, not the raster.
    """
    with (
        gdal_env(GDAL_CACHEMAX=CACHE_MB),
        open_raster(rasters.mask) as mask,
        open_raster(rasters.prob) as prob,
    ):
        grid = Grid.of(mask)
        tags, crs = read_tags(mask), grid.crs.to_wkt()
        classes = tags.class_set
        city, gpkg = tags.city, rasters.mask.with_suffix(".gpkg")
        with (
            shapefile(rasters.mask.with_suffix(".shp"), city=city, crs=crs) as exact,
            geopackage(
                gpkg,
                city=city,
                crs=crs,
                style=class_polygon_style(classes)
                if polygons.classes
                else polygon_style(classes.least(tags.threshold)),
                metadata=tags.as_gdal(),
            ) as work,
        ):
            for name in classes.chosen(polygons.classes):
                if polygons.classes:
                    exact.of_class(name)
                    work.of_class(name)
                _trace_class(mask, prob, classes.names.index(name), polygons, (exact, work))
    return {"polygons": exact.count, "simplified": work.count}


def _trace_class(
    mask: DatasetReader,
    prob: DatasetReader,
    number: int,
    polygons: PolygonOptions,
    out: tuple[Writer, Writer],
) -> None:
    """Write the regions of the class of that number: exact ones, and those for work."""
    exact, work = out
    grid = Grid.of(mask)
    read = _reader(mask, prob, number)
    with iterating_ahead(trace(grid.width, grid.height, read)) as traced:
        generaliser = Generaliser(polygons, grid)
        for regions in traced:
            features = _features(regions, grid, exact.count + 1)
            exact.write(features.on_ground(grid))
            work.write(generaliser.add(features, regions))
        work.write(generaliser.rest())


def _reader(
    mask: DatasetReader, prob: DatasetReader, number: int
) -> Callable[[Window], tuple[NDArray[np.bool_], NDArray[np.uint8]]]:
    """Reads what is of a class (by default what is built up) in a window, and the class's 8-bit
    probability plus 1.

    So the value is above 0 wherever it is of it, and its sum tells vacant holes.
    """
    band = mapped_band(prob.count, number)
    # of two classes the one band is the mapped one's; of the class that was chosen it is each's
    other = number != read_tags(mask).class_set.mapped_index
    turned = other and prob.count == 1 and prob.tags().get("BUILTUP_KIND") != CONFIDENCE

    def read(window: Window) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
        built_up = read_window(mask, window, 1) == number
        value = read_window(prob, window, band)
        if turned:
            value = np.where(value == NODATA, value, np.uint8(SCALE) - value)
        if (built_up & (value == NODATA)).any():
            raise InputError(
                mask.name,
                f"built up where {Path(prob.name).name} has no data",
                "run all_agg_by_city again",
            )
        return built_up, value + np.uint8(1)  # no-data becomes 0, and is not built up

    return read


def _features(regions: Regions, grid: Grid, first: int) -> Features:
    """The regions with their attributes, in pixel coordinates; `first` is the id of the first."""
    centroids = shapely.get_coordinates(shapely.centroid(regions.outlines))
    return Features(
        regions.outlines,
        np.arange(first, first + len(regions), dtype=np.int32),
        regions.pixels * grid.pixel_areas(centroids),
        (regions.value_sum - regions.pixels) / (regions.pixels * SCALE),
    )
