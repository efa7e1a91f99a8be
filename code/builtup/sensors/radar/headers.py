"""What the files of a scene are: bands, grids and units, and the grid it is predicted on.

Headers are read first, of all scenes, and values where their unit must be known: a scene that
cannot be used is refused before anything is written.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader

from builtup.errors import GridError, InputError
from builtup.geo.grid import Grid
from builtup.geo.locations import Location
from builtup.geo.open_raster import Raster, as_float, open_location
from builtup.geo.rasters import gdal_env
from builtup.geo.target_grid import METRES, check_place, shared_ground, target_grid
from builtup.geo.windows import Window, aligned
from builtup.sensors.radar import bands as rule
from builtup.sensors.radar.scenes import Band, Scene
from builtup.sensors.radar.units import LEAST_POWER, Evidence, Verdict, unit_of

__all__ = ["Polarisation", "Survey", "measure", "survey"]

log = logging.getLogger(__name__)

#: VH on another grid than VV is warped onto it where they share this much of the smaller one.
LEAST_SHARED = 0.9
#: Windows that are sampled, along each axis, and their side in pixels: of plain files, and of
#: those elsewhere, of which each window costs a request.
LATTICE, LATTICE_ELSEWHERE = (8, 32), (3, 64)
#: Names of ASF's terrain-corrected products say their unit: `…_RTC10_G_gpuned_…`.
_HYP3 = re.compile(r"_RTC\d\d_[A-Z]_[gs]([pda])[uw][nf][ec][dm]_")
_HYP3_UNITS = {"p": "power", "d": "decibel", "a": "amplitude"}
_UNIT_TAG = re.compile(r"unit|scal|backscatter|calibration|radiometr|conversion", re.IGNORECASE)


#: No backscatter is as low, in decibels: the noise of Sentinel-1 is at −30.
LEAST_DB = -90.0


@dataclass(frozen=True)
class Polarisation:
    """One polarisation as it is stored: a band of a file, its grid, no-data, scale and unit."""

    location: Location
    band: int
    grid: Grid
    nodata: float | None
    scale: float
    offset: float
    integer: bool
    said: tuple[str, ...]
    unit: str = ""

    def unmeasured(self, stored: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Pixels without a measurement, of values as they are stored: see `bands.invalid`.

        Where the file's scale makes decibels of −9999 (thousandths of one), that is a measurement.
        """
        decibels = rule.NODATA_POWER * self.scale + self.offset
        measured = LEAST_DB < decibels < LEAST_POWER
        return rule.unmeasured(stored, self.nodata, -np.inf if measured else rule.NODATA_POWER)


@dataclass(frozen=True)
class Survey:
    """A scene whose headers were read; `grid` is what it is predicted on."""

    scene: Scene
    vv: Polarisation
    vh: Polarisation
    grid: Grid
    remarks: tuple[str, ...] = ()

    @property
    def joint(self) -> bool:
        """Whether VV and VH lie on one grid."""
        return self.vv.grid.matches(self.vh.grid)


def survey(scene: Scene) -> Survey:
    """Read the headers of a scene; raise InputError or GridError where it cannot be used."""
    with gdal_env(), ExitStack() as stack:
        open_rasters = {
            location: stack.enter_context(open_location(location)) for location in scene.locations
        }
        vv = _polarisation(open_rasters[scene.vv.location], scene.vv, "vv")
        vh = _polarisation(open_rasters[scene.vh.location], scene.vh, "vh")
    name = scene.vv.location.shown
    if (vv.location, vv.band) == (vh.location, vh.band):
        problem = f"its band {vv.band} would be both VV and VH"
        raise InputError(name, problem, "give the file of each, or one with a band of each")
    difference = vv.grid.difference(vh.grid)
    remarks = []
    if difference is not None:
        shared = shared_ground(vv.grid, vh.grid)
        if shared < LEAST_SHARED:
            raise GridError(
                name,
                f"shares {shared:.0%} of its ground with {scene.vh.location.shown} ({difference})",
                "give VV and VH of the same scene",
            )
        remarks.append(f"VH is warped onto the grid of VV ({difference})")
    grid = target_grid(vv.grid, name)
    if grid != vv.grid:
        x, y = vv.grid.metres_per_pixel
        remarks.append(
            f"resampled in linear power from {x:.4g} x {y:.4g} m in {vv.grid.crs.to_string()[:40]} "
            f"to {METRES:.0f} m in {grid.crs.to_string()[:40]}, as the model was trained"
        )
    return Survey(scene, vv, vh, grid, tuple(remarks))


