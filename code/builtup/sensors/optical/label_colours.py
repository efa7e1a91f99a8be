"""Labels that are pictures: from colours, or numbers, to classes."""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from builtup.errors import ConfigError, InputError, one_line
from builtup.geo.probability import IGNORE
from builtup.sensors.classes import Classes

__all__ = ["TOLERANCE", "Counts", "classes_table", "from_colours", "from_numbers", "read_classes"]

#: How far (Euclidean, in red, green and blue, 0 to 441) a colour may be from the nearest of a
#: class: the edges of labels that were scaled or compressed are mixed.
TOLERANCE = 40
#: Different unknown colours that are counted apart.
_APART = 4096
#: Codes of the table of colours: a class's number, or with this added where the colour is but
#: near; ignored, near to an ignored one, none of all.
_NEAR, _IGNORED, _NEAR_IGNORED, _UNKNOWN = 125, 255, 254, 253
_ROLES = ("mapped", "unscored", "ignored", "")

Rgb = tuple[int, int, int]
Bytes = NDArray[np.uint8]


@dataclass
class Counts:
    """What was met in labels: pixels of mixed colours, of ignored ones, and of each unknown colour
    or number."""

    mixed: int = 0
    ignored: int = 0
    unknown: dict[str, int] = field(default_factory=dict)

    def add_unknown(self, names: Iterable[str], pixels: Iterable[int]) -> None:
        """Count pixels by the name of what they have; beyond some thousand names as "others"."""
        for name, count in zip(names, pixels, strict=True):
            known = name in self.unknown or len(self.unknown) < _APART
            key = name if known else "others"
            self.unknown[key] = self.unknown.get(key, 0) + int(count)

    def most(self, count: int = 5) -> str:
        """The most frequent unknown ones: `12,34,56 (1,200 px), 0,0,0 (7 px) and 3 more`."""
        ranked = sorted(self.unknown.items(), key=lambda item: (-item[1], item[0]))
        named = ", ".join(f"{name} ({pixels:,} px)" for name, pixels in ranked[:count])
        return named + (f" and {len(ranked) - count} more" if len(ranked) > count else "")


def from_colours(rgb: Bytes, classes: Classes, counts: Counts) -> Bytes:
    """The class (h, w) of each pixel of a picture (3, h, w), 255 where it is ignored.

    A colour that is no class's is that of the nearest within TOLERANCE, and counted as mixed, or
    is unknown: 255, and counted by its name.
    """
    table, classes_of = _table(classes)
    keys = np.left_shift(rgb[0], 16, dtype=np.uint32)
    keys |= np.left_shift(rgb[1], 8, dtype=np.uint32)
    keys |= rgb[2]
    codes = table[keys]
    if classes.ignored:
        counts.ignored += int(np.count_nonzero(codes == _IGNORED))
    # as unsigned numbers those of classes wrap round to large ones, and the ignored is the next
    if not ((codes - np.uint8(_NEAR)) <= _NEAR_IGNORED - _NEAR).any():
        return codes
    seen = np.bincount(codes.ravel(), minlength=256)
    if seen[_UNKNOWN]:
        colours, pixels = np.unique(keys[codes == _UNKNOWN], return_counts=True)
        counts.add_unknown((_shown(int(key)) for key in colours), pixels)
    mixed = int(seen[_NEAR:_UNKNOWN].sum() + seen[_NEAR_IGNORED])
    counts.ignored += int(seen[_NEAR_IGNORED])
    counts.mixed += mixed
    return classes_of[codes]


def from_numbers(values: Bytes, classes: Classes, first: int, counts: Counts) -> Bytes:
    """The class (h, w) of each pixel of 8-bit numbers, of which `first` is that of class 0.

    255, and what is below `first`, is ignored; larger ones are unknown: 255, and counted by name.
    """
    classes_of = np.full(256, IGNORE, np.uint8)
    classes_of[first : first + len(classes)] = np.arange(len(classes))
    seen = np.bincount(values.ravel(), minlength=256)
    strange = np.flatnonzero(seen[first + len(classes) : IGNORE]) + first + len(classes)
    counts.add_unknown((f"number {value}" for value in strange), seen[strange])
    return classes_of[values]


def read_classes(path: Path) -> Classes:
    """Classes of a CSV file: columns name, and as far as wanted colour (`230 25 75`) and role.

    A row a class, in the order of their numbers; `role` is mapped (of one), unscored, or ignored:
    then, or with the number 255, the row is a colour that means no class. Raises InputError for
    another file.
    """
    if not path.is_file():
        raise InputError(path, "no such file", "give a CSV file with columns name, colour, role")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [
                {(key or "").strip().lower(): (value or "").strip() for key, value in row.items()}
                for row in csv.DictReader(file)
            ]
        return _classes_of(path, [row for row in rows if any(row.values())])
    except (UnicodeDecodeError, csv.Error, AttributeError) as e:
        problem = f"not a readable CSV file ({one_line(e, 80)})"
        raise InputError(path, problem, "write it with columns name, colour, role") from e
    except ConfigError as e:
        raise InputError(path, one_line(e).partition("; ")[0], "correct the file") from e


