"""Histograms of each band, of each class and of what is not labelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from builtup.geo.probability import IGNORE
from builtup.jobs.files import atomic_path
from builtup.sensors.sensor import Axis, Sensor

__all__ = ["BINS", "draw_histograms", "histogram", "medians", "widened"]

BINS = 320
_NAMES = ("background", "built-up")
_NOT_LABELLED, _GREY = "not labelled", "#9d9d9d"
_COLOURS = ("#4c78a8", "#e45756", "#54a24b", "#f58518", "#b279a2", "#72b7b2", "#eeca3b", "#9d755d")

Counts = NDArray[np.int64]


def histogram(
    bands: NDArray[np.float32], mask: NDArray[np.uint8], classes: int, axis: Axis
) -> Counts:
    """(classes + 1, bands, bins) counts of valid (bands, pixels) by class; the last: not labelled.

    `mask` (pixels,) holds classes 0 to `classes` − 1 and 255. Values beyond the ends of the axis
    are counted in the first and last bins.
    """
    labels = mask.astype(np.int32)
    labels[labels == IGNORE] = classes
    counts = np.empty((classes + 1, len(bands), BINS), dtype=np.int64)
    scale = np.float32(BINS / (axis.high - axis.low))
    for band, values in enumerate(bands):
        position = (axis.place(values) - np.float32(axis.low)) * scale
        index = np.clip(position.astype(np.int32), 0, BINS - 1) + labels * BINS
        counts[:, band] = np.bincount(index, minlength=counts[:, band].size).reshape(-1, BINS)
    return counts


def widened(counts: Counts, classes: int) -> Counts:
    """Counts of `histogram` as if there had been so many classes, at least those it has."""
    more = classes + 1 - len(counts)
    return counts if more == 0 else np.insert(counts, [len(counts) - 1] * more, 0, axis=0)


def medians(counts: Counts, axis: Axis) -> tuple[float, ...]:
    """The median of each band on the axis, of all classes together, to within a bin; NaN where
    nothing was counted."""
    width = (axis.high - axis.low) / BINS
    found = []
    for band in counts.sum(axis=0).cumsum(axis=-1):
        middle = int(np.searchsorted(band, band[-1] / 2))
        found.append(axis.low + (middle + 0.5) * width if band[-1] else float("nan"))
    return tuple(found)


def draw_histograms(
    path: Path, cities: Mapping[str, Counts], sensor: Sensor, class_names: Sequence[str] = ()
) -> None:
    """Draw each band's histograms as PNG: of each class that occurs, all cities together and each
    as a thin line. All have the same number of classes, numbered where they have no names.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    together = np.sum(list(cities.values()), axis=0)
    drawn = _classes(len(together) - 1, class_names)
    edges = np.linspace(sensor.axis.low, sensor.axis.high, BINS + 1)
    middles, width = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    (axes,) = figure.subplots(1, len(sensor.bands), sharey=True, squeeze=False)
    for band, (name, ax) in enumerate(zip(sensor.bands, axes, strict=True)):
        for index, (label, colour) in enumerate(drawn):
            total = together[index, band].sum()
            if total == 0:
                continue
            title = f"{label}: {total / 1e6:.2f} Mpx"
            ax.plot(middles, _density(together[index, band], width), color=colour, label=title)
            if len(cities) > 1:
                for counts in cities.values():
                    thin = _density(counts[index, band], width)
                    ax.plot(middles, thin, color=colour, lw=0.5, alpha=0.5)
        limits = _limits(together[:, band].sum(axis=0), edges)
        ax.set(title=name, xlabel=sensor.axis.unit, xlim=limits)
        ax.grid(alpha=0.3)
    axes[0].set_ylabel(f"density per {sensor.axis.unit}")
    axes[0].legend(fontsize="small")
    FigureCanvasAgg(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, metadata={"Software": None})


def _classes(count: int, named: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Name and colour of each class and of what is not labelled."""
    numbered = _NAMES if count == len(_NAMES) else [f"class {i}" for i in range(count)]
    names = named if len(named) == count else numbered
    colours = [_COLOURS[i % len(_COLOURS)] for i in range(count)]
    return [*zip(names, colours, strict=True), (_NOT_LABELLED, _GREY)]


def _density(counts: Counts, width: float) -> NDArray[np.float64]:
    return counts / (max(counts.sum(), 1) * width)


def _limits(counts: Counts, edges: NDArray[np.float64]) -> tuple[float, float]:
    """The part of the axis that holds all but 1 in 10,000 pixels on either side."""
    share = np.cumsum(counts) / max(counts.sum(), 1)
    first, last = np.searchsorted(share, (1e-4, 1 - 1e-4))
    return float(edges[max(first - 4, 0)]), float(edges[min(last + 5, BINS)])
