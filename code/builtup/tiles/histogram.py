"""Histograms of backscatter where it is built up and where it is not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from builtup.geo.probability import IGNORE
from builtup.jobs.files import atomic_path
from builtup.sensors.radar.bands import BAND_NAMES, DB_FLOOR, to_db

__all__ = ["CLASSES", "EDGES", "draw_histograms", "histogram"]

#: Edges of the bins in dB: from the floor to what corner reflectors return.
EDGES = np.linspace(10 * np.log10(DB_FLOOR), 30.0, 321)
CLASSES = ("background", "built-up", "not labelled")
_COLOURS = ("#4c78a8", "#e45756", "#9d9d9d")
_BINS = len(EDGES) - 1


def histogram(power: NDArray[np.float32], mask: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(classes, bands, bins) counts of valid pixels from (3, H, W) power and its (H, W) mask.

    Values beyond the last edge are counted in the last bin.
    """
    valid = np.isfinite(power[0]) & np.isfinite(power[1])
    labels = mask[valid].astype(np.int32)
    labels[labels == IGNORE] = CLASSES.index("not labelled")
    counts = np.empty((len(CLASSES), len(power), _BINS), dtype=np.int64)
    scale = np.float32(_BINS / (EDGES[-1] - EDGES[0]))
    for band, values in enumerate(power):
        position = (to_db(values[valid]) - np.float32(EDGES[0])) * scale
        index = np.minimum(position.astype(np.int32), _BINS - 1) + labels * _BINS
        counts[:, band] = np.bincount(index, minlength=counts[:, band].size).reshape(-1, _BINS)
    return counts


def draw_histograms(path: Path, cities: Mapping[str, NDArray[np.int64]]) -> None:
    """Draw each band's histograms, all cities together and each as a thin line, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    together = np.sum(list(cities.values()), axis=0)
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    axes = figure.subplots(1, len(BAND_NAMES), sharey=True)
    middles = (EDGES[1:] + EDGES[:-1]) / 2
    for band, (name, ax) in enumerate(zip(BAND_NAMES, axes, strict=True)):
        for index, (label, colour) in enumerate(zip(CLASSES, _COLOURS, strict=True)):
            total = together[index, band].sum()
            if total == 0:
                continue
            title = f"{label}: {total / 1e6:.2f} Mpx"
            ax.plot(middles, _density(together[index, band]), color=colour, label=title)
            if len(cities) > 1:
                for counts in cities.values():
                    ax.plot(middles, _density(counts[index, band]), color=colour, lw=0.5, alpha=0.5)
        ax.set(title=name, xlabel="dB", xlim=_range(together[:, band].sum(axis=0)))
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("density per dB")
    axes[0].legend(fontsize="small")
    FigureCanvasAgg(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, metadata={"Software": None})


def _density(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    return counts / (max(counts.sum(), 1) * (EDGES[1] - EDGES[0]))


def _range(counts: NDArray[np.int64]) -> tuple[float, float]:
    """The part of the axis that holds all but 1 in 10,000 pixels on either side."""
    share = np.cumsum(counts) / max(counts.sum(), 1)
    first, last = np.searchsorted(share, (1e-4, 1 - 1e-4))
    return float(EDGES[max(first - 4, 0)]), float(EDGES[min(last + 5, _BINS)])
