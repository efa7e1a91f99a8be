"""Linear power, amplitude or decibels: what a raster's values are, and their power.

What the user or the file's metadata say counts. Where nothing is said, the values speak, and a
line says what they were taken for and why. Amplitude and power look alike; values that neither
typical power nor decibels would have are refused.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from builtup.errors import BuiltupError, InputError
from builtup.geo.grid import Grid
from builtup.geo.open_raster import Raster, as_float
from builtup.geo.rasters import gdal_env
from builtup.geo.windows import Window, aligned
from builtup.jobs.executors import map_threads
from builtup.sensors.radar.bands import NODATA_POWER
from builtup.sensors.radar.headers import (
    DECIBELS,
    MOST,
    BandHeader,
    SceneHeaders,
    open_rasters,
    read_headers,
)
from builtup.sensors.radar.scenes import Scene
from builtup.sensors.remarks import Remark

__all__ = [
    "UNITS",
    "BandSample",
    "JudgedUnit",
    "judge_each",
    "judge_units",
    "parse_units",
    "spelled",
    "to_power",
    "unit_of",
    "usable_scenes",
]

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
#: Medians in decibels: below the first nothing is backscatter, below the second hardly (the noise
#: of Sentinel-1 is at −22 to −30), above the last neither.
DARKEST, DOUBTED_DARK, BRIGHTEST = -60.0, -40.0, 20.0
#: A share of equal values, at an end of their range, that speckle does not have.
FILLER_SHARE = 0.05
#: Windows that are sampled, along each axis, and their side in pixels: of plain files, and of
#: those elsewhere, of which each window costs a request.
LATTICE, LATTICE_ELSEWHERE = (4, 64), (3, 64)
_GIVE = (
    "write its unit into the file (gdal_edit.py -mo UNITS=power, amplitude or dB), "
    "or give predict units=…"
)
_CALIBRATE = "calibrate the product to linear power first (docs/data.md)"


@dataclass(frozen=True)
class BandSample:
    """One polarisation to be judged: what is declared of its unit, and some valid values of it.

    `integer` are whole numbers without a scale, `scale` is what made the values of stored ones.
    """

    name: str  # the file, for messages
    polarisation: str
    declared: tuple[str, ...]
    values: Float
    integer: bool = False
    scale: float = 1.0


@dataclass(frozen=True)
class JudgedUnit:
    """A unit, why it is taken, whether that was a guess from the values, and one to warn of.

    `doubts` are further warnings, each with what is this file's own of it.
    """

    unit: Unit
    why: str
    guessed: bool = False
    doubtful: bool = False
    doubts: tuple[tuple[str, str], ...] = ()


def parse_units(text: str) -> str:
    """Check the option `units`."""
    if text.lower() not in UNITS:
        raise BuiltupError(f"units={text}: unknown; use {', '.join(UNITS)}")
    return text.lower()


def judge_each(
    scenes: Sequence[Scene], *, joint: bool = False
) -> Iterator[SceneHeaders | BuiltupError]:
    """The headers of each scene in turn, units judged, or why it cannot be used.

    `joint` as `headers.read_headers` has it; many are read at once.
    """
    return map_threads(lambda scene: judge_units(read_headers(scene, joint=joint)), scenes)


def usable_scenes(scenes: Sequence[Scene]) -> tuple[list[SceneHeaders], list[BuiltupError]]:
    """What a step of the chain works on: scenes whose VV and VH lie on one grid, units judged, and
    a problem for each other."""
    usable: list[SceneHeaders] = []
    problems: list[BuiltupError] = []
    for headers in judge_each(scenes, joint=True):
        if isinstance(headers, BuiltupError):
            problems.append(headers)
        else:
            usable.append(headers)
    return usable, problems


def judge_units(headers: SceneHeaders, given: str = "auto") -> SceneHeaders:
    """Headers with the units of both polarisations, known from values that are sampled.

    `given` is the option `units`. What was taken for what is among the remarks; raises InputError
    where the scene has no valid pixel, or a unit cannot be known.
    """
    digest = hashlib.sha256()
    judged, remarks = [], list(headers.remarks)
    with gdal_env(), open_rasters(headers.scene) as rasters:
        for name, header in zip(("vv", "vh"), headers.bands, strict=True):
            values, shares = _sample(header, rasters[header.location], digest)
            sample = BandSample(
                header.location.shown, name, header.declared, values, header.integer, header.scale
            )
            unit = unit_of(sample, given)
            judged.append(replace(header, unit=unit.unit))
            shares += _odd(values, judged[-1])
            remarks += [
                Remark(sample.name, what, unit.why, doubtful) for what, doubtful in _said(unit)
            ]
            remarks += [Remark(sample.name, *doubt) for doubt in (*unit.doubts, *shares)]
    vv, vh = judged
    if vv.unit != vh.unit:
        detail = f"VV as {spelled(vv.unit)}, VH as {spelled(vh.unit)}"
        remarks.append(Remark(headers.scene.shown, "VV and VH taken as of different units", detail))
    return replace(headers, vv=vv, vh=vh, remarks=tuple(remarks), sampled=digest.hexdigest())


def _odd(values: Float, header: BandHeader) -> Iterator[tuple[str, str]]:
    """What of the sampled values is hardly a measurement, though nothing marks it."""
    if not header.is_power and (beyond := float((values > MOST[header.unit]).mean())) > 0:
        yield "values above 100 dB are no-data, though not declared so", f"{beyond:.1%} of them"
    for extreme, name in ((values.min(), "least"), (values.max(), "largest")):
        share = float((values == extreme).mean())
        if FILLER_SHARE < share < 1:
            what = (
                "one value stands too often: no-data that is not declared (gdal_edit.py -a_nodata)?"
            )
            yield what, f"{share:.0%} of the sampled values are {extreme:.6g}, their {name}"


def _said(unit: JudgedUnit) -> Iterator[tuple[str, bool]]:
    """What is said of a unit, and whether in doubt; nothing of power that is declared."""
    if unit.doubtful or unit.guessed or unit.unit != "power":
        yield f"taken as {spelled(unit.unit)}", unit.doubtful


def _sample(header: BandHeader, raster: Raster, digest: Any) -> tuple[Float, list[tuple[str, str]]]:
    """Valid values of a polarisation, scaled, and what its no-data contradicts.

    `digest` is told all that was read.
    """
    digest.update(repr((header.grid.transform, header.grid.shape, header.band)).encode())
    parts, pixels, contradicted = [], 0, 0
    for window in _lattice(header.grid, remote=header.location.remote):
        stored = raster.read(window, header.band)
        digest.update(np.ascontiguousarray(stored).tobytes())
        values, hidden = as_float(stored), header.hidden(raster, window)
        parts.append(_valid(values, hidden, header))
        if hidden is not None:
            digest.update(np.packbits(hidden).tobytes())
            marked = np.isin(values, as_float(np.array(header.nodata))) & ~hidden
            pixels, contradicted = pixels + values.size, contradicted + int(marked.sum())
    found = np.concatenate(parts)
    if not found.size:
        found = _first_valid(raster, header)
    if not contradicted:
        return found, []
    share = f"{contradicted / pixels:.1%} of the sampled pixels"
    return found, [("its mask shows pixels that hold its no-data value: they are no-data", share)]


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
        stored = as_float(raster.read(window, header.band))
        values = _valid(stored, header.hidden(raster, window), header)
        if values.size:
            return values
    raise InputError(
        header.location.shown,
        "no valid pixel: all no-data",
        "remove the scene or download it again",
    )


def _valid(values: Float, hidden: NDArray[np.bool_] | None, header: BandHeader) -> Float:
    # −9999 may be a measurement where it is thousandths of a decibel, but none to judge a unit by
    bad = header.unmeasured(values) | (values == 0) | (values == np.float32(NODATA_POWER))
    if hidden is not None:
        bad |= hidden
    return values[~bad] * np.float32(header.scale) + np.float32(header.offset)


def unit_of(sample: BandSample, given: str = "auto") -> JudgedUnit:
    """The unit of a polarisation: as given, as the metadata say, or as the values look.

    Raises InputError where these contradict each other, where it cannot be known, or where no
    backscatter has such values.
    """
    median = float(np.median(sample.values)) if sample.values.size else None
    declared = declared_units(sample.declared)
    if given != "auto":
        judged = JudgedUnit(given, f"units={given}")  # type: ignore[arg-type]
    elif not declared:
        judged = _guess(sample, median)
    elif (first := next(iter(declared))) == "dn":
        raise InputError(sample.name, f"digital numbers ({declared[first]})", _CALIBRATE)
    else:
        others = [text for unit, text in declared.items() if unit not in {first, "dn"}]
        doubts = tuple(
            (f"taken as {spelled(first)}, though it says otherwise too", t) for t in others
        )
        judged = JudgedUnit(first, declared[first], doubts=doubts)  # type: ignore[arg-type]
    if median is None:
        return judged
    decibels = median < (0 if judged.unit == "db" else DECIBELS[1])
    if not judged.guessed and (judged.unit == "db") != decibels:
        problem = f"{judged.unit} by {judged.why}, but the median of its values is {median:.4g}"
        raise InputError(sample.name, problem, _GIVE)
    return _within_range(sample, judged, median)


def _within_range(sample: BandSample, judged: JudgedUnit, median: float) -> JudgedUnit:
    """The unit, if backscatter may be so dark and so bright; InputError else."""
    level = median
    if judged.unit != "db":
        middle = float(np.median(np.abs(sample.values.astype(np.float64))))
        level = (10 if judged.unit == "power" else 20) * math.log10(max(middle, 1e-300))
    seen = f"the median of its values is {median:.3g}"
    if level < DARKEST:
        raise InputError(sample.name, *_too_dark(sample, judged.unit, median))
    if level > BRIGHTEST:
        problem = f"{spelled(judged.unit)} of {level:.0f} dB ({seen}): digital numbers, it seems"
        raise InputError(sample.name, problem, _CALIBRATE)
    if level < DOUBTED_DARK:
        doubt = "darker than radar sees: check its scale and unit", f"{seen}, {level:.0f} dB"
        return replace(judged, doubts=(*judged.doubts, doubt))
    return judged


def _too_dark(sample: BandSample, unit: str, median: float) -> tuple[str, str]:
    """What is wrong with values below what any radar measures, and the scale that was meant."""
    problem = f"{spelled(unit)} with a median of {median:.4g}, less than any radar measures"
    factor = _factor_of(median) if unit == "db" else 0
    if factor:
        meant = f"gdal_edit.py -scale {sample.scale / factor:g}"
        return f"{problem}: dB × {factor}, it seems", f"write the scale into it ({meant})"
    return problem, "check its scale and offset (gdal_edit.py -scale, -offset)"


def _factor_of(median: float) -> int:
    """By what decibels were probably multiplied to become whole numbers; 0 where by nothing."""
    factors = (1, 10, 100, 1000, 10_000)
    return next((f for f in factors if DOUBTED_DARK < median / f < DECIBELS[1]), 0)


def _guess(sample: BandSample, median: float | None) -> JudgedUnit:
    if median is None:
        return JudgedUnit("power", "no valid value was sampled", guessed=True)
    seen = f"nothing says its unit; the median of {sample.values.size} values is {median:.3g}"
    if sample.integer:
        factor, remedy = _factor_of(median), _CALIBRATE
        if factor:
            meant = f"gdal_edit.py -mo UNITS=dB -scale {1 / factor:g}"
            remedy = f"where they are dB × {factor}, write that into it ({meant})"
        raise InputError(sample.name, f"integers of an unknown unit ({seen})", remedy)
    if median < DECIBELS[1]:
        return JudgedUnit("db", seen, guessed=True, doubtful=True)
    if median > 3:
        raise InputError(sample.name, f"digital numbers, it seems ({seen})", _CALIBRATE)
    if median > MOST_POWER[sample.polarisation]:
        problem = f"too bright for linear power, perhaps amplitude ({seen})"
        raise InputError(sample.name, problem, _GIVE)
    if sample.polarisation == "vh" and median > DOUBTED_VH:
        why = f"{seen}, bright for power; if VV and VH are amplitude, {_GIVE}"
        return JudgedUnit("power", why, guessed=True, doubtful=True)
    return JudgedUnit("power", seen, guessed=True)


def declared_units(declared: tuple[str, ...]) -> dict[str, str]:
    """The units (or `dn`) that texts name, with the first text of each, in their order."""
    found: dict[str, str] = {}
    for text in declared:
        value = text.partition(": ")[2] or text
        for unit, pattern in _DECLARES:
            if pattern.search(value):
                found.setdefault(unit, text)
                break
    return found


def spelled(unit: str) -> str:
    """A unit in words."""
    return "decibels" if unit == "db" else unit


def to_power(values: Float, unit: str) -> Float:
    """Linear power from values of a unit, in place where it can be."""
    if unit == "amplitude":
        return np.square(values, out=values)
    if unit == "db":
        values *= np.float32(np.log(10) / 10)
        return np.exp(values, out=values)
    return values