def _polarisation(raster: Raster, band: Band, name: str) -> Polarisation:
    dataset, shown = raster.dataset, band.location.shown
    number = band.number or _band_of(dataset, name, shown)
    if number > dataset.count:
        raise InputError(shown, f"has no band {number}", "check the item's bands")
    if not dataset.crs or dataset.transform.is_identity:
        points = "ground control points only" if dataset.gcps[0] else "no georeference"
        problem = points if not dataset.crs or dataset.gcps[0] else "no georeference"
        raise InputError(shown, problem, "terrain-correct it to a map first (docs/data.md)")
    grid = Grid.of(dataset)
    check_place(grid, shown)
    kind = np.dtype(dataset.dtypes[number - 1])
    if kind.kind not in "fiu":
        raise InputError(shown, f"holds {kind} values", "detect and calibrate it (docs/data.md)")
    scale, offset = dataset.scales[number - 1], dataset.offsets[number - 1]
    return Polarisation(
        location=band.location,
        band=number,
        grid=grid,
        nodata=dataset.nodatavals[number - 1],
        scale=scale,
        offset=offset,
        integer=kind.kind in "iu" and (scale, offset) == (1.0, 0.0),
        said=(*band.said, *_said(dataset, number, band.location.stem)),
    )


def _band_of(dataset: DatasetReader, name: str, shown: str) -> int:
    """The band of a polarisation: the only one, or the one described so."""
    if dataset.count == 1:
        return 1
    described = [text or "" for text in dataset.descriptions]
    exact = [i for i, text in enumerate(described, 1) if text.strip().lower() == name]
    pattern = re.compile(rf"(?<![a-z]){name}(?![a-z])", re.IGNORECASE)
    found = exact or [i for i, text in enumerate(described, 1) if pattern.search(text)]
    if len(found) != 1:
        said = ", ".join(text or "-" for text in described[:8])
        raise InputError(
            shown,
            f"{dataset.count} bands, {len(found)} described as {name.upper()} ({said})",
            "describe its bands VH and VV (gdal_edit.py does not; rio edit-info or QGIS does)",
        )
    return found[0]


def _said(dataset: DatasetReader, number: int, stem: str) -> Iterator[str]:
    """What a file says of its values' unit: unit, tags, description, name."""
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


@dataclass(frozen=True)
class Measured:
    """A survey with units, and a digest of the values that were sampled."""

    survey: Survey
    sampled: str


def measure(found: Survey, given: str) -> Measured:
    """Sample a scene's values to know its units; say what was taken for what.

    Raises InputError where the scene has no valid pixel, or a unit cannot be known.
    """
    with gdal_env(), ExitStack() as stack:
        rasters = {
            location: stack.enter_context(open_location(location))
            for location in found.scene.locations
        }
        samples, digest = _sample(found, rasters)
    made: list[Polarisation] = []
    for name, values in zip(("vv", "vh"), samples, strict=True):
        band: Polarisation = getattr(found, name)
        evidence = Evidence(band.location.shown, name, band.said, values, band.integer)
        verdict = unit_of(evidence, given)
        _speak(band, name, verdict)
        made.append(replace(band, unit=verdict.unit))
    return Measured(replace(found, vv=made[0], vh=made[1]), digest)


def _speak(band: Polarisation, name: str, verdict: Verdict) -> None:
    said = f"{band.location.shown}: {name.upper()} taken as {verdict.unit}: {verdict.why}"
    if verdict.doubtful:
        log.warning("%s", said)
    elif verdict.guessed or verdict.unit != "power":
        log.info("%s", said)


def _sample(
    found: Survey, rasters: dict[Location, Raster]
) -> tuple[list[NDArray[np.float32]], str]:
    """Valid values of VV and of VH, scaled, and a digest of all that was read."""
    digest = hashlib.sha256()
    samples = []
    for band in (found.vv, found.vh):
        raster = rasters[band.location]
        digest.update(repr((band.grid.transform, band.grid.shape, band.band)).encode())
        parts = []
        for window in _lattice(band.grid, LATTICE_ELSEWHERE if band.location.remote else LATTICE):
            stored = raster.read(window, band.band)
            digest.update(np.ascontiguousarray(stored).tobytes())
            parts.append(_valid(stored, band))
        values = np.concatenate(parts)
        samples.append(values if values.size else _first_valid(raster, band))
    return samples, digest.hexdigest()


def _lattice(grid: Grid, lattice: tuple[int, int]) -> Iterator[Window]:
    count, side = lattice
    width, height = min(side, grid.width), min(side, grid.height)
    ys = sorted({round(i * (grid.height - height) / (count - 1)) for i in range(count)})
    xs = sorted({round(i * (grid.width - width) / (count - 1)) for i in range(count)})
    for y in ys:
        for x in xs:
            yield Window(y, x, height, width)


def _first_valid(raster: Raster, band: Polarisation) -> NDArray[np.float32]:
    """The valid values of the first window that has any; InputError where none has."""
    for window in aligned(band.grid.width, band.grid.height, (256, 2048)):
        values = _valid(raster.read(window, band.band), band)
        if values.size:
            return values
    raise InputError(
        band.location.shown, "no valid pixel: all no-data", "remove the scene or download it again"
    )


def _valid(stored: NDArray[Any], band: Polarisation) -> NDArray[np.float32]:
    values = as_float(stored).ravel()
    bad = band.unmeasured(values) | (values == 0)
    return values[~bad] * np.float32(band.scale) + np.float32(band.offset)
