"""The scores of a report, with intervals from resampled blocks of ground."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builtup.maps.validate import MACRO, POOLED
from builtup.maps.validate_layer import SCENE_SCORES
from builtup.report.city_counts import CityCounts
from builtup.runs.results import Results
from builtup.scoring.bootstrap import Interval, interval, resample
from builtup.scoring.calibration import brier, reliability
from builtup.scoring.counts import CELLS, PixelCounts, f1, iou, precision, recall
from builtup.scoring.curves import average_precision
from builtup.scoring.summary import mean_of_defined, statistics
from builtup.sensors.classes import Classes

__all__ = [
    "ClassRow",
    "ClassTable",
    "Score",
    "ScoreRow",
    "class_table",
    "css_colour",
    "read_polygon_f1",
    "score_rows",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Score:
    """A score and its interval; NaN where undefined."""

    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class ScoreRow:
    """The scores of a city, of all pixels pooled, or the mean of the cities'.

    `blocks` is the number of blocks of ground that were resampled, `pixels` of pixels that count.
    """

    name: str
    f1: Score
    iou: Score
    precision: float
    recall: float
    average_precision: float
    brier: float
    calibration_error: float
    polygon_f1: float
    pixels: int
    blocks: int


def score_rows(scored: Sequence[tuple[str, CityCounts]], results: Results) -> list[ScoreRow]:
    """A row for each city with ground truth; two more for all where there are several."""
    polygons = read_polygon_f1(results, {city: counts.pixels for city, counts in scored})
    drawn = [_drawn(counts) for _, counts in scored]
    rows = []
    for (city, counts), sums in zip(scored, drawn, strict=True):
        found = {
            name: interval(statistics(sums, score)[0]) for name, score in (("f1", f1), ("iou", iou))
        }
        rows.append(_row(city, counts.pixels, found, polygons.get(city), len(counts.blocks)))
    if len(rows) > 1:
        rows += _together(
            rows, [c.pixels for _, c in scored], np.concatenate(drawn, axis=1), polygons.get(POOLED)
        )
    return rows


def _drawn(counts: CityCounts) -> NDArray[np.float64]:
    """Resampled sums (resamples, 1 stratum, 1 seed, 4) of a city's blocks."""
    blocks = counts.blocks if len(counts.blocks) else np.zeros((1, len(CELLS)), np.int64)
    return resample(blocks[:, None], np.zeros(len(blocks), np.int64))


def _row(
    name: str,
    pixels: PixelCounts,
    intervals: Mapping[str, Interval],
    polygon_f1: float | None,
    blocks: int,
) -> ScoreRow:
    return ScoreRow(
        name,
        _score(float(f1(pixels.cells)), intervals["f1"]),
        _score(float(iou(pixels.cells)), intervals["iou"]),
        float(precision(pixels.cells)),
        float(recall(pixels.cells)),
        average_precision(pixels.histogram),
        brier(pixels.histogram),
        reliability(pixels.histogram).ece,
        math.nan if polygon_f1 is None else polygon_f1,
        pixels.pixels,
        blocks,
    )


def _score(value: float, found: Interval) -> Score:
    return Score(value) if math.isnan(value) else Score(value, found.low, found.high)


def _together(
    rows: Sequence[ScoreRow],
    pixels: Sequence[PixelCounts],
    drawn: NDArray[np.float64],
    polygon_f1: float | None,
) -> list[ScoreRow]:
    """All pixels pooled, and the mean of the cities' scores; each city resampled within itself."""
    total = sum(pixels[1:], start=pixels[0])
    found = {name: statistics(drawn, score) for name, score in (("f1", f1), ("iou", iou))}
    blocks = sum(row.blocks for row in rows)
    pooled = _row(
        POOLED,
        total,
        {name: interval(values[0]) for name, values in found.items()},
        polygon_f1,
        blocks,
    )

    def mean(value: Callable[[ScoreRow], float]) -> float:
        return float(mean_of_defined(np.array([value(row) for row in rows])))

    macro = ScoreRow(
        MACRO,
        _score(mean(lambda row: row.f1.value), interval(found["f1"][1])),
        _score(mean(lambda row: row.iou.value), interval(found["iou"][1])),
        mean(lambda row: row.precision),
        mean(lambda row: row.recall),
        mean(lambda row: row.average_precision),
        mean(lambda row: row.brier),
        mean(lambda row: row.calibration_error),
        mean(lambda row: row.polygon_f1),
        total.pixels,
        blocks,
    )
    return [pooled, macro]


