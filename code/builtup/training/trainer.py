"""Training steps: mixed precision, accumulated gradients, several processes."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from builtup.data.contract import Places
from builtup.errors import BuiltupError
from builtup.geo.probability import IGNORE
from builtup.training.evaluator import PrepareBatch, prepare_batch
from builtup.training.learner import Learner, in_one_line

__all__ = ["Step", "create_trainer", "optimiser_steps"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """Output of a training iteration: this process's loss and valid pixels; whether it stepped."""

    loss: float
    pixels: int
    stepped: bool


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
    has. The last group of an epoch may be incomplete; it is divided by its own pixels.

    Raises BuiltupError at a loss that is not finite, naming the batch's tiles, and at a gradient
    that is not, naming the group's (float16 scales its gradients, and leaves such a step out).
    """
    update = _Update(learner, places, prepare, accumulation_steps, clip_grad_norm)
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
        image, target = self.prepare(batch, learner.device, learner.device.type == "cuda")
        pixels = int((target != IGNORE).sum())
        if self.unit == 0:
            self.unit = int(idist.all_reduce(target.numel(), op="MAX"))
        self.group_pixels = pixels + (0 if first else self.group_pixels)
        self.group_tiles = ([] if first else self.group_tiles) + self.places.names(batch)
        with in_one_line("training", self.places.names(batch)):
            with self._silent(last):
                with learner.autocast():
                    loss = learner.criterion(learner.network(image), target)
                value = float(loss.detach())
                if not math.isfinite(value):
                    raise _stopped(engine, f"the loss is {value}", self.places.names(batch))
                learner.scaler.scale(loss * (pixels / self.unit)).backward()
            if last:
                self._step(engine)
        return Step(value, pixels, last)

    def _position(self, engine: Engine) -> tuple[bool, bool]:
        """Whether this iteration begins and ends a group; groups do not cross epochs."""
        length = engine.state.epoch_length
        number = (engine.state.iteration - 1) % length + 1
        first = (number - 1) % self.accumulation_steps == 0
        return first, number % self.accumulation_steps == 0 or number == length

    def _silent(self, last: bool) -> contextlib.AbstractContextManager[Any]:
        """Gradients are exchanged between processes at the end of a group only."""
        network = self.learner.network
        if not last and isinstance(network, DistributedDataParallel):
            return network.no_sync()
        return contextlib.nullcontext()

    def _step(self, engine: Engine) -> None:
        learner = self.learner
        total = idist.all_reduce(self.group_pixels)
        if total > 0:
            learner.scaler.unscale_(learner.optimizer)
            # DistributedDataParallel has divided the sum of gradients by the number of processes
            factor = self.unit * idist.get_world_size() / total
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
