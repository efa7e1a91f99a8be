"""What the headers of a scene's files say: bands, grids, no-data, scale and declared units.

Headers are read first, of all scenes: one that cannot be used is refused before anything is
written. Every command that reads radar files asks here, and says by a `Judgement` what it takes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader

from builtup.errors import BuiltupError, GridError, InputError
from builtup.geo.grid import Grid
from builtup.geo.locations import Location
from builtup.geo.open_raster import Raster, open_location
from builtup.geo.rasters import gdal_env
from builtup.geo.target_grid import check_place, shared_ground, target_grid
from builtup.jobs.executors import map_threads
from builtup.sensors.radar import bands as rule
from builtup.sensors.radar.scenes import Band, Scene
from builtup.sensors.radar.sentinel1 import METRES

__all__ = [
    "CHAIN",
    "PREDICT",
    "BandHeader",
    "Judgement",
    "SceneHeaders",
    "judge_headers",
    "open_rasters",
    "read_each",
    "read_headers",
    "usable_headers",
]

#: VH on another grid than VV is warped onto it where they share this much of the smaller one.
LEAST_SHARED = 0.9
#: Backscatter in decibels lies between these: the noise of Sentinel-1 is at −30, and a median of
#: power is never that far below 0, noise subtracted or not.
DECIBELS = (-90.0, -1.0)
#: Names of ASF's terrain-corrected products say their unit: `…_RTC10_G_gpuned_…`.
_HYP3 = re.compile(r"_RTC\d\d_[A-Z]_[gs]([pda])[uw][nf][ec][dm]_")
_HYP3_UNITS = {"p": "power", "d": "decibel", "a": "amplitude"}
_UNIT_TAG = re.compile(r"unit|scal|backscatter|calibration|radiometr|conversion", re.IGNORECASE)


@dataclass(frozen=True)
class Judgement:
    """What a command takes as a scene.

    `converts`: integers, files of several bands, declared scales, offsets and units are understood
    and become power; else a file holds one band of floating point, which is power as it stands.
    `resamples`: another grid of VH, and pixels that are not those that networks are trained on,
    are warped; else VV and VH lie on one grid, on which they are read.
    """

    converts: bool
    resamples: bool


#: The steps of the chain: what they write is the scene's own pixels, and decibels pass as power.
CHAIN = Judgement(converts=False, resamples=False)
#: `predict`: other people's files.
PREDICT = Judgement(converts=True, resamples=True)


@dataclass(frozen=True)
class BandHeader:
    """One polarisation as it is stored: a band of a file, its grid, no-data, scale and unit.

    Power, amplitude or decibels are `stored * scale + offset`; `unit` is empty until it is judged
    (`builtup.sensors.radar.units`), `declared` what file and catalogue say of it, each with its
    place. `integer`: whole numbers without a scale.
    """

    location: Location
    band: int
    grid: Grid
    nodata: float | None
    scale: float = 1.0
    offset: float = 0.0
    integer: bool = False
    declared: tuple[str, ...] = ()
    unit: str = ""

    @property
    def is_power(self) -> bool:
        """Whether values are linear power as they are stored."""
        return self.unit in {"", "power"} and (self.scale, self.offset) == (1.0, 0.0)

    def unmeasured(self, stored: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Pixels without a measurement, of values as they are stored: see `bands.invalid`.

        Where the file's scale makes decibels of −9999 (thousandths of one), that is a measurement.
        """
        decibels = rule.NODATA_POWER * self.scale + self.offset
        measured = DECIBELS[0] < decibels < DECIBELS[1]
        return rule.unmeasured(stored, self.nodata, -np.inf if measured else rule.NODATA_POWER)


