"""Small charts as inline SVG. Colours and fonts are the page's: see assets/page.css."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from builtup.geo.probability import SCALE, level_of
from builtup.scoring.calibration import BINS, reliability
from builtup.scoring.counts import PixelCounts, precision, recall
from builtup.scoring.curves import average_precision, threshold_curve

__all__ = [
    "interval_bar",
    "precision_recall_chart",
    "reliability_chart",
    "threshold_chart",
]

#: The frame of a chart in SVG units: its size and where its axes stand.
WIDTH, HEIGHT = 340, 270
LEFT, RIGHT, TOP, BOTTOM = 44, 326, 14, 226
Floats = NDArray[np.float64]


def threshold_chart(counts: PixelCounts, threshold: float) -> Markup:
    """Precision, recall and F1 over the threshold, and where the map was cut."""
    curve = threshold_curve(counts.histogram)
    lines = [
        _line(curve.threshold[1:], curve.precision[1:], "a", "precision"),
        _line(curve.threshold[1:], curve.recall[1:], "b", "recall"),
        _line(curve.threshold[1:], curve.f1[1:], "c", "F1"),
        _marker(threshold),
    ]
    described = f"Precision, recall and F1 over the threshold; the map was cut at {threshold:.3f}."
    return _chart(
        described, "threshold", "", lines, [("a", "precision"), ("b", "recall"), ("c", "F1")]
    )


def precision_recall_chart(counts: PixelCounts, threshold: float) -> Markup:
    """Precision over recall, and the point of the map."""
    curve = threshold_curve(counts.histogram)
    level = min(max(level_of(threshold), 1), SCALE)
    x, y = _place(curve.recall[level], curve.precision[level])
    point = (
        Markup("")
        if math.isnan(x + y)
        else Markup('<circle class="point" cx="{:.1f}" cy="{:.1f}" r="5"/>').format(x, y)
    )
    described = (
        f"Precision over recall, average precision {average_precision(counts.histogram):.3f}; "
        f"the map has recall {recall(counts.cells):.3f} and precision "
        f"{precision(counts.cells):.3f}."
    )
    line = _line(curve.recall[1:], curve.precision[1:], "c", "")
    return _chart(described, "recall", "precision", [line, point], [])


def reliability_chart(counts: PixelCounts) -> Markup:
    """Observed share of built-up over the probability; columns: how many pixels there are."""
    found = reliability(counts.histogram)
    x0, y0 = _place(0, 0)
    columns = []
    for i, weight in enumerate(found.pixels / max(1, found.pixels.sum())):
        left, top = _place(i / BINS, weight)
        right, _ = _place((i + 1) / BINS, 0)
        columns.append(
            Markup(
                '<rect class="column" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'
            ).format(left + 1, top, right - left - 2, y0 - top)
        )
    x1, y1 = _place(1, 1)
    ideal = Markup('<path class="ideal" d="M{} {}L{} {}"/>').format(x0, y0, x1, y1)
    points = [
        Markup('<circle class="point" cx="{:.1f}" cy="{:.1f}" r="4"/>').format(*_place(p, share))
        for p, share in zip(found.probability, found.share, strict=True)
        if not math.isnan(p)
    ]
    parts = [*columns, ideal, _line(found.probability, found.share, "c", ""), *points]
    described = (
        "Share of pixels that are built-up over their probability; expected calibration error "
        f"{found.ece:.3f}. Columns: share of all pixels."
    )
    return _chart(described, "probability", "observed share", parts, [])


def interval_bar(value: float, low: float, high: float, name: str) -> Markup:
    """A score with its interval on an axis from 0 to 1, for a cell of a table."""
    if math.isnan(value):
        return Markup("")
    ticks = Markup("").join(
        Markup('<path class="grid" d="M{0} 2V18"/>').format(2 + 156 * i / 4) for i in range(5)
    )
    span = Markup("")
    if not math.isnan(low + high):
        span = Markup('<path class="whisker" d="M{:.1f} 10H{:.1f}"/>').format(
            2 + 156 * low, 2 + 156 * high
        )
    label = f"{name}: {value:.3f}, interval {low:.3f} to {high:.3f}, on an axis from 0 to 1"
    return Markup(
        '<svg class="bar" viewBox="0 0 160 20" role="img" aria-label="{}">{}{}'
        '<circle class="point" cx="{:.1f}" cy="10" r="4"/></svg>'
    ).format(label, ticks, span, 2 + 156 * value)


def _place(x: float, y: float) -> tuple[float, float]:
    return LEFT + x * (RIGHT - LEFT), BOTTOM - y * (BOTTOM - TOP)


def _line(x: Floats, y: Floats, which: str, title: str) -> Markup:
    places = [
        "{:.1f} {:.1f}".format(*_place(a, b))
        for a, b in zip(x, y, strict=True)
        if not math.isnan(a + b)
    ]
    if len(places) < 2:
        return Markup("")
    return Markup('<path class="line {}" d="M{}"><title>{}</title></path>').format(
        which, "L".join(places), title
    )


def _marker(threshold: float) -> Markup:
    x, _ = _place(threshold, 0)
    anchor, shift = ("end", -5) if threshold > 0.6 else ("start", 5)
    return Markup(
        '<path class="marker" d="M{0:.1f} {1}V{2}"/>'
        '<text class="note" x="{3:.1f}" y="{4}" text-anchor="{5}">cut at {6:.3f}</text>'
    ).format(x, TOP, BOTTOM, x + shift, BOTTOM - 8, anchor, threshold)


def _chart(
    described: str,
    x_name: str,
    y_name: str,
    parts: Sequence[Markup],
    keys: Sequence[tuple[str, str]],
) -> Markup:
    """The frame, both axes from 0 to 1, and what stands in it; `keys` name the lines above it."""
    axes = []
    for i in range(6):
        value = i / 5
        x, y = _place(value, value)
        axes.append(
            Markup(
                '<path class="grid" d="M{x:.1f} {t}V{b}M{l} {y:.1f}H{r}"/>'
                '<text x="{x:.1f}" y="{below}" text-anchor="middle">{v:g}</text>'
                '<text x="{left}" y="{middle:.1f}" text-anchor="end">{v:g}</text>'
            ).format(
                x=x,
                y=y,
                t=TOP,
                b=BOTTOM,
                l=LEFT,
                r=RIGHT,
                v=value,
                below=BOTTOM + 16,
                left=LEFT - 7,
                middle=y + 4,
            )
        )
    names = [
        Markup('<text class="name" x="{}" y="{}" text-anchor="middle">{}</text>').format(
            (LEFT + RIGHT) / 2, HEIGHT - 8, x_name
        )
    ]
    if y_name:
        names.append(
            Markup(
                '<text class="name" transform="translate(11 {}) rotate(-90)" '
                'text-anchor="middle">{}</text>'
            ).format((TOP + BOTTOM) / 2, y_name)
        )
    legend = Markup("").join(
        Markup('<span class="key {}">{}</span>').format(which, escape(name)) for which, name in keys
    )
    return Markup(
        '{}<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}{}</svg>'
    ).format(
        Markup('<div class="keys">{}</div>').format(legend) if keys else "",
        WIDTH,
        HEIGHT,
        described,
        Markup("").join(axes),
        Markup("").join(names),
        Markup("").join(parts),
    )
