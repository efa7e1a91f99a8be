"""The dates of each city, averaged into its probability, disagreement, count and classes.

The dates are averaged on the grid that most of them have; the others are warped onto it. A date
counts where it is valid, so a gap in one date weakens nothing in the others. Which scenes are dates
of one map their tags say (places.py). Parts of a city beside each other, on one grid, are joined;
those of one day are one date.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.io import DatasetReader, DatasetWriter
from rasterio.vrt import WarpedVRT

from builtup.errors import BuiltupError, InputError
from builtup.geo.grid import SAME_CITY_TOLERANCE, Grid
from builtup.geo.probability import (
    LEVELS,
    NODATA,
    describe_probability,
    mapped_band,
    parse_threshold,
)
from builtup.geo.rasters import create_cog, gdal_env, open_raster
from builtup.geo.windows import Window
from builtup.jobs.steps import Job, Step, Summary, run_step
from builtup.maps.date_average import averaged
from builtup.maps.doubts import map_doubts
from builtup.maps.places import (
    MapName,
    check_years,
    map_grid,
    maps_of_tags,
    require_apart,
    say_left,
    say_span,
)
from builtup.runs.records import InferenceRecord
from builtup.runs.results import (
    PredictionTags,
    Results,
    read_tags,
    resolve_results,
    scene_rasters,
    upload_results,
    write_tags,
)
from builtup.scoring.prior_shift import prior_shift
from builtup.sensors.classes import Classes
from builtup.sensors.radar.names import SceneName

__all__ = ["all_agg_by_city"]

log = logging.getLogger(__name__)

STEP = Step("all_agg_by_city", 3)
#: Side of the blocks that are worked on, and of those of the COGs.
BLOCK = 512
#: Blocks that tell a city's share of the mapped class, at most: more would hardly move it.
TELLING_BLOCKS = 64
_BYTES: dict[str, Any] = {"dtype": "uint8", "nodata": NODATA}


def all_agg_by_city(
    *,
    input_path: str = "",
    run_id: str = "",
    threshold: str = "",
    years: str = "apart",
    num_workers: int = 2,
    on_error: str = "stop",
) -> Summary:
    """Average the dates of each city of a set of predictions and threshold the mean.

    Writes, as COGs on one grid, `raw/<TILE>_<City>_prob.tif` (mean, uint8, 255 no-data),
    `_std.tif` (float32, standard deviation of the dates' probabilities of the mapped class, NaN
    below two), `_count.tif` (valid dates; uint8, above 254 dates uint16) and the class of each
    pixel `raw/<TILE>_<City>.tif` (uint8, 255 no-data): the mask 0, 1 of two classes, by threshold,
    or of more the likeliest. `threshold` replaces that of the tags; where these say the class's
    share in training, it is moved to the city's own (`prior_shift`). Years of a city, by folders
    `<City>_<year>`, are maps "apart" (the first has the city's key, others `<key>_<year>`) or one
    of their "mean"; scenes whose tags say no year are one map. What speaks against a map
    (doubts.py, and of its model the record of the inference) is logged and stands in its tags.
    Raises InputError where scenes do not fit together.
    """
    results = resolve_results(input_path, run_id)
    chosen = parse_threshold(threshold)
    check_years(years)
    jobs, problems = _find_jobs(results, chosen, years)
    summary = run_step(
        STEP,
        jobs,
        _aggregate,
        num_workers=num_workers,
        on_error=on_error,
        problems=problems,
        noun="cities",
    )
    _say_thresholds(jobs)
    _say_doubts(jobs)
    upload_results(results)
    return summary


def _say_thresholds(jobs: Sequence[Job]) -> None:
    """Log the thresholds that follow the cities, those of maps made before too."""
    found = defaultdict(list)
    for job in jobs:
        city: _City = job.context
        if city.share is not None and (mask := job.outputs[-1]).is_file():
            own = f"{job.name} {read_tags(mask).threshold:.3f}"
            found[city.threshold, city.share].append(own)
    for (threshold, share), cities in found.items():
        text = (
            "thresholds by the share of each city: %s (the network's %.3f, where %.1f %% were so)"
        )
        log.info(text, ", ".join(cities), threshold, 100 * share)


def _say_doubts(jobs: Sequence[Job]) -> None:
    """Log what speaks against each map, those made before too: in one line for all alike."""
    by_doubt: dict[str, list[str]] = defaultdict(list)
    for job in jobs:
        mask = job.outputs[-1]
        for doubt in read_tags(mask).doubts if mask.is_file() else ():
            by_doubt[doubt].append(job.name)
    for doubt, cities in by_doubt.items():
        log.warning("doubt about %s: %s", ", ".join(cities), doubt)


@dataclass(frozen=True)
class _Date:
    """The probability raster of one scene; `date` sorts it, `day` is YYYYMMDD or empty."""

    path: Path
    date: str
    day: str
    tags: PredictionTags
    grid: Grid
    bands: int


def _find_jobs(
    results: Results, threshold: float | None, years: str
) -> tuple[list[Job], list[BuiltupError]]:
    dates: list[_Date] = []
    problems: list[BuiltupError] = []
    for path in scene_rasters(results):
        try:
            dates.append(_read_date(path))
        except BuiltupError as e:
            problems.append(e)
    if not dates and not problems:
        raise InputError(results.raw, "no probability raster of a scene", "run merge_tiles first")
    maps: dict[MapName, list[_Date]] = defaultdict(list)
    scenes, placed = zip(*(((d.tags, d.day), bool(d.grid.crs)) for d in dates), strict=True)
    for name, date in zip(maps_of_tags(scenes, years, placed), dates, strict=True):
        maps[name].append(date)
    say_left(results, {name.key for name in maps})
    record = InferenceRecord.find(results.folder)
    doubts = (record.doubts or ()) if record is not None else ()
    jobs = []
    for name, own in sorted(maps.items()):
        if years == "apart":
            say_span(name.key, [date.day for date in own])
        try:
            job = _job(name, own, threshold, results.raw, doubts)
            require_apart(name.key, job.outputs, [date.path for date in dates])
            jobs.append(job)
        except BuiltupError as e:
            problems.append(e)
    return jobs, problems


def _read_date(path: Path) -> _Date:
    name = SceneName.parse(path)
    with gdal_env(), open_raster(path) as dataset:
        if dataset.dtypes[0] != "uint8":
            raise InputError(path, f"values of type {dataset.dtypes[0]}", "run merge_tiles again")
        tags = read_tags(dataset)
        day = name.date if name is not None else tags.date
        # the number of a second image of one day stands behind the date
        return _Date(path, day + path.stem, day, tags, Grid.of(dataset), dataset.count)


def _job(
    name: MapName,
    dates: Sequence[_Date],
    threshold: float | None,
    raw: Path,
    doubts: tuple[str, ...],
) -> Job:
    first = dates[0]
    # where a network was adapted to some dates, theirs: its own is none of their statistics
    tags = next((date.tags for date in dates if date.tags.adapted), first.tags)
    for date in dates[1:]:
        if date.bands != first.bands or date.tags.class_set != first.tags.class_set:
            raise InputError(
                date.path, f"other classes than {first.path.name}", "aggregate one run at a time"
            )
        if threshold is None and not tags.adapted and date.tags.threshold != first.tags.threshold:
            raise InputError(
                date.path,
                f"threshold {date.tags.threshold}, that of {first.path.name} is "
                f"{first.tags.threshold}",
                "give threshold",
            )
    value = tags.threshold if threshold is None else threshold
    if threshold is None and any(d.tags.threshold != value for d in dates):
        log.warning("%s: adapted to some of its dates only; threshold %.3f", name.key, value)
    grid, joined = map_grid(name.key, [d.grid for d in sorted(dates, key=lambda d: d.date)])
    classes = first.tags.class_set
    share = tags.share if threshold is None else None
    as_tagged = name == (first.tags.city, first.tags.year)
    return Job(
        name=name.key,
        inputs=tuple(date.path for date in dates),
        outputs=tuple(raw / f"{name.key}{end}.tif" for end in ("_prob", "_std", "_count", "")),
        settings={
            "threshold": value,
            **({} if share is None else {"share": share}),
            **({} if classes.by_threshold else {"decision": classes.decision(value)}),
            **({"doubts": list(doubts)} if doubts else {}),
            **({"joined": True} if joined else {}),
            **({} if as_tagged else {"city": name.key, "year": name.year}),
        },
        pixels=grid.pixels * len(dates),
        context=_City(name, tuple(dates), grid, value, classes, doubts, joined, share),
    )


@dataclass(frozen=True)
class _City:
    """A city's map, its dates, the grid they are averaged on, and how its pixels are decided.

    `doubts` are those about the model; `joined`: some dates lie beside others; `share` is that of
    the mapped class in training where the threshold follows the city's own.
    """

    name: MapName
    dates: tuple[_Date, ...]
    grid: Grid
    threshold: float
    classes: Classes
    doubts: tuple[str, ...]
    joined: bool = False
    share: float | None = None

    @property
    def layers(self) -> list[list[int]]:
        """The numbers of the rasters of each date: one, or the parts of one day."""
        layers: list[list[int]] = []
        for number, raster in enumerate(self.dates):
            for layer in layers:
                own = [self.dates[i] for i in layer]
                apart = not any(raster.grid.matches(o.grid, SAME_CITY_TOLERANCE) for o in own)
                if self.joined and raster.day and raster.day == own[0].day and apart:
                    layer.append(number)
                    break
            else:
                layers.append([number])
        return layers

    def tags(self, kind: str, doubts: tuple[str, ...]) -> PredictionTags:
        """What a raster of the city says of itself: no scene, the common grid."""
        return replace(
            self.dates[0].tags,
            scene="",
            city=self.name.key,
            year=self.name.year,
            width=self.grid.width,
            height=self.grid.height,
            threshold=self.threshold,
            share=self.share,
            adapted=next((d.tags.adapted for d in self.dates if d.tags.adapted), ""),
            doubts=doubts,
        ).of_kind(kind)


def _aggregate(job: Job) -> dict[str, int]:
    city: _City = job.context
    prob_path, std_path, count_path, mask_path = job.outputs
    bands, layers = city.dates[0].bands, len(city.layers)
    with gdal_env(), ExitStack() as stack:
        sources = [_open_date(date, city.grid, stack) for date in city.dates]
        city = _decided(city, sources)
        # the mask is entered first and so finished last: it stands for the city
        mask = stack.enter_context(
            create_cog(mask_path, city.grid, resampling="mode", count=1, **_BYTES)
        )
        count = stack.enter_context(
            create_cog(count_path, city.grid, resampling="nearest", count=1, **_counted(layers))
        )
        std = stack.enter_context(
            create_cog(std_path, city.grid, count=1, dtype="float32", nodata=math.nan)
        )
        prob = stack.enter_context(create_cog(prob_path, city.grid, count=bands, **_BYTES))
        prob.descriptions = sources[0].descriptions
        describe_probability(prob)
        levels = _average_blocks(city, sources, _Outputs(prob, std, count, mask))
        mapped = city.classes.mapped
        doubts = (*city.doubts, *map_doubts(levels, city.threshold, mapped))
        for kind, out in (("classes", mask), ("count", count), ("std", std), ("prob", prob)):
            write_tags(out, city.tags(kind, doubts))
    if city.joined:
        return {"dates": layers, "rasters": len(city.dates)}
    warped = sum(not d.grid.matches(city.grid, SAME_CITY_TOLERANCE) for d in city.dates)
    return {"dates": layers, **({"warped": warped} if warped else {})}


def _counted(dates: int) -> dict[str, Any]:
    """The profile of a raster of numbers of dates; the largest of its type is no-data."""
    if dates < NODATA:
        return _BYTES
    return {"dtype": "uint16", "nodata": np.iinfo(np.uint16).max}


def _open_date(date: _Date, grid: Grid, stack: ExitStack) -> Any:
    dataset: DatasetReader = stack.enter_context(open_raster(date.path))
    if date.grid.matches(grid, SAME_CITY_TOLERANCE):
        return dataset
    return stack.enter_context(
        WarpedVRT(
            dataset,
            crs=grid.crs,
            transform=grid.transform,
            width=grid.width,
            height=grid.height,
            resampling=Resampling.bilinear,
            src_nodata=NODATA,
            nodata=NODATA,
            warp_mem_limit=32,
        )
    )


@dataclass(frozen=True)
class _Outputs:
    """The four rasters of a city, open for writing."""

    prob: DatasetWriter
    std: DatasetWriter
    count: DatasetWriter
    mask: DatasetWriter


def _average_blocks(
    city: _City, sources: Sequence[DatasetReader], out: _Outputs
) -> NDArray[np.int64]:
    """Write all rasters; returns the valid pixels at each level of the mapped class, (255,)."""
    mapped = mapped_band(city.dates[0].bands, city.classes.mapped_index) - 1
    levels = np.zeros(LEVELS + 1, np.int64)
    layers = city.layers
    for block in _blocks(city.grid):
        average = averaged(layers, sources, block)
        mean = average.mean()
        label = city.classes.decide(mean, city.threshold)
        out.prob.write(mean, window=block.rasterio)
        out.std.write(average.deviation(mapped), 1, window=block.rasterio)
        out.count.write(average.count.astype(out.count.dtypes[0]), 1, window=block.rasterio)
        out.mask.write(label, 1, window=block.rasterio)
        levels += np.bincount(mean[mapped].ravel(), minlength=LEVELS + 1)
    return levels[:LEVELS]


def _decided(city: _City, sources: Sequence[DatasetReader]) -> _City:
    """The city with the threshold that its own share of the mapped class asks for."""
    if city.share is None:
        return city
    mapped = mapped_band(city.dates[0].bands, city.classes.mapped_index) - 1
    levels = np.zeros(LEVELS + 1, np.int64)
    layers, blocks = city.layers, list(_blocks(city.grid))
    most = min(len(blocks), TELLING_BLOCKS)
    for block in (blocks[i * len(blocks) // most] for i in range(most)):
        mean = averaged(layers, sources, block).mean()
        levels += np.bincount(mean[mapped].ravel(), minlength=LEVELS + 1)
    return replace(city, threshold=prior_shift(levels[:LEVELS], city.threshold, city.share))


def _blocks(grid: Grid) -> Iterator[Window]:
    for y in range(0, grid.height, BLOCK):
        for x in range(0, grid.width, BLOCK):
            yield Window(y, x, min(BLOCK, grid.height - y), min(BLOCK, grid.width - x))
