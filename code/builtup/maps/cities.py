"""Averaging the dates of each city into its probability, disagreement, count and mask.

The dates are averaged on the grid that most of them have; the others are warped onto it. A date
counts where it is valid, so a gap in one date weakens nothing in the others.
"""

from __future__ import annotations

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
from builtup.geo.grid import SAME_CITY_TOLERANCE, Grid, common_grid
from builtup.geo.probability import NODATA, SCALE, level_of, parse_threshold
from builtup.geo.rasters import create_cog, gdal_env, open_raster, read_window
from builtup.geo.windows import Window
from builtup.jobs.steps import Job, Step, Summary, run_step
from builtup.runs.results import (
    PredictionTags,
    Results,
    read_tags,
    resolve_results,
    scene_rasters,
    upload_results,
    write_tags,
)
from builtup.sensors.radar.names import SceneName

__all__ = ["all_agg_by_city"]

STEP = Step("all_agg_by_city", 2)
#: Side of the blocks that are worked on, and of those of the COGs.
BLOCK = 512
_BYTES: dict[str, Any] = {"dtype": "uint8", "nodata": NODATA}


def all_agg_by_city(
    *,
    input_path: str = "",
    run_id: str = "",
    threshold: str = "",
    num_workers: int = 2,
    on_error: str = "stop",
) -> Summary:
    """Average the dates of each city of a set of predictions and threshold the mean.

    Writes, as COGs on one grid, `raw/<TILE>_<City>_prob.tif` (mean, uint8, 255 no-data),
    `_std.tif` (float32, standard deviation of the dates' probabilities over all dates, NaN below
    two), `_count.tif` (valid dates; uint8, above 254 dates uint16) and the mask
    `raw/<TILE>_<City>.tif` (0, 1, 255).
    `threshold` replaces that of the tags. Raises InputError where scenes do not fit together.
    """
    results = resolve_results(input_path, run_id)
    chosen = parse_threshold(threshold)
    jobs, problems = _find_jobs(results, chosen)
    summary = run_step(
        STEP,
        jobs,
        _aggregate,
        num_workers=num_workers,
        on_error=on_error,
        problems=problems,
        noun="cities",
    )
    upload_results(results)
    return summary


@dataclass(frozen=True)
class _Date:
    """The probability raster of one scene."""

    path: Path
    date: str
    tags: PredictionTags
    grid: Grid
    bands: int


def _find_jobs(results: Results, threshold: float | None) -> tuple[list[Job], list[BuiltupError]]:
    by_city: dict[str, list[_Date]] = defaultdict(list)
    problems: list[BuiltupError] = []
    for path in scene_rasters(results):
        try:
            date = _read_date(path)
        except BuiltupError as e:
            problems.append(e)
            continue
        by_city[date.tags.city].append(date)
    if not by_city and not problems:
        raise InputError(results.raw, "no probability raster of a scene", "run merge_tiles first")
    jobs = []
    for city, dates in sorted(by_city.items()):
        try:
            jobs.append(_job(city, dates, threshold, results.raw))
        except BuiltupError as e:
            problems.append(e)
    return jobs, problems


def _read_date(path: Path) -> _Date:
    name = SceneName.parse(path)
    with gdal_env(), open_raster(path) as dataset:
        if dataset.dtypes[0] != "uint8":
            raise InputError(path, f"values of type {dataset.dtypes[0]}", "run merge_tiles again")
        tags = read_tags(dataset)
        date = name.date if name is not None else tags.date
        # the number of a second image of one day stands behind the date
        return _Date(path, date + path.stem, tags, Grid.of(dataset), dataset.count)


def _job(city: str, dates: Sequence[_Date], threshold: float | None, raw: Path) -> Job:
    first = dates[0]
    for date in dates[1:]:
        if date.bands != first.bands or date.tags.classes != first.tags.classes:
            raise InputError(
                date.path, f"other classes than {first.path.name}", "aggregate one run at a time"
            )
        if threshold is None and date.tags.threshold != first.tags.threshold:
            raise InputError(
                date.path,
                f"threshold {date.tags.threshold}, that of {first.path.name} is "
                f"{first.tags.threshold}",
                "give threshold",
            )
    value = first.tags.threshold if threshold is None else threshold
    grid = common_grid([d.grid for d in sorted(dates, key=lambda d: d.date)])
    names = ("_prob", "_std", "_count", "")
    return Job(
        name=city,
        inputs=tuple(date.path for date in dates),
        outputs=tuple(raw / f"{city}{name}.tif" for name in names),
        settings={"threshold": value},
        pixels=grid.pixels * len(dates),
        context=_City(city, tuple(dates), grid, value),
    )