@dataclass(frozen=True)
class SceneHeaders:
    """A scene whose headers were read; `grid` is what it is read on, `remarks` what is warned of.

    `sampled` is a digest of the values that its units were judged by, empty until then.
    """

    scene: Scene
    vv: BandHeader
    vh: BandHeader
    grid: Grid
    remarks: tuple[str, ...] = ()
    sampled: str = ""

    @property
    def bands(self) -> tuple[BandHeader, BandHeader]:
        """VV and VH."""
        return self.vv, self.vh

    @property
    def joint(self) -> bool:
        """Whether VV and VH lie on one grid."""
        return self.vv.grid.matches(self.vh.grid)


def read_headers(scene: Scene, judgement: Judgement) -> SceneHeaders:
    """Read the headers of a scene; raise InputError or GridError where it cannot be used."""
    with gdal_env(), open_rasters(scene) as rasters:
        return judge_headers(scene, rasters, judgement)


def read_each(
    scenes: Sequence[Scene], judgement: Judgement
) -> Iterator[SceneHeaders | BuiltupError]:
    """The headers of each scene in turn, or why it cannot be used; many are read at once."""
    return map_threads(lambda scene: read_headers(scene, judgement), scenes)


def usable_headers(
    scenes: Sequence[Scene], judgement: Judgement
) -> tuple[list[SceneHeaders], list[BuiltupError]]:
    """The headers of the scenes that can be used, and a problem for each other."""
    usable: list[SceneHeaders] = []
    problems: list[BuiltupError] = []
    for headers in read_each(scenes, judgement):
        if isinstance(headers, BuiltupError):
            problems.append(headers)
        else:
            usable.append(headers)
    return usable, problems


@contextmanager
def open_rasters(scene: Scene) -> Iterator[Mapping[Location, Raster]]:
    """The files of a scene, open; InputError for one that cannot be opened."""
    with ExitStack() as stack:
        yield {place: stack.enter_context(open_location(place)) for place in scene.locations}


def judge_headers(
    scene: Scene, rasters: Mapping[Location, Raster], judgement: Judgement
) -> SceneHeaders:
    """The headers of open files; raise InputError or GridError where they are no scene together."""
    vv, vh = (
        _band_header(rasters[band.location].dataset, band, name, judgement)
        for name, band in (("vv", scene.vv), ("vh", scene.vh))
    )
    if (vv.location, vv.band) == (vh.location, vh.band):
        problem = f"its band {vv.band} would be both VV and VH"
        raise InputError(scene.shown, problem, "give the file of each, or one with a band of each")
    remarks = []
    difference = vv.grid.difference(vh.grid)
    if difference is not None:
        _check_shared_ground(scene, vv.grid, vh.grid, difference, judgement)
        remarks.append(f"VH is warped onto the grid of VV ({difference})")
    grid = target_grid(vv.grid, scene.shown, METRES) if judgement.resamples else vv.grid
    if grid != vv.grid:
        x, y = vv.grid.metres_per_pixel
        remarks.append(
            f"resampled in linear power from {x:.4g} x {y:.4g} m in {vv.grid.crs.to_string()[:40]} "
            f"to {METRES:.0f} m in {grid.crs.to_string()[:40]}, as the model was trained"
        )
    return SceneHeaders(scene, vv, vh, grid, tuple(remarks))


def _check_shared_ground(
    scene: Scene, vv: Grid, vh: Grid, difference: str, judgement: Judgement
) -> None:
    """GridError for a VH whose grid is too far from that of VV."""
    other = scene.vh.location.shown
    if not judgement.resamples:
        raise GridError(
            scene.shown,
            f"not on the grid of {other}: {difference}",
            "export both polarisations on one grid (gdalwarp -tr -te -t_srs)",
        )
    shared = shared_ground(vv, vh)
    if shared < LEAST_SHARED:
        problem = f"shares {shared:.0%} of its ground with {other} ({difference})"
        raise GridError(scene.shown, problem, "give VV and VH of the same scene")


