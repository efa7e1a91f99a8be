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

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from builtup.errors import ConfigError
from builtup.geo.grid import Grid
from builtup.geo.windows import even_offsets
from builtup.jobs.files import scratch_directory
from builtup.jobs.steps import Job, Step, describe_input, is_done, record_done
from builtup.prediction.fold import Folding
from builtup.prediction.folded_raster import fold_levels
from builtup.prediction.progress import Advance
from builtup.prediction.raster import CACHE_BYTES, Predicted, Source, predict_raster
from builtup.prediction.windows import Stream
from builtup.prediction.zoom import Halves, Zoom, cascade_scales, make_halves
from builtup.runs.results import PredictionTags, read_tags
from builtup.runs.scale_weights import ScaleWeights
from builtup.sensors.classes import Classes

__all__ = [
    "LEVELS",
    "Cascade",
    "fitting",
    "level_job",
    "predict_source",
]

log = logging.getLogger(__name__)

#: Where the levels lie, beside raw/.
LEVELS = "levels"
LEVEL = Step("predict_level", 2)
#: Windows that are fitted to a level have a side that is a multiple of this, as networks like it.
_SIDES = 32
#: What a scene's raster depends on, and the levels that it is folded from do not.
_FOLDED = frozenset({"fold", "fold_tuned_on"})


@dataclass(frozen=True)
class Cascade:
    """At which scales scenes are predicted, and how they are folded.

    Without `scales` they are ε^−D … 1, ε being the `exponent` (above 1), as `cascade_scales` has
    them. `fitted` are the weights of logits. Raises ConfigError for scales that make no sense.
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
        cls,
        fold: str,
        alpha: float,
        exponent: float,
        scales: tuple[float, ...],
        classes: Classes,
        own: Path | None = None,
    ) -> Cascade | None:
        """By the options of a prediction; None where it has one scale: no `fold`, no `scales`.

        The weights of logits are the model's, in `own`, the artifacts of its run, where no other
        place is named. Scales without a fold are folded by them: all other folds lose buildings
        where colours alone are known. Raises ConfigError for options that make no sense and for
        scales without a fold where the model has no weights, InputError for weights that cannot be
        read.
        """
        kept = own is not None and (own / ScaleWeights.NAME).is_file()
        said = f"fold={fold}" if fold else "scales without a fold"
        remedy = "leave scales out" if fold else "give these, or say fold=soft"
        if scales and not fold:
            fold = "logits"
            if kept:
                log.info("several scales: fold=logits, as its weights were fitted to this model")
        kind, _, where = fold.partition(":")
        if not kind:
            return None
        if kind != "logits":
            return cls(Folding(fold, alpha), scales, exponent)
        if not where and not kept:
            raise ConfigError(
                f"{said}: no weights of scales were fitted to this model; say fold=soft, mean or "
                "vote, or run cascade_fit on predictions that were made so (fold=logits:<where it "
                "was run> for another model)"
            )
        fitted = ScaleWeights.named(where or str(own))
        if fitted.classes != classes.names:
            raise ConfigError(
                f"fold={fold}: weights of the classes {', '.join(fitted.classes)}, not "
                f"{', '.join(classes.names)}; {fitted.REMEDY}"
            )
        if scales and tuple(sorted(scales)) != fitted.scales:
            theirs = ";".join(f"{scale:g}" for scale in fitted.scales)
            raise ConfigError(f"fold={fold}: weights of the scales {theirs}; {remedy}")
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
    valid = fold_levels(source, zooms, paths, folding, job.outputs[0], tags, stream.bands)
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
    """With windows of the size, from three quarters to nine eighths of the stream's, that covers a
    level with the least work: 1,024 pixels take nine windows of 512 that overlap by 64, or four of
    544."""
    window, overlap = stream.window, stream.overlap

    def work(side: int) -> int:
        across, down = (
            len(even_offsets(length, side, overlap)) for length in (grid.width, grid.height)
        )
        return across * down * side**2

    least = -(-min(max(grid.width, grid.height), 3 * window // 4) // _SIDES) * _SIDES
    sides = range(least, window + window // 8 + 1, _SIDES)
    return replace(stream, window=min((n for n in sides if n > overlap), key=work, default=window))
