"""What a GIS opens, beside the map of each city: styles, vector formats, catalogue, preview."""

from __future__ import annotations

from pathlib import Path

from builtup.errors import BuiltupError, InputError
from builtup.files import write_text_atomically
from builtup.predict.columns import write_flatgeobuf, write_geoparquet
from builtup.predict.style import disagreement_style, mask_style, probability_style
from builtup.raster.io import gdal_env, open_raster
from builtup.results import CityRasters, Results, building_band, city_rasters, read_tags
from builtup.steps import Job, Step, Summary, run_step

__all__ = ["write_products"]

STEP = Step("write_products", 1)


def write_products(folder: Path, *, num_workers: int = 1, on_error: str = "stop") -> Summary:
    """Write the products of each city of a set of predictions, beside its rasters in raw/.

    After all_agg_by_city and polygonize: `<city>.parquet` and `<city>.fgb` (the polygons of the
    GeoPackage), `<city>_prob.qml`, `<city>_std.qml` and `<city>.qml` (colours for QGIS). Raises
    InputError where a step before has not run.
    """
    jobs: list[Job] = []
    problems: list[BuiltupError] = []
    for rasters in city_rasters(Results(folder)):
        try:
            jobs.append(_job(rasters))
        except BuiltupError as e:
            problems.append(e)
    return run_step(
        STEP,
        jobs,
        _work,
        num_workers=num_workers,
        on_error=on_error,
        problems=problems,
        noun="cities",
    )


def _job(rasters: CityRasters) -> Job:
    base = rasters.mask
    gpkg, std = base.with_suffix(".gpkg"), base.with_name(f"{base.stem}_std.tif")
    if not gpkg.is_file():
        raise InputError(gpkg, "no such file", "run polygonize first")
    with gdal_env(), open_raster(rasters.mask) as mask, open_raster(rasters.prob):
        read_tags(mask)
        pixels = mask.width * mask.height
    outputs = (
        base.with_suffix(".parquet"),
        base.with_suffix(".fgb"),
        base.with_suffix(".qml"),
        rasters.prob.with_suffix(".qml"),
        std.with_suffix(".qml"),
    )
    return Job(rasters.city, (rasters.mask, rasters.prob, gpkg), outputs, {}, pixels, rasters)


def _work(job: Job) -> dict[str, int]:
    rasters: CityRasters = job.context
    gpkg = rasters.mask.with_suffix(".gpkg")
    parquet, flatgeobuf, mask_qml, prob_qml, std_qml = job.outputs
    with gdal_env(), open_raster(rasters.prob) as prob:
        band = building_band(prob)
    write_text_atomically(mask_qml, mask_style())
    write_text_atomically(prob_qml, probability_style(band))
    write_text_atomically(std_qml, disagreement_style())
    write_flatgeobuf(gpkg, flatgeobuf)
    return {"polygons": write_geoparquet(gpkg, parquet)}
