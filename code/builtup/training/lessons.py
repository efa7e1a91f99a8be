"""Lessons: further batches with a loss of their own, taught in the same optimiser step.

A config's `lessons(model)` gives a list of them: soft labels of other ground, coarse shares of
cells. Each adds its weight times the gradient of its own mean, over all processes, to that of the
labelled batches, whatever these accumulate. Batch n of a lesson is a function of n and draws
nothing from the generators of the training, so that nothing need be saved to go on with a run.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from builtup.data.contract import PrepareBatch, SampleLoader, as_tile_loader
from builtup.errors import ConfigError
from builtup.models.heads import On, Outputs, Targets, class_logits, mask_of
from builtup.models.losses import Loss

__all__ = [
    "Counted",
    "KeepsState",
    "Lesson",
    "Teaching",
    "as_lessons",
    "due",
    "lesson_states",
    "restore_lessons",
]


@dataclass(frozen=True)
class Counted:
    """A mean loss of one process's batch, and of how many elements (0: it says nothing)."""

    loss: Tensor
    count: int


@dataclass(frozen=True)
class Teaching:
    """What the loss of a lesson is given besides its batch.

    `network` is the student, which learns; `average` the exponential average of its weights, the
    teacher, None where the config has no `ema_decay`. `share` is how much of the training's steps
    is done, 0 to 1.
    """

    network: nn.Module
    average: nn.Module | None
    device: torch.device
    prepare: PrepareBatch
    autocast: Callable[[], AbstractContextManager[Any]]
    share: float = 0.0

    def image_and_targets(self, batch: Any) -> tuple[Tensor, Targets]:
        """The batch on the device: image (N, B, H, W) float32, mask or dict of targets."""
        return self.prepare(batch, self.device, self.device.type == "cuda")

    def image_and_target(self, batch: Any) -> tuple[Tensor, Tensor]:
        """The batch on the device: image (N, B, H, W) float32, target (N, H, W) int64."""
        image, targets = self.image_and_targets(batch)
        return image, mask_of(targets)

    def outputs(self, image: Tensor) -> Outputs:
        """What the student gives, with a gradient: logits, or a dict of its heads."""
        with self.autocast():
            outputs: Outputs = self.network(image)
        return outputs

    def student(self, image: Tensor) -> Tensor:
        """The student's logits (N, C, H, W) float32, with a gradient."""
        outputs = self.outputs(image)
        logits = class_logits(outputs).float()
        return logits if isinstance(outputs, Tensor) else logits + _nothing(outputs)

    def teacher(self, image: Tensor) -> Tensor | None:
        """The teacher's probabilities (N, C, H, W) float32, without one; None without a teacher."""
        return None if self.average is None else self._judged(self.average, image)

    def itself(self, image: Tensor) -> Tensor:
        """The student's own probabilities as it predicts (N, C, H, W) float32, no gradient."""
        # the bare network: processes exchange nothing for what is not learnt from
        return self._judged(getattr(self.network, "module", self.network), image)

    def _judged(self, network: nn.Module, image: Tensor) -> Tensor:
        was_training = {m: m.training for m in network.modules()}
        network.eval()
        try:
            with torch.no_grad(), self.autocast():
                logits = class_logits(network(image))
            return logits.float().softmax(1)
        finally:
            for module, training in was_training.items():
                module.training = training


#: What a lesson's batch costs; a `Loss` costs what it does on the batch's mask, an `On` what it
#: does on the head and the target that it names. One with `needs_average`, where it is true, is
#: refused before the first step without `ema_decay`.
LessonLoss = Callable[[Teaching, Any], Counted]


@runtime_checkable
class KeepsState(Protocol):
    """A loss of a lesson that keeps something from batch to batch, such as a running mean.

    Its state is of numbers, text and None, as checkpoints hold them.
    """

    def state_dict(self) -> dict[str, Any]:
        """What a run that goes on needs."""

    def load_state_dict(self, state: Any) -> Any:
        """Put back what `state_dict` gave."""