def _band_header(dataset: DatasetReader, band: Band, name: str, judgement: Judgement) -> BandHeader:
    shown = band.location.shown
    if not judgement.converts:
        _check_plain(dataset, shown)
    number = band.number or _band_of(dataset, name, shown)
    if number > dataset.count:
        raise InputError(shown, f"has no band {number}", "check the item's bands")
    grid = _grid_of(dataset, shown)
    kind = np.dtype(dataset.dtypes[number - 1])
    if kind.kind not in "fiu":
        raise InputError(shown, f"holds {kind} values", "detect and calibrate it (docs/data.md)")
    nodata = dataset.nodatavals[number - 1]
    if not judgement.converts:
        return BandHeader(band.location, number, grid, nodata, unit="power")
    scale, offset = dataset.scales[number - 1], dataset.offsets[number - 1]
    return BandHeader(
        location=band.location,
        band=number,
        grid=grid,
        nodata=nodata,
        scale=scale,
        offset=offset,
        integer=kind.kind in "iu" and (scale, offset) == (1.0, 0.0),
        declared=(*band.declared, *_declared(dataset, number, band.location.stem)),
    )


def _check_plain(dataset: DatasetReader, shown: str) -> None:
    """InputError for a file that is not one band of floating point."""
    if dataset.count != 1:
        raise InputError(
            shown,
            f"holds {dataset.count} bands, one polarisation a file is read",
            "split it (gdal_translate -b 1, -b 2)",
        )
    if not np.issubdtype(np.dtype(dataset.dtypes[0]), np.floating):
        raise InputError(
            shown,
            f"holds {dataset.dtypes[0]} values, not linear power as float32",
            "calibrate the product first (docs/data.md)",
        )


def _grid_of(dataset: DatasetReader, shown: str) -> Grid:
    """The grid of a file; InputError where it does not say where on Earth it lies."""
    if dataset.crs and not dataset.transform.is_identity:
        grid = Grid.of(dataset)
        check_place(grid, shown)
        return grid
    correct = "terrain-correct it to a map first (docs/data.md)"
    if dataset.gcps[0]:
        raise InputError(shown, "ground control points only", correct)
    if not dataset.transform.is_identity:
        raise InputError(shown, "no CRS, so no georeference", "give it one (gdal_edit.py -a_srs)")
    raise InputError(shown, "no georeference", correct)


def _band_of(dataset: DatasetReader, name: str, shown: str) -> int:
    """The band of a polarisation: the only one, or the one described so."""
    if dataset.count == 1:
        return 1
    described = [text or "" for text in dataset.descriptions]
    exact = [i for i, text in enumerate(described, 1) if text.strip().lower() == name]
    pattern = re.compile(rf"(?<![a-z]){name}(?![a-z])", re.IGNORECASE)
    found = exact or [i for i, text in enumerate(described, 1) if pattern.search(text)]
    if len(found) != 1:
        listed = ", ".join(text or "-" for text in described[:8])
        raise InputError(
            shown,
            f"{dataset.count} bands, {len(found)} described as {name.upper()} ({listed})",
            "describe its bands VH and VV (gdal_edit.py does not; rio edit-info or QGIS does)",
        )
    return found[0]


def _declared(dataset: DatasetReader, number: int, stem: str) -> Iterator[str]:
    """What a file declares of its values' unit: unit, tags, description, name."""
    if dataset.units[number - 1]:
        yield f"unit: {dataset.units[number - 1]}"
    for tags in (dataset.tags(number), dataset.tags()):
        for key, value in sorted(tags.items()):
            if _UNIT_TAG.search(key):
                yield f"tag {key}: {value[:80]}"
    if dataset.descriptions[number - 1]:
        yield f"description: {dataset.descriptions[number - 1]}"
    product = _HYP3.search(stem)
    if product:
        yield f"name {stem}: {_HYP3_UNITS[product[1]]}"
    if re.search(r"(?<![A-Za-z])(db|amplitude|amp|power|linear)(?![A-Za-z])", stem, re.IGNORECASE):
        yield f"name: {stem}"
