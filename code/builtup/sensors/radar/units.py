"""Linear power, amplitude or decibels: what a raster's values are, and their power.

What the user or the file's metadata say counts. Where nothing is said, the values speak, and a
line says what they were taken for and why. Amplitude and power look alike; values that neither
typical power nor decibels would have are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from builtup.errors import BuiltupError, InputError

__all__ = ["UNITS", "Evidence", "Verdict", "said_unit", "to_power", "unit_of"]

Unit = Literal["power", "amplitude", "db"]
UNITS = ("auto", "power", "amplitude", "db")

Float = NDArray[np.float32]

_SAYS: tuple[tuple[str, re.Pattern[str]], ...] = (
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
#: Median below which values are decibels; noise-subtracted power is never that far below 0.
LEAST_POWER = -1.0
_GIVE = "give units=power, amplitude or db, or write it into the file (gdal_edit.py -mo UNITS=…)"
_CALIBRATE = "calibrate the product to linear power first (docs/data.md)"


@dataclass(frozen=True)
class Evidence:
    """What is known of one polarisation: what its metadata say, and some valid values of it."""

    name: str  # the file, for messages
    polarisation: str
    said: tuple[str, ...]
    values: Float
    integer: bool = False


@dataclass(frozen=True)
class Verdict:
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


def unit_of(evidence: Evidence, given: str = "auto") -> Verdict:
    """The unit of a polarisation: as given, as the metadata say, or as the values look.

    Raises InputError where these contradict each other, or where it cannot be known.
    """
    median = float(np.median(evidence.values)) if evidence.values.size else None
    said = said_unit(evidence.said)
    if given != "auto":
        verdict = Verdict(given, f"units={given}")  # type: ignore[arg-type]
    elif said is None:
        return _guess(evidence, median)
    elif said[0] == "dn":
        raise InputError(evidence.name, f"digital numbers ({said[1]})", _CALIBRATE)
    else:
        verdict = Verdict(said[0], said[1])  # type: ignore[arg-type]
    if median is not None and (verdict.unit == "db") != (median < LEAST_POWER):
        values = f"the median of its values is {median:.3g}"
        if verdict.unit == "db" and median < 0:
            return verdict
        raise InputError(evidence.name, f"{verdict.unit} by {verdict.why}, but {values}", _GIVE)
    return verdict


def _guess(evidence: Evidence, median: float | None) -> Verdict:
    if median is None:
        return Verdict("power", "no valid value was sampled", guessed=True)
    seen = f"nothing says its unit; the median of {evidence.values.size} values is {median:.3g}"
    if evidence.integer:
        raise InputError(evidence.name, f"integers of an unknown unit ({seen})", _CALIBRATE)
    if median < LEAST_POWER:
        return Verdict("db", seen, guessed=True, doubtful=True)
    if median > 3:
        raise InputError(evidence.name, f"digital numbers, it seems ({seen})", _CALIBRATE)
    if median > MOST_POWER[evidence.polarisation]:
        problem = f"too bright for linear power, perhaps amplitude ({seen})"
        raise InputError(evidence.name, problem, _GIVE)
    if evidence.polarisation == "vh" and median > DOUBTED_VH:
        why = f"{seen}, bright for power; give units=amplitude if VV and VH are, else units=power"
        return Verdict("power", why, guessed=True, doubtful=True)
    return Verdict("power", seen, guessed=True)


def said_unit(said: tuple[str, ...]) -> tuple[str, str] | None:
    """The first unit (or `dn`) that a text names, with that text; None where none does."""
    for text in said:
        value = text.partition(": ")[2] or text
        for unit, pattern in _SAYS:
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