def _classes_of(path: Path, rows: list[dict[str, str]]) -> Classes:
    if not rows or "name" not in rows[0]:
        raise InputError(path, "no column `name`", "write it with columns name, colour, role")
    roles = [row.get("role", "") for row in rows]
    if strange := sorted(set(roles) - set(_ROLES)):
        raise InputError(
            path, f"role {strange[0]!r} is unknown", "use mapped, unscored, ignored, or nothing"
        )
    unknown = [row.get("number") == str(IGNORE) or row.get("role") == "ignored" for row in rows]
    own = [row for row, is_ignored in zip(rows, unknown, strict=True) if not is_ignored]
    names = tuple(row["name"] for row in own)
    stray = next((i for i, r in enumerate(own) if r.get("number", "") not in ("", str(i))), None)
    if stray is not None:
        problem = f"class {names[stray]} has the number {own[stray]['number']} in row {stray}"
        raise InputError(path, problem, "write the classes in the order of their numbers, from 0")
    mapped = [name for name, row in zip(names, own, strict=True) if row.get("role") == "mapped"]
    if len(mapped) > 1:
        raise InputError(path, f"{len(mapped)} classes are mapped", "give that role to one")
    plain = Classes.of(names, *mapped)
    if len(names) > _NEAR:
        raise InputError(path, f"{len(names)} classes", f"give at most {_NEAR}")
    given = [_colour(path, row.get("colour", "")) for row in own]
    left = [row for row, is_ignored in zip(rows, unknown, strict=True) if is_ignored]
    ignored = [_colour(path, row.get("colour", "")) for row in left]
    colours = [given[i] or plain.colours[i] for i in range(len(own))]
    stated = [colour for colour in (*given, *ignored) if colour]
    if len(set(stated)) < len(stated):
        raise InputError(path, "two rows have one colour", "give each a colour of its own")
    if any(given) and not all(given):
        raise InputError(path, "some classes have no colour", "give one to each, or to none")
    return Classes(
        names=names,
        colours=tuple(colours),
        mapped=plain.mapped,
        unscored=tuple(row["name"] for row in own if row.get("role") == "unscored"),
        ignored=tuple(colour for colour in ignored if colour),
    )


def classes_table(classes: Classes) -> str:
    """The text of classes.csv: number, name, colour, role; a row of 255 for each ignored colour."""
    lines = ["number,name,colour,role"]
    for number, (name, colour) in enumerate(zip(classes.names, classes.colours, strict=True)):
        role = "mapped" if name == classes.mapped else ""
        role = "unscored" if name in classes.unscored else role
        lines.append(f"{number},{name},{' '.join(map(str, colour))},{role}")
    lines += [f"{IGNORE},ignored,{' '.join(map(str, colour))}," for colour in classes.ignored]
    return "\n".join(lines) + "\n"


def _colour(path: Path, text: str) -> Rgb | None:
    """`230 25 75`, `230,25,75` or `#e6194b`; None for nothing."""
    if not text:
        return None
    try:
        if text.startswith("#") and len(text) == 7:
            red, green, blue = bytes.fromhex(text[1:])
        else:
            red, green, blue = (int(part) for part in text.replace(",", " ").split())
        if not all(0 <= part <= 255 for part in (red, green, blue)):
            raise ValueError
    except ValueError:
        problem = f"colour {text!r} is not red, green and blue of 0 to 255"
        raise InputError(path, problem, "write it as 230 25 75") from None
    return red, green, blue


@functools.lru_cache(maxsize=2)
def _table(classes: Classes) -> tuple[Bytes, Bytes]:
    """The code of each of the 16.7 million colours, and the class of each of the 256 codes."""
    colours = [*classes.colours, *classes.ignored]
    table = np.full(2**24, _UNKNOWN, np.uint8)
    for i, colour in enumerate(colours):
        keys, squares = _around(colour)
        nearest = np.ones(len(keys), bool)
        for j, other in enumerate(colours):
            apart = sum((a - b) ** 2 for a, b in zip(colour, other, strict=True))
            if j != i and apart <= (2 * TOLERANCE) ** 2:
                theirs = _squares(keys, other)
                nearest &= squares < theirs if j < i else squares <= theirs
        table[keys[nearest]] = i + _NEAR if i < len(classes) else _NEAR_IGNORED
    for i, colour in enumerate(colours):
        table[_key(colour)] = i if i < len(classes) else _IGNORED
    classes_of = np.full(256, IGNORE, np.uint8)
    classes_of[: len(classes)] = np.arange(len(classes))
    classes_of[_NEAR : _NEAR + len(classes)] = np.arange(len(classes))
    return table, classes_of


def _around(colour: Rgb) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The keys of the colours within TOLERANCE of one, and their squared distances from it."""
    ranges = [np.arange(max(0, v - TOLERANCE), min(255, v + TOLERANCE) + 1) for v in colour]
    red, green, blue = np.meshgrid(*ranges, indexing="ij", sparse=True)
    keys = ((red << 16) + (green << 8) + blue).ravel()
    squares = _squares(keys, colour)
    near = squares <= TOLERANCE**2
    return keys[near], squares[near]


def _squares(keys: NDArray[np.int64], colour: Rgb) -> NDArray[np.int64]:
    parts = (keys >> 16, keys >> 8 & 255, keys & 255)
    distances: NDArray[np.int64] = sum(
        ((part - own) ** 2 for part, own in zip(parts, colour, strict=True)),
        start=np.zeros(len(keys), np.int64),
    )
    return distances


def _key(colour: Rgb) -> int:
    return (colour[0] << 16) + (colour[1] << 8) + colour[2]


def _shown(key: int) -> str:
    return f"{key >> 16},{key >> 8 & 255},{key & 255}"