@dataclass
class Lesson:
    """A loader with a loss, taught at every `every`-th optimiser step once `since` epochs are done.

    `name` is that of its curve train/<name>, `weight` counts beside the loss of the labelled
    batches. With `norms` its batches move the running statistics of batch normalisation; without,
    they are normalised by their own and leave those of the labelled ground alone.
    """

    name: str
    loader: Any
    loss: LessonLoss | Loss | On
    weight: float = 1.0
    every: int = 1
    since: int = 0
    norms: bool = False
    _batches: _Batches = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.weight < float("inf") or self.every < 1 or self.since < 0:
            raise ConfigError(
                f"lesson {self.name}: weight = {self.weight}, every = {self.every}, since = "
                f"{self.since}: expected a weight above 0, every of 1 or more, since of 0 or more"
            )
        self._batches = _Batches(self.samples, self.name)

    def __str__(self) -> str:
        weight = "" if self.weight == 1 else f"{self.weight:g}·"
        often = "" if self.every == 1 else f", every {self.every} steps"
        later = f", since epoch {self.since}" if self.since else ""
        return f"{weight}{self.name}{often}{later}"

    @property
    def samples(self) -> SampleLoader:
        """Its loader as training sees loaders."""
        return as_tile_loader(self.loader)

    @property
    def folder(self) -> Path | None:
        """The folder of tiles that it learns from, where that is known."""
        return self.samples.folder

    def batch(self, step: int) -> Any:
        """The batch of an optimiser step (from 0) at which it is due."""
        return self._batches.batch(step // self.every)

    def teach(self, teaching: Teaching, step: int) -> Counted:
        """The loss of the step's batch."""
        batch = self.batch(step)
        with _statistics_kept(teaching.network, self.norms):
            if isinstance(self.loss, On):
                image, targets = teaching.image_and_targets(batch)
                outputs = teaching.outputs(image)
                loss = self.loss(outputs, targets) + _nothing(outputs)
                return Counted(loss, self.loss.count(targets))
            if not isinstance(self.loss, Loss):
                return self.loss(teaching, batch)
            image, target = teaching.image_and_target(batch)
            loss = self.loss(teaching.student(image), target)
        return Counted(loss, self.loss.count(target))


def _nothing(outputs: Outputs) -> Tensor:
    """0 times all that a network gave: a gradient, of 0, also for heads that a lesson leaves out.

    Processes exchange their gradients once each parameter has one.
    """
    maps = [outputs] if isinstance(outputs, Tensor) else list(outputs.values())
    return 0.0 * torch.stack([values.float().sum() for values in maps]).sum()


def as_lessons(built: Any, where: object) -> tuple[Lesson, ...]:
    """What a config's `lessons()` returned; ConfigError where that is no list of Lesson."""
    if built is None:
        return ()
    lessons = tuple(built) if isinstance(built, list | tuple) else (built,)
    for lesson in lessons:
        if not isinstance(lesson, Lesson):
            raise ConfigError(
                f"{where}: lessons() returned {type(lesson).__name__}, not a list of "
                "builtup.training.lessons.Lesson; correct what it returns"
            )
        if len(lesson.samples) == 0:
            raise ConfigError(f"{where}: the loader of lesson {lesson.name} gives no batch")
    names = [lesson.name for lesson in lessons]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{where}: two lessons are called {twice[0]}; give each its own name")
    if "loss" in names:
        raise ConfigError(f"{where}: a lesson is called loss, as the curve of all; rename it")
    return lessons


def lesson_states(lessons: Sequence[Lesson]) -> dict[str, Any]:
    """What losses of lessons keep from batch to batch, by lesson: of most nothing."""
    kept = {one.name: one.loss for one in lessons if isinstance(one.loss, KeepsState)}
    return {name: loss.state_dict() for name, loss in kept.items()}


def restore_lessons(lessons: Sequence[Lesson], states: Mapping[str, Any]) -> None:
    """Put back what `lesson_states` gave; a lesson of which it has nothing begins anew."""
    for one in lessons:
        if isinstance(one.loss, KeepsState) and one.name in states:
            one.loss.load_state_dict(states[one.name])


def due(lessons: Sequence[Lesson], step: int, epoch: int) -> list[Lesson]:
    """The lessons of an optimiser step (from 0) in an epoch (from 1): of every fifth the 5th, the
    10th, …, so that labels come first."""
    return [one for one in lessons if epoch > one.since and (step + 1) % one.every == 0]


class _Batches:
    """Batch n of a loader: of its epoch n // length, the batch n % length.

    Read one after the other; after a jump (a run that is gone on with) the batches before it in
    its epoch are made and left out.
    """

    def __init__(self, loader: SampleLoader, name: str) -> None:
        self.loader, self.name = loader, name
        self._iterator: Iterator[Any] = iter(())
        self._next = -1

    def batch(self, number: int) -> Any:
        with _own_randomness():
            if number != self._next or number % len(self.loader) == 0:
                self.loader.set_epoch(number // len(self.loader))
                self._iterator = itertools.islice(
                    iter(self.loader), number % len(self.loader), None
                )
            self._next = number + 1
            return next(self._iterator)


@contextmanager
def _own_randomness() -> Iterator[None]:
    """Give torch's CPU generator its state back: a loader draws a seed whenever it begins."""
    state = torch.default_generator.get_state()
    try:
        yield
    finally:
        torch.default_generator.set_state(state)


@contextmanager
def _statistics_kept(network: nn.Module, moved: bool) -> Iterator[None]:
    """Leave the running statistics of batch normalisation as they are, unless they are `moved`.

    Layers that track nothing normalise by the batch all the same, while they are in training.
    """
    layers = [m for m in network.modules() if isinstance(m, _NormBase) and m.track_running_stats]
    for layer in () if moved else layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True