@dataclass(frozen=True)
class _City:
    """A city's dates, the grid they are averaged on, and the threshold of the mean."""

    key: str
    dates: tuple[_Date, ...]
    grid: Grid
    threshold: float

    @property
    def tags(self) -> PredictionTags:
        """What the city's rasters say of themselves: no scene, the common grid."""
        return replace(
            self.dates[0].tags,
            scene="",
            width=self.grid.width,
            height=self.grid.height,
            threshold=self.threshold,
        )

    @property
    def building_band(self) -> int:
        """Index of the building's band: the only one, or that of class 1."""
        return 0 if self.dates[0].bands == 1 else 1


def _aggregate(job: Job) -> dict[str, int]:
    city: _City = job.context
    prob_path, std_path, count_path, mask_path = job.outputs
    bands = city.dates[0].bands
    with gdal_env(), ExitStack() as stack:
        sources = [_open_date(date, city.grid, stack) for date in city.dates]
        # the mask is entered first and so finished last: it stands for the city
        mask = stack.enter_context(
            create_cog(mask_path, city.grid, resampling="mode", count=1, **_BYTES)
        )
        count = stack.enter_context(
            create_cog(
                count_path, city.grid, resampling="nearest", count=1, **_counted(len(sources))
            )
        )
        std = stack.enter_context(
            create_cog(std_path, city.grid, count=1, dtype="float32", nodata=math.nan)
        )
        prob = stack.enter_context(create_cog(prob_path, city.grid, count=bands, **_BYTES))
        prob.descriptions = sources[0].descriptions
        for out in (mask, count, std, prob):
            write_tags(out, city.tags)
        _average_blocks(city, sources, _Outputs(prob, std, count, mask))
    warped = sum(not d.grid.matches(city.grid, SAME_CITY_TOLERANCE) for d in city.dates)
    return {"dates": len(city.dates), **({"warped": warped} if warped else {})}


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


def _average_blocks(city: _City, sources: Sequence[DatasetReader], out: _Outputs) -> None:
    level = level_of(city.threshold)
    for block in _blocks(city.grid):
        average = _Average.of([read_window(source, block) for source in sources])
        mean = average.mean()
        building = mean[city.building_band]
        mask = np.where(building == NODATA, np.uint8(NODATA), (building >= level).astype(np.uint8))
        out.prob.write(mean, window=block.rasterio)
        out.std.write(average.deviation(city.building_band), 1, window=block.rasterio)
        out.count.write(average.count.astype(out.count.dtypes[0]), 1, window=block.rasterio)
        out.mask.write(mask, 1, window=block.rasterio)


def _blocks(grid: Grid) -> Iterator[Window]:
    for y in range(0, grid.height, BLOCK):
        for x in range(0, grid.width, BLOCK):
            yield Window(y, x, min(BLOCK, grid.height - y), min(BLOCK, grid.width - x))


@dataclass(frozen=True)
class _Average:
    """Integer sums over the dates: values and squares (bands, H, W), valid dates (H, W)."""

    total: NDArray[np.int32]
    squares: NDArray[np.int32]
    count: NDArray[np.int32]

    @classmethod
    def of(cls, dates: Sequence[NDArray[np.uint8]]) -> _Average:
        total = np.zeros(dates[0].shape, np.int32)
        squares = np.zeros_like(total)
        count = np.zeros(total.shape[1:], np.int32)
        for values in dates:
            valid = (values != NODATA).all(axis=0)
            counted = np.where(valid, values, 0).astype(np.int32)
            total += counted
            squares += counted * counted
            count += valid
        return cls(total, squares, count)

    def mean(self) -> NDArray[np.uint8]:
        """The dates' mean, rounded half up; 255 where no date is valid."""
        n = np.maximum(self.count, 1)
        mean = ((2 * self.total + n) // (2 * n)).astype(np.uint8)
        mean[:, self.count == 0] = NODATA
        return mean

    def deviation(self, band: int) -> NDArray[np.float32]:
        """Standard deviation of the dates' probabilities, NaN below two dates."""
        n = self.count.astype(np.int64)
        total, squares = self.total[band].astype(np.int64), self.squares[band].astype(np.int64)
        deviation = np.sqrt(n * squares - total * total) / (np.maximum(n, 1) * SCALE)
        return np.where(n >= 2, deviation, np.nan).astype(np.float32)
