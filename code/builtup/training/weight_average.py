"""A soup: the uniform mean of the weights of a run's last epochs.

Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization, UAI 2018;
Wortsman et al., Model Soups, ICML 2022. The mean of batch-norm statistics is not the statistics of
the mean network: these are measured anew on training batches.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from builtup.data.contract import SampleLoader
from builtup.training.checkpoints import load_state, save_state
from builtup.training.evaluator import PrepareBatch, prepare_batch
from builtup.training.handlers import Saver, Validation
from builtup.training.learner import Learner

__all__ = ["FOLDER", "Soup", "attach_soup", "mean_of", "refresh_norms"]

log = logging.getLogger(__name__)

#: Where the ingredients lie below a run's artifacts, <iteration>.pt each.
FOLDER = Path("checkpoints") / "soup"
#: Training batches that batch-norm statistics are measured on, at most.
MOST_BATCHES = 200


@dataclass
class Soup:
    """Keeps the weights of the last `count` epochs and averages them when training has ended.

    The weights are those that are validated: the moving average where there is one. The soup is
    validated like any others (metrics `soup/…`) and takes the place of the best weights only
    where it is better; without validation it never does. It is written to weights/soup.pt, and what
    it is to summary.json. The learner's own weights are the same afterwards.
    """

    count: int
    learner: Learner
    saver: Saver
    loader: SampleLoader
    validation: Validation | None = None
    prepare: PrepareBatch = prepare_batch

    @property
    def folder(self) -> Path:
        """Where the ingredients are kept."""
        return self.saver.folder / FOLDER

    def keep(self, iteration: int) -> None:
        """Put the weights aside (rank 0), and remove those that are too old."""
        if idist.get_rank() != 0:
            return
        path = self.folder / f"{iteration:09d}.pt"
        if not path.exists():
            save_state(self.learner.weights.state_dict(), path)
        for old in self._kept()[: -self.count]:
            old.unlink()

    def average(self, iteration: int) -> None:
        """Average, measure statistics, validate, save. All processes must call this."""
        kept = self._kept() if idist.get_rank() == 0 else []
        number = int(idist.broadcast(float(len(kept)), src=0))
        if number < 2:
            log.info("soup = %d: %d epoch only, nothing to average", self.count, number)
            return
        weights = self.learner.weights
        with _own_weights_after(weights):
            if idist.get_rank() == 0:
                weights.load_state_dict(mean_of(kept))
            _share(weights)
            refresh_norms(self.learner, self.loader, self.prepare)
            record = {
                "iterations": [int(path.stem) for path in kept],
                **({} if self.validation is None else self._validate(self.validation, iteration)),
            }
            if idist.get_rank() == 0:
                save_state(weights.state_dict(), self.saver.folder / "weights" / "soup.pt")
        self.saver.summary = replace(self.saver.summary, soup=record)
        self.saver.write_summary(finished=True)
        log.info("soup of %d epochs: weights/soup.pt", number)

    def _validate(self, validation: Validation, iteration: int) -> dict[str, Any]:
        own = copy.copy(validation)
        own.prefix, own.validated = "soup", -1
        before = self.saver.progress.best_score
        own.run(iteration)
        record = {} if own.last is None else own.last.to_json()
        return {**record, "is_best": self.saver.progress.best_score > before}

    def _kept(self) -> list[Path]:
        return sorted(self.folder.glob("*.pt"))


def attach_soup(trainer: Engine, soup: Soup) -> None:
    """Keep the weights after each epoch, average at the end; attach after the saver."""

    @trainer.on(Events.EPOCH_COMPLETED | Events.COMPLETED)
    def keep() -> None:
        soup.keep(trainer.state.iteration)

    @trainer.on(Events.COMPLETED)
    def average() -> None:
        soup.average(trainer.state.iteration)


def mean_of(paths: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of states of equal names, one file at a time; what is no float is the last one's."""
    total: dict[str, Tensor] = {}
    last: dict[str, Tensor] = {}
    for path in paths:
        last = load_state(path)
        for key, value in last.items():
            if value.is_floating_point():
                total[key] = value.double() + total.get(key, 0.0)
    return {
        key: (total[key] / len(paths)).to(value.dtype) if key in total else value
        for key, value in last.items()
    }


def refresh_norms(
    learner: Learner, loader: SampleLoader, prepare: PrepareBatch = prepare_batch
) -> None:
    """Measure the batch-norm statistics of the learner's weights on training batches.

    As inference sees them: without dropout. The mean of all batches counts, over all processes.
    """
    model = learner.weights
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return
    loader.set_epoch(0)  # a stream of its own, the same whenever this is done
    with _measuring(model, norms), torch.no_grad(), learner.autocast():
        for batch in islice(loader, MOST_BATCHES):
            model(prepare(batch, learner.device, learner.device.type == "cuda")[0])
    for norm in norms:
        for buffer in (norm.running_mean, norm.running_var):
            if buffer is not None:
                buffer.copy_(idist.all_reduce(buffer.clone()) / idist.get_world_size())


@contextmanager
def _measuring(model: nn.Module, norms: Sequence[_BatchNorm]) -> Iterator[None]:
    training, momenta = model.training, [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
        norm.momentum = None  # a cumulative mean
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        model.train(training)


@contextmanager
def _own_weights_after(model: nn.Module) -> Iterator[None]:
    own = {key: value.detach().clone() for key, value in model.state_dict().items()}
    try:
        yield
    finally:
        model.load_state_dict(own)


def _share(model: nn.Module) -> None:
    """Give every process rank 0's weights and buffers."""
    if idist.get_world_size() > 1:
        for value in model.state_dict().values():
            torch.distributed.broadcast(value, src=0)
