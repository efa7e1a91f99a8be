"""A scene predicted at several scales, and folded into one raster of probabilities.

    the scene ── by halves (zoom.py) ── predict_raster at each scale ── levels/<scale>/<scene>
                                                                              │ 8 bits, own size
                         raw/<scene>: block by block, what the coarser scales gave is brought to the
                                      pixels of the next and folded with it (fold.py)

Every scale is predicted by the same network, so at ε = 2 the coarser ones cost a third of the
finest; their windows are as large as need be (`fitting`). Levels stay: a prediction that was killed
goes on with the next one, another fold or alpha predicts nothing again, and `cascade_fit` learns
its weights from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from builtup.errors import ConfigError
from builtup.geo.grid import Grid
from builtup.geo.prefetch import running_ahead
from builtup.geo.probability import NODATA
from builtup.geo.rasters import create_cog, gdal_env, open_raster
from builtup.geo.windows import Window, aligned, even_offsets
from builtup.jobs.files import scratch_directory
from builtup.jobs.steps import Job, Step, describe_input, is_done, record_done
from builtup.prediction.decoders import Opening
from builtup.prediction.fold import FOLDS, Folding, Parts, folded_bytes
from builtup.prediction.progress import Advance
from builtup.prediction.raster import CACHE_BYTES, GridLimits, Predicted, predict_raster
from builtup.prediction.windows import Stream
from builtup.prediction.zoom import Halves, Zoom, cascade_scales, make_halves
from builtup.runs.results import PredictionTags, read_tags, write_tags
from builtup.runs.scale_weights import ScaleWeights
from builtup.sensors.classes import Classes

__all__ = [
    "LEVELS",
    "Cascade",
    "Source",
    "fitting",
    "level_job",
    "predict_source",
]

#: Where the levels lie, beside raw/.
LEVELS = "levels"
LEVEL = Step("predict_level", 2)
#: Rows and columns of the blocks that are folded: a quarter of one of the COG's.
BLOCK = (128, 512)
#: Bytes of GDAL's cache meanwhile: coarse blocks are part of many blocks of the scene.
CACHE = 64_000_000
#: Windows that are fitted to a level have a side that is a multiple of this, as networks like it.
_SIDES = 32
#: What a scene's raster depends on, and the levels that it is folded from do not.
_FOLDED = frozenset({"fold", "fold_tuned_on"})


@dataclass(frozen=True)
class Cascade:
    """At which scales scenes are predicted, and how they are folded.

    Without `scales` they are ε^−D … 1, ε being the `exponent` (above 1), as `cascade_scales` has
    them. `fitted` is where the weights of logits come from. Raises ConfigError for scales that make
    no sense.
    """

    folding: Folding
    scales: tuple[float, ...] = ()
    exponent: float = 2.0
    fitted: ScaleWeights | None = None

    def __post_init__(self) -> None:
        if not 1 < self.exponent < float("inf"):
            raise ConfigError(f"exponent={self.exponent:g}: must be above 1")
        if not all(0 < scale <= 8 for scale in self.scales):
            raise ConfigError(f"scales={self._said}: a scale is above 0, and at most 8")
        if len(set(self.scales)) < len(self.scales):
            raise ConfigError(f"scales={self._said}: one of them is given twice")
        if self.folding.kind in {"vote", "soft"} and any(scale > 1 for scale in self.scales):
            raise ConfigError(
                f"scales={self._said}: fold={self.folding.kind} goes from coarse to 1, never "
                "above; use fold=mean or logits for larger scales"
            )

    @classmethod
    def of(
        cls, fold: str, alpha: float, exponent: float, scales: tuple[float, ...], classes: Classes
    ) -> Cascade | None:
        """By the options of a prediction; None where `fold` is empty, which is one scale.

        Raises ConfigError for options that make no sense, InputError for weights that cannot be
        read.
        """
        kind, _, where = fold.partition(":")
        if not kind:
            if scales:
                said = ";".join(f"{scale:g}" for scale in scales)
                raise ConfigError(
                    f"scales={said}: say how they are folded, fold={', '.join(FOLDS[:-1])} or "
                    "logits:<where cascade_fit was run>"
                )
            return None
        if kind != "logits":
            return cls(Folding(fold, alpha), scales, exponent)
        if not where:
            raise ConfigError(
                "fold=logits: whose weights? Use fold=logits:<a folder of predictions or an "
                "inference run on which cascade_fit was run>"
            )
        fitted = ScaleWeights.named(where)
        if fitted.classes != classes.names:
            raise ConfigError(
                f"fold={fold}: weights of the classes {', '.join(fitted.classes)}, not "
                f"{', '.join(classes.names)}; {fitted.REMEDY}"
            )
        if scales and tuple(sorted(scales)) != fitted.scales:
            own = ";".join(f"{scale:g}" for scale in fitted.scales)
            raise ConfigError(f"fold={fold}: weights of the scales {own}; leave scales out")
        return cls(Folding(kind, alpha, fitted.weights), fitted.scales, exponent, fitted)

    def __str__(self) -> str:
        """What the pixels depend on, as records have it."""
        kind = self.folding.kind
        if self.fitted is not None:
            return f"{kind} {self.fitted.digest}"
        share = f", alpha {self.folding.alpha:g}" if kind in {"vote", "soft"} else ""
        scales = f"scales {self._said}" if self.scales else f"scales by {self.exponent:g}"
        return f"{kind}{share}, {scales}"

    @property
    def _said(self) -> str:
        return ";".join(f"{scale:g}" for scale in self.scales)

    def zooms(self, grid: Grid, window: int) -> list[Zoom]:
        """The scales of a raster, from the coarsest."""
        scales = self.scales or cascade_scales(grid.width, grid.height, window, self.exponent)
        return [Zoom(grid, scale) for scale in sorted(scales)]


class Limits(Protocol):
    """What a prediction is limited to, such as an area."""

    def on(self, grid: Grid) -> GridLimits | None:
        """It on a grid; None where it does not meet it."""
        ...


@dataclass(frozen=True)
class Source:
    """A raster that can be read by windows.

    `opening` opens what reads windows of it, (inputs, h, w) float32, NaN where invalid; `halves`
    are the openings of its own average overviews, where it has them. `name` begins what is said of
    it, GDAL's cache holds `cache` bytes while it is read, outside of `area` all is no-data.
    """

    opening: Opening[Window]
    grid: Grid
    name: str
    cache: int = CACHE_BYTES
    area: Limits | None = None
    halves: Halves | None = None


def level_job(job: Job, scale: float) -> Job:
    """The job of one level of the scene whose raster is the first output of `job`."""
    raster = job.outputs[0]
    folder = raster.parent.parent / LEVELS / f"{scale:.6g}"
    settings = {key: value for key, value in job.settings.items() if key not in _FOLDED}
    return Job(
        name=f"{job.name} at scale {scale:.6g}",
        inputs=job.inputs,
        outputs=(folder / raster.name,),
        settings={**settings, "scale": scale},
    )


def predict_source(
    source: Source,
    stream: Stream,
    cascade: Cascade | None,
    job: Job,
    tags: PredictionTags,
    quicklook: Path | None = None,
    advance: Advance = lambda pixels: None,
) -> Predicted:
    """Predict a raster into the first output of `job`, a COG: at its own scale, or at several.

    Raises as `predict_raster`.
    """
    if cascade is not None:
        return _predict_cascade(source, stream, cascade, job, tags, quicklook, advance)
    return predict_raster(
        source.opening,
        source.grid,
        stream,
        job.outputs[0],
        tags,
        name=source.name,
        cache=source.cache,
        area=None if source.area is None else source.area.on(source.grid),
        quicklook=quicklook,
        advance=advance,
    )


def _predict_cascade(
    source: Source,
    stream: Stream,
    cascade: Cascade,
    job: Job,
    tags: PredictionTags,
    quicklook: Path | None,
    advance: Advance,
) -> Predicted:
    """Levels of before that are of the same inputs and settings are taken as they are."""
    zooms = cascade.zooms(source.grid, stream.window)
    jobs = [level_job(job, zoom.scale) for zoom in zooms]
    todo = [(zoom, of) for zoom, of in zip(zooms, jobs, strict=True) if not is_done(LEVEL, of)]
    work = sum(zoom.scale**2 for zoom in zooms)
    before = work - sum(zoom.scale**2 for zoom, _ in todo)
    advance(round(source.grid.pixels * before / work))
    windows = 0
    if todo:
        inputs = [describe_input(path) for path in job.inputs]
        factor = max(zoom.factor for zoom, _ in todo)
        with scratch_directory(job.outputs[0]) as folder:
            opening, grid = source.opening, source.grid
            halves = make_halves(opening, grid, stream.inputs, factor, folder, source.halves)
            for zoom, of in todo:
                of.forget()
                seen = quicklook if zoom.scale == zooms[-1].scale else None
                count = _sharing(advance, zoom, work)
                done = _predict_level(source, zoom, halves, stream, of, tags, seen, count)
                windows += done.windows
                record_done(LEVEL, of, inputs)
    paths = [of.outputs[0] for of in jobs]
    said = [own for path in paths if (own := read_tags(path).presence) is not None]
    tags = replace(tags, presence=max(said, default=None))
    folding = replace(cascade.folding, threshold=tags.threshold, mapped=tags.class_set.mapped_index)
    valid = _fold(source, zooms, paths, folding, job.outputs[0], tags, stream.bands)
    return Predicted(windows, source.grid.pixels, valid, tags.presence)


def _sharing(advance: Advance, zoom: Zoom, work: float) -> Advance:
    """What counts the pixels of a level as their share of the work on the scene."""
    share = zoom.full.pixels * zoom.scale**2 / work / zoom.grid.pixels
    return lambda pixels: advance(round(pixels * share))


def _predict_level(
    source: Source,
    zoom: Zoom,
    halves: Halves,
    stream: Stream,
    job: Job,
    tags: PredictionTags,
    quicklook: Path | None,
    advance: Advance,
) -> Predicted:
    grid = zoom.grid
    if zoom.scale != 1 and stream.backend == "torch":  # others are made for one size
        stream = fitting(stream, grid)
    return predict_raster(
        zoom.opening(halves),
        grid,
        stream,
        job.outputs[0],
        replace(tags, width=grid.width, height=grid.height),
        name=source.name,
        cache=source.cache if zoom.factor == 1 else CACHE_BYTES,
        area=None if source.area is None else source.area.on(grid),
        quicklook=quicklook,
        advance=advance,
        overviews=False,
    )


def fitting(stream: Stream, grid: Grid) -> Stream:
    """As many windows as ever, and no larger than they must be to overlap: a coarse level is a few
    windows wide, 1,024 pixels three of 512 with an overlap of 64, which three of 384 cover."""

    def side(length: int) -> int:
        count = len(even_offsets(length, stream.window, stream.overlap))
        least = -(-(length + (count - 1) * stream.overlap) // count)
        return min(stream.window, -(-least // _SIDES) * _SIDES)

    return replace(stream, window=max(side(grid.width), side(grid.height)))


# --- folding ------------------------------------------------------------------------------------


def _fold(
    source: Source,
    zooms: Sequence[Zoom],
    paths: Sequence[Path],
    folding: Folding,
    final: Path,
    tags: PredictionTags,
    bands: int,
) -> bool:
    """Write the folded raster; whether any of its pixels is valid."""
    grid = source.grid
    area = None if source.area is None else source.area.on(grid)
    profile: dict[str, Any] = {"count": bands, "dtype": "uint8", "nodata": NODATA}
    blocks = _blocks(grid)
    reading, threads = Lock(), torch.get_num_threads()
    any_valid = False
    with (
        gdal_env(GDAL_CACHEMAX=max(source.cache, CACHE)),
        create_cog(final, grid, **profile) as out,
        ExitStack() as stack,
    ):
        write_tags(out, tags)
        out.descriptions = tags.class_set.bands
        rasters = [stack.enter_context(open_raster(path)) for path in paths]
        at_full = zooms[-1].scale == 1
        read = None if at_full else stack.enter_context(source.opening())

        def take(window: Window) -> NDArray[np.uint8]:
            with reading:
                parts = Parts.read(rasters, zooms, window)
                power = None if read is None else read(window)
            valid = None if power is None else np.logical_and.reduce(~np.isnan(power), axis=0)
            values = folded_bytes(folding, parts, valid)
            if area is not None:
                values = np.where(area.holds(window), values, np.uint8(NODATA))
            return values

        ahead = {"depth": 2 * threads, "threads": threads}
        with one_thread_each(), running_ahead(take, blocks, **ahead) as taken:
            for window, values in zip(blocks, taken, strict=True):
                any_valid = any_valid or bool((values != NODATA).any())
                out.write(values, window=window.rasterio)
    return any_valid


def _blocks(grid: Grid) -> list[Window]:
    """Those of a block of the COG after each other, so that it is decoded once."""
    _, columns = BLOCK
    return [
        Window(whole.y + part.y, whole.x, part.height, part.width)
        for whole in aligned(grid.width, grid.height, (columns, columns))
        for part in aligned(whole.width, whole.height, BLOCK)
    ]


@contextmanager
def one_thread_each() -> Iterator[None]:
    """PyTorch's work in the thread that calls it: many short calls only wait for other threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
