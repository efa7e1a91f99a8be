"""What a GIS opens, beside the map of each city: styles, vector formats, catalogue, preview."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from builtup.errors import BuiltupError, InputError
from builtup.geo.grid import Grid
from builtup.geo.probability import mapped_band
from builtup.geo.rasters import gdal_env, open_raster
from builtup.geo.vector_writers import has_classes, left_out, mapped_total, write_geoparquet
from builtup.jobs.files import write_text_atomically
from builtup.jobs.steps import Job, Step, Summary, run_step
from builtup.maps.catalog import CATALOG, DateRange, catalog, date_range, item
from builtup.maps.preview import Caption, Views, write_preview
from builtup.maps.styles import class_style, disagreement_style, mask_style, probability_style
from builtup.runs.results import (
    QUICKLOOK,
    CityRasters,
    Results,
    base_city,
    city_rasters,
    read_tags,
)
from builtup.text_table import counted

__all__ = ["map_lines", "write_products"]

log = logging.getLogger(__name__)

STEP = Step("write_products", 5)
#: What the names of a city's products end in; the first bears the manifest.
ENDS = (".parquet", ".qml", "_prob.qml", "_std.qml", "_preview.png")
ITEM = ".json"


def write_products(folder: Path, *, num_workers: int = 1, on_error: str = "stop") -> Summary:
    """Write the products of each city of a set of predictions, beside its rasters in raw/.

    After all_agg_by_city and polygonize: `<city>.parquet` (the polygons of the
    GeoPackage), `<city>_prob.qml`, `<city>_std.qml` and `<city>.qml` (colours for QGIS),
    `<city>_preview.png`, and `<city>.json`, a STAC item, beside `catalog.json`. The item's dates
    are those of the city's scenes: their tag BUILTUP_DATE, else their names; without any there is
    no item. Of images there is no disagreement; the map of one without a CRS has styles and the
    preview alone. Raises InputError where a step before has not run.
    """
    results = Results(folder)
    found = _find_scenes(results)
    jobs: list[Job] = []
    problems: list[BuiltupError] = []
    for rasters in city_rasters(results):
        try:
            scenes, quicklooks = _of_map(found, rasters)
            jobs.append(_job(rasters, date_range(scenes), quicklooks))
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
    _write_catalog(results, [job.outputs[-1] for job in jobs if job.context.dates is not None])
    return summary


@dataclass(frozen=True)
class _City:
    """A city's rasters, the dates that they are from, and the scenes' pictures by date.

    `on_earth`: it has polygons, which the map of an image without a CRS has not.
    """

    rasters: CityRasters
    dates: DateRange | None
    quicklooks: tuple[Path, ...]
    on_earth: bool = True

    def beside(self, end: str) -> Path:
        """`raw/<city><end>`."""
        return self.rasters.mask.with_name(f"{self.rasters.mask.stem}{end}")

    @property
    def probability_style(self) -> str:
        """What the name of the style of its probability ends in."""
        return f"{self.rasters.prob.stem.removeprefix(self.rasters.mask.stem)}.qml"

    def ends(self, of_images: bool) -> tuple[str, ...]:
        """What the names of its products end in."""
        ends: tuple[str, ...] = ENDS
        if of_images:
            own = (".qml", self.probability_style, "_preview.png")
            ends = (".parquet", *own) if self.on_earth else own
        return (*ends, *([] if self.dates is None else [ITEM]))


@dataclass(frozen=True)
class _Scene:
    """A scene's raster or its quicklook: its city's key, its year if any, what tells its date."""

    path: Path
    city: str
    year: str
    date: str
    is_quicklook: bool


def _find_scenes(results: Results) -> list[_Scene]:
    scenes = []
    with gdal_env():
        for path in sorted(results.raw.glob("[!.]*.tif")):
            with open_raster(path) as dataset:
                raw = dataset.tags()
            if not raw.get("BUILTUP_SCENE"):
                continue
            year = raw.get("BUILTUP_YEAR", "")
            scenes.append(
                _Scene(
                    path,
                    base_city(raw.get("BUILTUP_CITY", ""), year),
                    year,
                    raw.get("BUILTUP_DATE") or path.stem,
                    raw.get("BUILTUP_KIND") == QUICKLOOK,
                )
            )
    return scenes


def _of_map(scenes: Sequence[_Scene], rasters: CityRasters) -> tuple[list[str], tuple[Path, ...]]:
    """What tells the dates of a map's scenes, and their quicklooks in the order of dates."""
    tags = read_tags(rasters.mask)
    year = tags.year
    city = base_city(rasters.city, year)
    own = [of for of in scenes if of.city == city and year in ("", of.year)]
    quicklooks = sorted((of.date, of.path) for of in own if of.is_quicklook)
    dates = [of.date for of in own if not of.is_quicklook]
    if tags.sensor:  # it is its scene
        dates = [tags.date] if tags.date else []
    return dates, tuple(path for _, path in quicklooks)


