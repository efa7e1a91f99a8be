"""What happens around the training steps: validation, checkpoints, limits, the log."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from tqdm import tqdm

from builtup.data.contract import Places, SampleLoader
from builtup.logs import no_bars
from builtup.models.heads import terms_of
from builtup.runs.recorder import Recorder
from builtup.runs.records import Summary
from builtup.scoring.counts import rank_tiles
from builtup.scoring.curves import choose_threshold
from builtup.scoring.tables import as_json, three_decimals
from builtup.training.checkpoints import BestValidation, Progress, full_state, save_state
from builtup.training.evaluator import evaluate
from builtup.training.learner import Learner
from builtup.training.metrics import SegmentationScores
from builtup.training.trainer import Step

__all__ = [
    "Saver",
    "Validation",
    "attach_curves",
    "attach_early_stopping",
    "attach_epochs",
    "attach_saver",
    "attach_time_limit",
    "attach_validation",
    "in_words",
    "progress_bar",
]

log = logging.getLogger(__name__)


@dataclass
class Saver:
    """Writes checkpoints of full state, weights and the summary into the run's artifacts.

    `summary` holds facts of the run, to which the best validation is added; `made` is what
    checkpoints record as `made_with`.
    """

    learner: Learner
    progress: Progress
    loader: SampleLoader
    folder: Path
    summary: Summary
    made: Mapping[str, Any]

    def save(self, name: str) -> None:
        """Write checkpoints/<name>.pt and weights/<name>.pt (rank 0)."""
        if idist.get_rank() != 0:
            return
        state = full_state(self.learner, self.progress, self.loader, self.made)
        save_state(state, self.folder / "checkpoints" / f"{name}.pt")
        save_state(self.learner.weights.state_dict(), self.folder / "weights" / f"{name}.pt")

    def write_summary(self, *, finished: bool) -> None:
        """Write summary.json (rank 0)."""
        if idist.get_rank() != 0:
            return
        best, inherited = self.progress.best, self.summary.inherited_threshold
        threshold, tuned_on = 0.5, tuple[str, ...]()
        if best is not None:
            threshold, tuned_on = best.threshold, self.summary.val_cities or ()
        elif inherited is not None:
            threshold, tuned_on = inherited.threshold, inherited.tuned_on
        replace(
            self.summary,
            finished=finished,
            epochs=self.progress.epoch,
            iterations=self.progress.iteration,
            best_iteration=self.progress.best_iteration if best else self.progress.iteration,
            threshold=threshold,
            threshold_f1=None if best is None else best.threshold_f1,
            threshold_tuned_on=tuned_on,
            metrics={} if best is None else best.scores,
            confusion={} if best is None else best.confusion,
        ).write(self.folder)


@dataclass
class Validation:
    """Validates the learner's weights, logs the scores and keeps the best weights.

    `names` are the scores that are logged (and worst_city_f1), for all pixels and per city; the
    first decides which weights are the best. An undefined score never is, and does not count
    against the patience of early stopping: it says nothing of the weights. `on_better(iteration)`
    is called on rank 0.
    """

    learner: Learner
    evaluator: Engine
    loader: SampleLoader
    recorder: Recorder
    saver: Saver
    names: Sequence[str]
    on_better: Callable[[int], None] | None = None
    prefix: str = "val"
    validated: int = -1  # iteration
    seconds: float = 0.0  # that it took last
    last: BestValidation | None = None
    undefined: bool = False  # once, and said

    def __post_init__(self) -> None:
        self.loader = self.loader.dealt()

    def run(self, iteration: int) -> None:
        """Validate now, unless these weights were validated already."""
        if self.validated == iteration:
            return
        self.validated = iteration
        started = time.monotonic()
        self.learner.sync_buffers()
        scores = evaluate(self.evaluator, self.learner.weights, self.loader)
        self._log(scores, iteration)
        self.last = _as_record(scores, self.evaluator.scores, self.loader.places)
        if self.prefix != "train":
            self._compare(scores, self.last, iteration)
        self.seconds = time.monotonic() - started

    def _log(self, scores: dict[str, float], iteration: int) -> None:
        wanted = {
            f"{self.prefix}/{name}": value
            for name, value in scores.items()
            if name.rpartition("/")[2] in (*self.names, "worst_city_f1")
        }
        self.recorder.metrics(wanted, iteration)
        headline = ", ".join(f"{name} {three_decimals(scores[name])}" for name in self.names)
        log.info("iteration %d: %s %s", iteration, self.prefix, headline)

    def _compare(self, scores: dict[str, float], record: BestValidation, iteration: int) -> None:
        progress = self.saver.progress
        score = scores[self.names[0]]
        if math.isnan(score):
            self._say_undefined(iteration)
            return
        if score <= progress.best_score:
            progress.without_better += 1
            return
        progress.best_score, progress.best_iteration = score, iteration
        progress.without_better = 0
        progress.best = record
        if self.evaluator.scores.classes.by_threshold:
            chosen = {
                "val/threshold": record.threshold,
                "val/f1_at_threshold": record.threshold_f1,
            }
            self.recorder.metrics(chosen, iteration)
        self.saver.save("best")
        self.saver.write_summary(finished=False)
        if self.on_better is not None and idist.get_rank() == 0:
            self.on_better(iteration)

    def _say_undefined(self, iteration: int) -> None:
        """Once: where nothing is defined later, every validation would say the same."""
        if not self.undefined and idist.get_rank() == 0:
            log.warning(
                "iteration %d: %s is undefined on the validation ground (the class is not there, "
                "or is not predicted): it chooses no weights, and es_patience does not count it",
                *(iteration, self.names[0]),
            )
        self.undefined = True


def _as_record(
    scores: dict[str, float], counts: SegmentationScores, places: Places
) -> BestValidation:
    threshold = choose_threshold(counts.histogram)
    ranked = rank_tiles(counts.tiles, places.city_indices)
    return BestValidation(
        scores=as_json(scores),
        threshold=0.5 if threshold is None else threshold.value,
        threshold_f1=scores["f1"] if threshold is None else threshold.f1,
        confusion={
            city: matrix.tolist()
            for city, matrix in zip(counts.cities or ("all",), counts.matrices, strict=True)
        },
        histogram=counts.histogram.tolist(),
        tiles={counts.cities[city]: chosen for city, chosen in ranked.items()},
    )


def attach_epochs(trainer: Engine, progress: Progress, loader: SampleLoader) -> None:
    """Count iterations and epochs; tell the loader which epoch begins."""

    @trainer.on(Events.EPOCH_STARTED)
    def tell() -> None:
        loader.set_epoch(trainer.state.epoch)

    @trainer.on(Events.ITERATION_COMPLETED)
    def count() -> None:
        progress.iteration = trainer.state.iteration
        progress.epoch = trainer.state.iteration // trainer.state.epoch_length


def attach_curves(
    trainer: Engine,
    learner: Learner,
    recorder: Recorder,
    log_interval: int,
    max_minutes: float | None = None,
) -> None:
    """Log train/loss, the mean over valid pixels since the last point, and lr; of each lesson and
    each term of a criterion of heads train/<name>, its own mean.

    The line of an epoch says how long the rest takes: at the pace so far, and no longer than
    `max_minutes` allow.
    """
    since, epoch = _Losses(learner), _Losses(learner)
    began = [time.monotonic()]
    begun = [time.monotonic(), 0]

    @trainer.on(Events.STARTED)
    def start() -> None:
        begun[:] = [time.monotonic(), trainer.state.iteration]

    @trainer.on(Events.EPOCH_STARTED)
    def begin() -> None:
        epoch.clear()
        began[:] = [time.monotonic()]

    @trainer.on(Events.ITERATION_COMPLETED)
    def add() -> None:
        step: Step = trainer.state.output
        since.add("loss", step.loss * step.pixels, step.pixels)
        for name, (loss, count) in (*step.terms.items(), *step.lessons.items()):
            since.add(name, loss * count, count)

    @trainer.on(Events.ITERATION_COMPLETED(every=log_interval) | Events.EPOCH_COMPLETED)
    def point() -> None:
        since.sums = since.reduced()
        for name, (total, count) in since.sums.items():
            epoch.add(name, total, count)
        means = {f"train/{name}": since.mean(name) for name in since.names}
        if found := {name: mean for name, mean in means.items() if mean is not None}:
            found["lr"] = learner.optimizer.param_groups[0]["lr"]
            recorder.metrics(found, trainer.state.iteration)
        since.clear()

    @trainer.on(Events.EPOCH_COMPLETED)
    def line() -> None:
        state, now = trainer.state, time.monotonic()
        done = state.iteration - begun[1]
        left = (now - begun[0]) / done * (state.max_epochs * state.epoch_length - state.iteration)
        if max_minutes is not None:
            left = min(left, max_minutes * 60 - (now - begun[0]))
        log.info(
            "epoch %d/%d: %s, %.1f s%s",
            *(state.epoch, state.max_epochs, epoch, now - began[0]),
            f", about {in_words(left)} left" if left > 0 else "",
        )


class _Losses:
    """Sums of losses over what they count, by name: "loss", each term of it, each lesson."""

    def __init__(self, learner: Learner) -> None:
        self.weights = {term.name: term.weight for term in terms_of(learner.criterion)}
        self.names = ("loss", *self.weights, *(lesson.name for lesson in learner.lessons))
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.sums = dict.fromkeys(self.names, (0.0, 0))

    def add(self, name: str, total: float, count: int) -> None:
        """Add the sum of losses of so many elements."""
        before = self.sums[name]
        self.sums[name] = (before[0] + total, before[1] + count)

    def reduced(self) -> dict[str, tuple[float, int]]:
        """The sums of all processes."""
        return {
            name: (float(idist.all_reduce(total)), int(idist.all_reduce(count)))
            for name, (total, count) in self.sums.items()
        }

    def mean(self, name: str) -> float | None:
        """The mean of a name, of a loss of terms the weighted sum of theirs; None of nothing."""
        total, count = self.sums[name]
        if not count:
            return None
        if name != "loss" or not self.weights:
            return total / count
        return sum(weight * (self.mean(term) or 0.0) for term, weight in self.weights.items())

    def __str__(self) -> str:
        """As in the line of an epoch: "loss 0.4300 (classes 0.4100, height 0.0200)"; without a
        label that of the lessons alone."""
        means = {name: mean for name in self.names if (mean := self.mean(name)) is not None}
        if "loss" not in means:
            return ", ".join(f"{name} {mean:.4f}" for name, mean in means.items()) or "no loss"
        of_terms = ", ".join(f"{name} {means.get(name, 0.0):.4f}" for name in self.weights)
        return f"loss {means['loss']:.4f}" + (f" ({of_terms})" if of_terms else "")


def in_words(seconds: float) -> str:
    """A time as people say it: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def attach_validation(
    trainer: Engine, validation: Validation, every: int, *, at_start: bool = False
) -> None:
    """Validate every `every` epochs and at the end, at the start where asked for."""
    if at_start:
        trainer.add_event_handler(Events.STARTED, lambda: validation.run(trainer.state.iteration))
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED(every=every) | Events.COMPLETED,
        lambda: validation.run(trainer.state.iteration),
    )


