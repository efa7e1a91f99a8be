"""Training steps: mixed precision, accumulated gradients, several processes."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from builtup.data.contract import Places
from builtup.errors import BuiltupError
from builtup.models.heads import Targets, class_logits, mask_of, terms_of, valid_elements
from builtup.training.evaluator import PrepareBatch, prepare_batch
from builtup.training.learner import Learner, in_one_line
from builtup.training.lessons import Lesson, Teaching, due

__all__ = ["Step", "create_trainer", "optimiser_steps"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """Output of a training iteration: this process's loss and valid pixels; whether it stepped.

    `lessons` are the losses of the lessons of the step, by name, with what each counted; `terms`
    those of a criterion of heads. Such a criterion learns from a group of batches at its last one,
    so that the iterations before it have the loss of the group before and no pixel.
    """

    loss: float
    pixels: int
    stepped: bool
    lessons: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    terms: Mapping[str, tuple[float, int]] = field(default_factory=dict)


def optimiser_steps(iterations: int, num_epochs: int, accumulation_steps: int) -> int:
    """Optimiser steps of a run: an epoch's last group of batches may be a short one."""
    return -(-iterations // accumulation_steps) * num_epochs


def create_trainer(
    learner: Learner,
    places: Places,
    prepare: PrepareBatch = prepare_batch,
    accumulation_steps: int = 1,
    clip_grad_norm: float | None = None,
) -> Engine:
    """An engine whose output is `Step`.

    The gradient of a group of `accumulation_steps` batches, over all processes, is that of their
    mean over valid pixels: each batch's loss (a mean over its valid pixels) counts by how many it
    has. The last group of an epoch may be incomplete; it is divided by its own pixels. Of a
    criterion of heads (`builtup.models.heads`) each term is the mean over the valid elements of its
    own target. The learner's lessons add to it, each by its weight times the gradient of its own
    mean.

    Raises BuiltupError at a loss that is not finite, naming the batch's tiles, and at a gradient
    that is not, naming the group's (float16 scales its gradients, and leaves such a step out).
    """
    kind = _UpdateOfTerms if terms_of(learner.criterion) else _Update
    update = kind(learner, places, prepare, accumulation_steps, clip_grad_norm)
    trainer = Engine(update)
    trainer.logger.disabled = True  # its lines repeat ours
    return trainer


class _Update:
    def __init__(
        self,
        learner: Learner,
        places: Places,
        prepare: PrepareBatch,
        accumulation_steps: int,
        clip_grad_norm: float | None,
    ) -> None:
        self.learner = learner
        self.places = places
        self.prepare = prepare
        self.accumulation_steps = accumulation_steps
        self.clip_grad_norm = clip_grad_norm
        self.group_pixels = 0  # of this process, since the last step
        self.group_tiles: list[str] = []
        self.unit = 0  # pixels of a batch, the same in all processes: keeps losses near 1

    def __call__(self, engine: Engine, batch: Any) -> Step:
        learner = self.learner
        learner.network.train()
        first, last = self._position(engine)
        step = self._number(engine)
        lessons = due(learner.lessons, step, engine.state.epoch) if last else []
        image, targets = self.prepare(batch, learner.device, learner.device.type == "cuda")
        target = mask_of(targets)
        pixels = valid_elements(learner.criterion, target)
        if self.unit == 0:
            self.unit = int(idist.all_reduce(target.numel(), op="MAX"))
        self.group_pixels = pixels + (0 if first else self.group_pixels)
        self.group_tiles = ([] if first else self.group_tiles) + self.places.names(batch)
        taught: dict[str, tuple[float, int]] = {}
        with in_one_line("training", self.places.names(batch)):
            with self._silent(last and not lessons):
                with learner.autocast():
                    loss = learner.criterion(class_logits(learner.network(image)), target)
                value = float(loss.detach())
                if not math.isfinite(value):
                    raise _stopped(engine, f"the loss is {value}", self.places.names(batch))
                learner.scaler.scale(loss * (pixels / self.unit)).backward()
            if last:
                total = int(idist.all_reduce(self.group_pixels))
                # what all gradients are divided by; of a group without labels, anything will do
                divisor = total or self.unit
                taught = self._teach(engine, lessons, step, divisor)
                counted = idist.all_reduce(sum(count for _, count in taught.values()))
                self._step(engine, divisor if total or counted else 0)
        return Step(value, pixels, last, taught)

    def _teach(
        self, engine: Engine, lessons: Sequence[Lesson], step: int, divisor: int
    ) -> dict[str, tuple[float, int]]:
        """Add the gradients of the lessons, scaled for the division of `_step`; their losses."""
        learner = self.learner
        taught: dict[str, tuple[float, int]] = {}
        for number, lesson in enumerate(lessons, 1):
            with self._silent(number == len(lessons)):
                found = lesson.teach(self._teaching(engine), step)
                value = float(found.loss.detach())
                if not math.isfinite(value):
                    names = lesson.samples.places.names(lesson.batch(step))
                    raise _stopped(engine, f"the loss of lesson {lesson.name} is {value}", names)
                everywhere = int(idist.all_reduce(found.count))
                share = found.count / everywhere if everywhere else 0.0
                scale = lesson.weight * share * divisor / self.unit
                learner.scaler.scale(found.loss * scale).backward()
            taught[lesson.name] = (value, found.count)
        return taught

    def _teaching(self, engine: Engine) -> Teaching:
        state, learner = engine.state, self.learner
        return Teaching(
            learner.network,
            None if learner.ema is None else learner.ema.module,
            learner.device,
            self.prepare,
            learner.autocast,
            share=state.iteration / (state.epoch_length * state.max_epochs),
        )

    def _number(self, engine: Engine) -> int:
        """The number of the optimiser step that this iteration is part of, from 0."""
        epoch, position = divmod(engine.state.iteration - 1, engine.state.epoch_length)
        steps = optimiser_steps(engine.state.epoch_length, 1, self.accumulation_steps)
        return epoch * steps + position // self.accumulation_steps

    def _position(self, engine: Engine) -> tuple[bool, bool]:
        """Whether this iteration begins and ends a group; groups do not cross epochs."""
        length = engine.state.epoch_length
        number = (engine.state.iteration - 1) % length + 1
        first = (number - 1) % self.accumulation_steps == 0
        return first, number % self.accumulation_steps == 0 or number == length

    def _silent(self, last: bool) -> contextlib.AbstractContextManager[Any]:
        """Gradients are exchanged between processes by the last backward pass of a step only."""
        network = self.learner.network
        if not last and isinstance(network, DistributedDataParallel):
            return network.no_sync()
        return contextlib.nullcontext()

    def _step(self, engine: Engine, divisor: int) -> None:
        """Divide the gradients and step; nothing was learnt from where `divisor` is 0."""
        learner = self.learner
        if divisor > 0:
            learner.scaler.unscale_(learner.optimizer)
            # DistributedDataParallel has divided the sum of gradients by the number of processes
            factor = self.unit * idist.get_world_size() / divisor
            gradients = list(_gradients(learner.optimizer))
            for gradient in gradients:
                gradient.mul_(factor)
            if not learner.scaler.is_enabled():
                self._refuse_infinite(engine, gradients)
            if self.clip_grad_norm is not None:
                nn.utils.clip_grad_norm_(learner.model.parameters(), self.clip_grad_norm)
            learner.scaler.step(learner.optimizer)
            learner.scaler.update()
            if learner.ema is not None:
                learner.ema.update_parameters(learner.model)
        learner.optimizer.zero_grad(set_to_none=True)
        if learner.scheduler is not None:
            learner.scheduler.step()

    def _refuse_infinite(self, engine: Engine, gradients: list[Tensor]) -> None:
        norm = float(nn.utils.get_total_norm(gradients))  # half a percent of a U-Net's step
        if not math.isfinite(norm):
            # all processes are here, and it may have come from any
            tiles = [name for names in idist.all_gather(self.group_tiles) for name in names]
            raise _stopped(engine, f"the gradient's norm is {norm}", tiles)


@dataclass(frozen=True)
class _Waiting:
    """A batch of a group that is not learnt from yet; `counts` are those of the terms."""

    image: Tensor
    targets: Targets
    counts: tuple[int, ...]
    tiles: list[str]


class _UpdateOfTerms(_Update):
    """Steps of a criterion of heads, whose terms have targets and valid elements of their own.

    What a term is divided by is known once all batches of the group are: they wait until then, as
    images, not as the far larger features of a network.
    """

    def __init__(self, learner: Learner, *arguments: Any) -> None:
        super().__init__(learner, *arguments)
        self.terms = terms_of(learner.criterion)
        self.waiting: list[_Waiting] = []
        self.loss = 0.0  # of the group before
        self.unit = 1  # no loss is scaled by pixels here

    def __call__(self, engine: Engine, batch: Any) -> Step:
        learner = self.learner
        learner.network.train()
        first, last = self._position(engine)
        if first:
            self.waiting = []
        image, targets = self.prepare(batch, learner.device, learner.device.type == "cuda")
        tiles = self.places.names(batch)
        with in_one_line("training", tiles):
            counts = tuple(term.loss.count(targets) for term in self.terms)
        self.waiting.append(_Waiting(image, targets, counts, tiles))
        if not last:
            return Step(self.loss, 0, False)
        self.group_tiles = [name for one in self.waiting for name in one.tiles]
        return self._group(engine, self._number(engine))

    def _group(self, engine: Engine, step: int) -> Step:
        """Learn from the batches that waited, and step."""
        lessons = due(self.learner.lessons, step, engine.state.epoch)
        own = [sum(counts) for counts in zip(*(one.counts for one in self.waiting), strict=True)]
        totals = [int(idist.all_reduce(count)) for count in own]
        values = [0.0] * len(self.terms)
        for number, one in enumerate(self.waiting, 1):
            silent = self._silent(number == len(self.waiting) and not lessons)
            with in_one_line("training", one.tiles), silent:
                found = self._learn(engine, one, totals)
            for i, value in enumerate(found):
                values[i] += value * one.counts[i] / max(1, own[i])
        self.waiting = []
        with in_one_line("training", self.group_tiles):
            taught = self._teach(engine, lessons, step, self.unit)
            counted = idist.all_reduce(sum(count for _, count in taught.values()))
            self._step(engine, self.unit if any(totals) or counted else 0)
        self.loss = sum(term.weight * v for term, v in zip(self.terms, values, strict=True))
        terms = {
            term.name: (value, count)
            for term, value, count in zip(self.terms, values, own, strict=True)
        }
        return Step(self.loss, max(own), True, taught, terms)

    def _learn(self, engine: Engine, one: _Waiting, totals: Sequence[int]) -> list[float]:
        """Add a batch's part of the gradient of the group; the mean of each of its terms."""
        learner = self.learner
        with learner.autocast():
            outputs = learner.network(one.image)
            losses = [term.loss(outputs, one.targets) for term in self.terms]
        values = [float(loss.detach()) for loss in losses]
        for term, value in zip(self.terms, values, strict=True):
            if not math.isfinite(value):
                raise _stopped(engine, f"the loss of {term.name} is {value}", one.tiles)
        parts = [
            loss * (term.weight * count / max(1, total))
            for loss, term, count, total in zip(losses, self.terms, one.counts, totals, strict=True)
        ]
        learner.scaler.scale(torch.stack(parts).sum()).backward()
        return values


def _stopped(engine: Engine, what: str, tiles: list[str]) -> BuiltupError:
    return BuiltupError(
        f"training stopped: {what} at epoch {engine.state.epoch}, iteration "
        f"{engine.state.iteration}, tiles {', '.join(tiles)}; look at these tiles, lower the "
        "learning rate, or set clip_grad_norm, and go on with resume_from"
    )


def _gradients(optimizer: torch.optim.Optimizer) -> Iterator[Tensor]:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                yield parameter.grad