def _job(rasters: CityRasters, dates: DateRange | None, quicklooks: tuple[Path, ...]) -> Job:
    with gdal_env(), open_raster(rasters.mask) as mask, open_raster(rasters.prob):
        tags = read_tags(mask)
        pixels, on_earth = mask.width * mask.height, bool(mask.crs) or not tags.sensor
    city = _City(rasters, dates if on_earth else None, quicklooks, on_earth)
    gpkg, std = city.beside(".gpkg"), city.beside("_std.tif")
    if on_earth and not gpkg.is_file():
        raise InputError(gpkg, "no such file", "run polygonize first")
    if dates is None and not tags.sensor:
        log.warning("%s: no date of a scene is known, so it gets no STAC item", rasters.city)
    return Job(
        rasters.city,
        (
            *(rasters.mask, rasters.prob),
            *([gpkg] if on_earth else []),
            *([std] if std.is_file() else []),
            *quicklooks,
        ),
        tuple(city.beside(end) for end in city.ends(bool(tags.sensor))),
        {"dates": None if dates is None else [dates.start, dates.end]},
        pixels,
        city,
    )


def _work(job: Job) -> dict[str, int]:
    city: _City = job.context
    rasters, gpkg = city.rasters, city.beside(".gpkg")
    with gdal_env(), open_raster(rasters.prob) as prob:
        grid, tags, bands = Grid.of(prob), read_tags(prob), prob.count
    classes = tags.class_set
    by_class = city.on_earth and has_classes(gpkg)
    if classes.by_threshold and not by_class:
        shown = mask_style(tags.threshold)
    else:
        shown = class_style(classes, polygons_by_class=by_class)
    write_text_atomically(city.beside(".qml"), shown)
    band = mapped_band(bands, classes.mapped_index)
    write_text_atomically(
        city.beside(city.probability_style), probability_style(band, classes.least(tags.threshold))
    )
    if not tags.sensor:
        write_text_atomically(city.beside("_std.qml"), disagreement_style())
    count, caption = 0, Caption(_in_words(city.dates))
    if city.on_earth:
        count = write_geoparquet(gpkg, city.beside(".parquet"))
        mapped, area = mapped_total(gpkg, classes.mapped)
        caption = replace(caption, polygons=mapped, hectares=area / 1e4)
    views = Views(rasters.prob, gpkg if city.on_earth else None, city.quicklooks)
    if tags.sensor:
        views = replace(views, classes=rasters.mask)
    write_preview(views, city.beside("_preview.png"), caption)
    if city.dates is not None:
        # not by a pattern: a name may hold brackets
        files = [path for path in rasters.mask.parent.iterdir() if path.is_file()]
        counted = _type_of_counts(city.beside("_count.tif"))
        text = item(tags, grid, city.dates, files, bands=bands, counted=counted)
        write_text_atomically(city.beside(ITEM), text)
    return {"polygons": count} if city.on_earth else {}


def _in_words(dates: DateRange | None) -> str:
    """`2015-01-08`, or `2015-01-08 to 2015-05-22`."""
    if dates is None:
        return ""
    return " to ".join(dict.fromkeys((dates.start[:10], dates.end[:10])))


def map_lines(folder: Path) -> list[str]:
    """What to say at the end of a command: where the maps are, and how much is mapped.

    Raises InputError where there are no maps.
    """
    results = Results(folder)
    polygons, small, area, nowhere, fine = 0, 0, 0.0, 0, False
    cities = city_rasters(results)
    for rasters in cities:
        gpkg, of_images = rasters.mask.with_suffix(".gpkg"), bool(read_tags(rasters.mask).sensor)
        fine |= of_images
        if not gpkg.is_file() and of_images:
            nowhere += 1
            continue
        count, square_metres = mapped_total(gpkg)
        polygons, area = polygons + count, area + square_metres
        exact = gpkg.with_suffix(".shp")
        small += left_out(exact) if exact.is_file() else 0
    parts = []
    if nowhere < len(cities):
        parts.append(f"{counted(polygons, 'polygons')}, {area / 1e4:,.{2 if fine else 0}f} ha")
    if small:
        parts.append(f"smaller than min_area, and in the .shp alone: {small:,}")
    if nowhere:
        which = f"of {nowhere:,} " if nowhere < len(cities) else ""
        parts.append(f"no polygons {which}for want of a CRS")
    example = cities[0].city if len(cities) == 1 else "<city>"
    opened = "gpkg" if nowhere < len(cities) else "tif"
    return [
        f"maps of {counted(len(cities), 'cities')} in {results.raw}: {'; '.join(parts)}",
        f"open {example}.{opened} in a GIS; {example}_preview.png is a first look",
    ]


def _type_of_counts(path: Path) -> str:
    """The type of the numbers of dates, which follows how many there are."""
    if not path.is_file():
        return "uint8"
    with gdal_env(), open_raster(path) as dataset:
        return str(dataset.dtypes[0])


def _write_catalog(results: Results, items: list[Path]) -> None:
    """Name the items that are there, in the order of their cities."""
    path = results.raw / CATALOG
    text = catalog([item for item in items if item.is_file()])
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text_atomically(path, text)