def attach_early_stopping(trainer: Engine, progress: Progress, patience: int) -> None:
    """Stop after `patience` validations without a better one; attach after the validation."""

    @trainer.on(Events.EPOCH_COMPLETED)
    def stop() -> None:
        if progress.without_better >= patience and not trainer.should_terminate:
            log.info("stopped early: %d validations without a better one", patience)
            trainer.terminate()


def attach_time_limit(trainer: Engine, validation: Validation | None, minutes: float) -> None:
    """End training in time for a last validation within `minutes` from now.

    It ends after an optimiser step, in all processes after the same one.
    """
    started = time.monotonic()

    @trainer.on(Events.ITERATION_COMPLETED)
    def stop() -> None:
        if not trainer.state.output.stepped or trainer.should_terminate:
            return
        reserve = 0.0 if validation is None else validation.seconds
        late = time.monotonic() - started + reserve > minutes * 60
        if idist.broadcast(float(late), src=0):
            log.info("max_minutes = %g reached in epoch %d", minutes, trainer.state.epoch)
            trainer.terminate()


def attach_saver(trainer: Engine, saver: Saver) -> None:
    """Save the last state after each epoch and at the end; attach after the validation.

    Without any validation the last weights are the best.
    """
    saved = [-1]

    @trainer.on(Events.EPOCH_COMPLETED | Events.COMPLETED)
    def save() -> None:
        if saved[0] != trainer.state.iteration:
            saver.save("last")
            saved[0] = trainer.state.iteration

    @trainer.on(Events.COMPLETED)
    def finish() -> None:
        if saver.progress.best is None:  # nothing was validated, or no score was defined
            saver.save("best")
        saver.write_summary(finished=True)


@contextmanager
def progress_bar(trainer: Engine, *, active: bool = True) -> Iterator[None]:
    """One bar an epoch while the context lasts, cleared at its end; lines of the log go above it.

    Nothing is shown where it is not `active` (all ranks but 0), or off a terminal.
    """
    with tqdm(unit="batch", disable=no_bars() if active else True, leave=False) as bar:
        if bar.disable:
            yield
            return

        def begin() -> None:
            bar.reset(trainer.state.epoch_length)
            bar.set_description(f"epoch {trainer.state.epoch}/{trainer.state.max_epochs}")

        def tick() -> None:
            bar.set_postfix_str(f"loss {trainer.state.output.loss:.3f}", refresh=False)
            bar.update()

        trainer.add_event_handler(Events.EPOCH_STARTED, begin)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, tick)
        yield
