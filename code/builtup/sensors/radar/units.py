"""Linear power, amplitude or decibels: what a raster's values are, and their power.

What the user or the file's metadata say counts. Where nothing is said, the values speak, and a
line says what they were taken for and why. Amplitude and power look alike; values that neither
typical power nor decibels would have are refused.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from builtup.errors import BuiltupError, InputError
from builtup.geo.grid import Grid
from builtup.geo.locations import Location
from builtup.geo.open_raster import Raster, as_float
from builtup.geo.rasters import gdal_env
from builtup.geo.windows import Window, aligned
from builtup.sensors.radar.headers import DECIBELS, BandHeader, SceneHeaders, open_rasters

__all__ = ["UNITS", "BandSample", "JudgedUnit", "judge_units", "parse_units", "to_power", "unit_of"]

log = logging.getLogger(__name__)

Unit = Literal["power", "amplitude", "db"]
UNITS = ("auto", "power", "amplitude", "db")

Float = NDArray[np.float32]

_DECLARES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("dn", re.compile(r"digital.?numbers?|(?<![a-z])dn(?![a-z])", re.IGNORECASE)),
    ("db", re.compile(r"decibel|(?<![a-z])db(?![a-z])", re.IGNORECASE)),
    ("amplitude", re.compile(r"amplitude|(?<![a-z])amp(?![a-z])", re.IGNORECASE)),
    ("power", re.compile(r"power|intensity|linear", re.IGNORECASE)),
)
#: Median backscatter of a scene above which values are hardly linear power: the brightest cities
#: have VV .5 (−3 dB), VH .1 (−10 dB).
MOST_POWER = {"vv": 1.0, "vh": 0.25}
#: Median of VH above which power is doubted: whole scenes have .02 to .04, as amplitude .13 to .2.
DOUBTED_VH = 0.08
#: Windows that are sampled, along each axis, and their side in pixels: of plain files, and of
#: those elsewhere, of which each window costs a request.
LATTICE, LATTICE_ELSEWHERE = (8, 32), (3, 64)
_GIVE = "give units=power, amplitude or db, or write it into the file (gdal_edit.py -mo UNITS=…)"
_CALIBRATE = "calibrate the product to linear power first (docs/data.md)"


@dataclass(frozen=True)
class BandSample:
    """One polarisation to be judged: what is declared of its unit, and some valid values of it."""

    name: str  # the file, for messages
    polarisation: str
    declared: tuple[str, ...]
    values: Float
    integer: bool = False


@dataclass(frozen=True)
class JudgedUnit:
    """A unit, why it is taken, whether that was a guess from the values, and one to warn of."""

    unit: Unit
    why: str
    guessed: bool = False
    doubtful: bool = False


def parse_units(text: str) -> str:
    """Check the option `units`."""
    if text.lower() not in UNITS:
        raise BuiltupError(f"units={text}: unknown; use {', '.join(UNITS)}")
    return text.lower()


def judge_units(headers: SceneHeaders, given: str = "auto") -> SceneHeaders:
    """Headers with the units of both polarisations, known from values that are sampled.

    `given` is the option `units`. Says what was taken for what; raises InputError where the scene
    has no valid pixel, or a unit cannot be known.
    """
    with gdal_env(), open_rasters(headers.scene) as rasters:
        samples, digest = _sample(headers, rasters)
    judged = []
    for name, header, values in zip(("vv", "vh"), headers.bands, samples, strict=True):
        shown = header.location.shown
        unit = unit_of(BandSample(shown, name, header.declared, values, header.integer), given)
        _log(f"{shown}: {name.upper()} taken as {unit.unit}: {unit.why}", unit)
        judged.append(replace(header, unit=unit.unit))
    return replace(headers, vv=judged[0], vh=judged[1], sampled=digest)


def _log(text: str, unit: JudgedUnit) -> None:
    if unit.doubtful:
        log.warning("%s", text)
    elif unit.guessed or unit.unit != "power":
        log.info("%s", text)


def _sample(headers: SceneHeaders, rasters: Mapping[Location, Raster]) -> tuple[list[Float], str]:
    """Valid values of VV and of VH, scaled, and a digest of all that was read."""
    digest = hashlib.sha256()
    samples = []
    for header in headers.bands:
        raster = rasters[header.location]
        digest.update(repr((header.grid.transform, header.grid.shape, header.band)).encode())
        parts = []
        for window in _lattice(header.grid, remote=header.location.remote):
            stored = raster.read(window, header.band)
            digest.update(np.ascontiguousarray(stored).tobytes())
            parts.append(_valid(stored, header))
        values = np.concatenate(parts)
        samples.append(values if values.size else _first_valid(raster, header))
    return samples, digest.hexdigest()


def _lattice(grid: Grid, *, remote: bool) -> Iterator[Window]:
    """The windows that are sampled, evenly spread."""
    count, side = LATTICE_ELSEWHERE if remote else LATTICE
    width, height = min(side, grid.width), min(side, grid.height)
    ys = sorted({round(i * (grid.height - height) / (count - 1)) for i in range(count)})
    xs = sorted({round(i * (grid.width - width) / (count - 1)) for i in range(count)})
    for y in ys:
        for x in xs:
            yield Window(y, x, height, width)


def _first_valid(raster: Raster, header: BandHeader) -> Float:
    """The valid values of the first window that has any; InputError where none has."""
    for window in aligned(header.grid.width, header.grid.height, (256, 2048)):
        values = _valid(raster.read(window, header.band), header)
        if values.size:
            return values
    raise InputError(
        header.location.shown,
        "no valid pixel: all no-data",
        "remove the scene or download it again",
    )


def _valid(stored: NDArray[Any], header: BandHeader) -> Float:
    values = as_float(stored).ravel()
    bad = header.unmeasured(values) | (values == 0)
    return values[~bad] * np.float32(header.scale) + np.float32(header.offset)


def unit_of(sample: BandSample, given: str = "auto") -> JudgedUnit:
    """The unit of a polarisation: as given, as the metadata say, or as the values look.

    Raises InputError where these contradict each other, or where it cannot be known.
    """
    median = float(np.median(sample.values)) if sample.values.size else None
    declared = declared_unit(sample.declared)
    if given != "auto":
        judged = JudgedUnit(given, f"units={given}")  # type: ignore[arg-type]
    elif declared is None:
        return _guess(sample, median)
    elif declared[0] == "dn":
        raise InputError(sample.name, f"digital numbers ({declared[1]})", _CALIBRATE)
    else:
        judged = JudgedUnit(declared[0], declared[1])  # type: ignore[arg-type]
    if median is not None and (judged.unit == "db") != (median < DECIBELS[1]):
        values = f"the median of its values is {median:.3g}"
        if judged.unit == "db" and median < 0:
            return judged
        raise InputError(sample.name, f"{judged.unit} by {judged.why}, but {values}", _GIVE)
    return judged


def _guess(sample: BandSample, median: float | None) -> JudgedUnit:
    if median is None:
        return JudgedUnit("power", "no valid value was sampled", guessed=True)
    seen = f"nothing says its unit; the median of {sample.values.size} values is {median:.3g}"
    if sample.integer:
        raise InputError(sample.name, f"integers of an unknown unit ({seen})", _CALIBRATE)
    if median < DECIBELS[1]:
        return JudgedUnit("db", seen, guessed=True, doubtful=True)
    if median > 3:
        raise InputError(sample.name, f"digital numbers, it seems ({seen})", _CALIBRATE)
    if median > MOST_POWER[sample.polarisation]:
        problem = f"too bright for linear power, perhaps amplitude ({seen})"
        raise InputError(sample.name, problem, _GIVE)
    if sample.polarisation == "vh" and median > DOUBTED_VH:
        why = f"{seen}, bright for power; give units=amplitude if VV and VH are, else units=power"
        return JudgedUnit("power", why, guessed=True, doubtful=True)
    return JudgedUnit("power", seen, guessed=True)


def declared_unit(declared: tuple[str, ...]) -> tuple[str, str] | None:
    """The first unit (or `dn`) that a text names, with that text; None where none does."""
    for text in declared:
        value = text.partition(": ")[2] or text
        for unit, pattern in _DECLARES:
            if pattern.search(value):
                return unit, text
    return None


def to_power(values: Float, unit: str) -> Float:
    """Linear power from values of a unit, in place where it can be."""
    if unit == "amplitude":
        return np.square(values, out=values)
    if unit == "db":
        values *= np.float32(np.log(10) / 10)
        return np.exp(values, out=values)
    return values