def read_polygon_f1(results: Results, pixels: Mapping[str, PixelCounts]) -> dict[str, float]:
    """Polygon F1 by row from validation.json; nothing where that was made from other maps."""
    path = results.folder / "validation.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        same = all(
            values["cities"][city]["confusion_matrix"] == counts.matrix.tolist()
            for city, counts in pixels.items()
        )
        found = {name: row["polygon_f1"] for name, row in values["scores"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError):
        same, found = False, {}
    if not same:
        log.warning("%s is of other maps or other ground truth: run validate again", path)
        return {}
    return {name: math.nan if value is None else value for name, value in found.items()}


# --- scores of several classes, from masks -----------------------------------------------------


@dataclass(frozen=True)
class ClassRow:
    """The scores of a class, its colour as CSS has it, and the share of the truth that it is."""

    name: str
    colour: str
    iou: float
    f1: float
    precision: float
    recall: float
    share: float
    scored: bool


@dataclass(frozen=True)
class ClassTable:
    """What `validate` found against masks: the mapped class's row, all rows, means, and notes.

    `f1` and `iou` are those of the mapped class with their intervals, `miou` the mean of the scored
    classes, `mean_f1` likewise; `scenes` were scored.
    """

    mapped: ClassRow
    rows: tuple[ClassRow, ...]
    f1: Score
    iou: Score
    miou: Score
    mean_f1: float
    accuracy: float
    scenes: int
    gt_path: str
    block: str
    notes: tuple[str, ...]


def class_table(results: Results, classes: Classes) -> ClassTable | None:
    """What scene_scores.json beside the maps says; None without one, and, with a warning, where it
    cannot be read or is of other classes."""
    path = results.folder / SCENE_SCORES
    if not path.is_file():
        return None
    try:
        return _class_table(json.loads(path.read_text(encoding="utf-8")), classes)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as e:
        log.warning("%s is malformed or of other classes (%s): run validate again", path, e)
        return None


def _class_table(values: Mapping[str, Any], classes: Classes) -> ClassTable:
    full = values["full"]
    if tuple(full["classes"]) != classes.names:
        raise ValueError(f"classes {', '.join(full['classes'])}")
    together, spans = full["together"], full["intervals"]
    truth = np.array(full["confusion_matrix"], np.int64).sum(axis=1)

    def score(name: str) -> Score:
        return Score(_number(together[name]), *map(_number, spans[name]))

    rows = tuple(
        ClassRow(
            name,
            css_colour(colour),
            iou=_number(own["iou"]),
            f1=_number(own["f1"]),
            precision=_number(own["precision"]),
            recall=_number(own["recall"]),
            share=float(count / max(1, truth.sum())),
            scored=bool(own["scored"]),
        )
        for (name, own), colour, count in zip(
            full["classes"].items(), classes.colours, truth, strict=True
        )
    )
    return ClassTable(
        rows[classes.mapped_index],
        rows,
        score("mapped_f1"),
        score("mapped_iou"),
        score("miou"),
        _number(together["mean_f1"]),
        _number(together["accuracy"]),
        len(full["scenes"]),
        str(values["gt_path"]),
        str(values["block"]),
        tuple(map(str, values["notes"])),
    )


def css_colour(colour: tuple[int, int, int]) -> str:
    """A colour as CSS has it."""
    return f"rgb({colour[0]},{colour[1]},{colour[2]})"


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
