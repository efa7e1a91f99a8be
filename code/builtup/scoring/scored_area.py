"""The ground on which a map is scored: polygons of truth, and the limits of what counts.

A pixel counts where the map is valid, inside the labelled area, if the city has one, and inside
`scored_area.gpkg` of the predictions, if somebody put such polygons there: no step does. (Of a
held-out block nothing else is predicted, so the map itself is the limit.) Truth is what the
polygons touch, as in training.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from builtup.errors import InputError
from builtup.geo.burn import Burner
from builtup.geo.grid import Grid
from builtup.geo.probability import IGNORE, NODATA, mapped_band
from builtup.geo.rasters import gdal_env, open_raster, read_window
from builtup.geo.reprojection import reproject
from builtup.geo.vectors import PolygonSet, read_polygons
from builtup.geo.windows import Window, aligned
from builtup.runs.results import CityRasters, PredictionTags, Results, base_city, read_tags
from builtup.sensors.classes import Classes
from builtup.sensors.radar.names import current_key
from builtup.tiles.labels import labelled_area, truths_below

__all__ = [
    "SCORED_AREA",
    "ScoredCity",
    "eroded",
    "find_truths",
    "open_scored_city",
    "read_scored_area",
    "truth_below",
]

log = logging.getLogger(__name__)

#: A file of polygons in the predictions' folder: scores are restricted to them.
SCORED_AREA = "scored_area.gpkg"
#: Rows and columns that are read at once.
WINDOW = (512, 2048)


def find_truths(
    cities: Iterable[CityRasters], root: Path
) -> tuple[list[tuple[CityRasters, Path]], list[str]]:
    """The polygons of each city below a split, and the cities that have none.

    InputError where a city's polygons stand twice, or where no city has any.
    """
    known, unknown = [], []
    remedy = "give the split that holds <City>_<year>/<TILE>_<City>.shp"
    for rasters in cities:
        tags = read_tags(rasters.mask)
        if tags.sensor:  # of a camera, whose scenes have masks
            remedy = "validate scores images by masks: gt_layer=masks, gt_path the folder above it"
        truth = truth_below(root, rasters.city, tags.year if tags.city == rasters.city else "")
        if truth is not None:
            known.append((rasters, truth))
        else:
            unknown.append(rasters.city)
    if not known:
        raise InputError(
            root,
            f"no ground truth of any predicted city ({', '.join(unknown)})",
            remedy,
        )
    return known, unknown


def truth_below(root: Path, key: str, year: str) -> Path | None:
    """The polygons, below a split, of the map or scene of that key, of a `year` unless it is empty.

    None where there are none, InputError where they stand twice.
    """
    files = truths_below(root, current_key(base_city(key, year)), year)
    if len(files) > 1:
        raise InputError(
            files[0],
            f"ground truth of {key} stands in {files[1].parent} as well",
            "give a folder that holds one of them",
        )
    return files[0] if files else None


def read_scored_area(results: Results) -> PolygonSet | None:
    """The polygons of `scored_area.gpkg`, or None where there is no such file."""
    path = results.folder / SCORED_AREA
    return read_polygons(path) if path.exists() else None


def eroded(truth: NDArray[np.uint8], radius: int) -> NDArray[np.uint8]:
    """Class numbers (H, W), 255 where another class lies within a disc of `radius` pixels.

    As the ISPRS benchmarks erode theirs, whose outlines are uncertain. Pixels that are 255 are of
    no class and take nothing away.
    """
    height = len(truth)
    least = np.pad(truth, ((radius, radius), (0, 0)), constant_values=IGNORE)
    most = np.pad(np.where(truth == IGNORE, 0, truth), ((radius, radius), (0, 0)))
    alike = truth != IGNORE
    for down in range(2 * radius + 1):
        across = 2 * math.isqrt(radius**2 - (down - radius) ** 2) + 1
        rows = slice(down, down + height)
        alike &= minimum_filter1d(least[rows], across, mode="constant", cval=IGNORE) >= truth
        alike &= maximum_filter1d(most[rows], across, mode="constant", cval=0) <= truth
    return np.where(alike, truth, np.uint8(IGNORE))


@dataclass(frozen=True)
class ScoredCity:
    """A city's rasters, open, and its ground truth in their CRS.

    `mask` holds the class of each pixel. `truth` burns the `polygons`, which are of the mapped
    class, `areas` the limits within which pixels count.
    """

    mask: DatasetReader
    prob: DatasetReader
    tags: PredictionTags
    classes: Classes
    grid: Grid
    polygons: PolygonSet
    truth: Burner
    areas: tuple[Burner, ...]

    def counted(self, window: Window, mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which pixels of a window count."""
        counted = mask != NODATA
        for area in self.areas:
            counted &= area.burn(window) == 1
        return counted

    def levels(self, window: Window, counted: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """The mapped class's 8-bit probability of the pixels of a window that count, flat.

        InputError where one of them has none.
        """
        band = mapped_band(self.prob.count, self.classes.mapped_index)
        levels: NDArray[np.uint8] = read_window(self.prob, window, band)[counted]
        if (levels == NODATA).any():
            raise InputError(
                self.mask.name,
                f"valid where {Path(self.prob.name).name} has no data",
                "run all_agg_by_city again",
            )
        return levels

    def mapped(self, mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which pixels of a window's mask are of the mapped class."""
        return mask == self.classes.mapped_index

    def windows(self) -> Iterator[Window]:
        """Windows that cover the city, of a size to be read at once."""
        return aligned(self.grid.width, self.grid.height, WINDOW)


@contextmanager
def open_scored_city(
    rasters: CityRasters, truth: Path, scored_area: PolygonSet | None
) -> Iterator[ScoredCity]:
    """Open a city's rasters and read its polygons (`truth`) and its labelled area beside them."""
    labelled = labelled_area(truth)
    with gdal_env(), open_raster(rasters.mask) as mask, open_raster(rasters.prob) as prob:
        grid, tags = Grid.of(mask), read_tags(mask)
        polygons = reproject(read_polygons(truth), grid.crs)
        areas = [] if labelled is None else [read_polygons(labelled)]
        areas += [] if scored_area is None else [scored_area]
        city = ScoredCity(
            mask,
            prob,
            tags,
            tags.class_set,
            grid,
            polygons,
            Burner.of(polygons, grid, all_touched=True),
            tuple(Burner.of(reproject(area, grid.crs), grid, all_touched=False) for area in areas),
        )
        if not len(city.truth):
            log.warning("%s: its polygons do not meet %s; check their CRS", truth, rasters.mask)
        yield city
