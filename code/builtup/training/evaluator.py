"""Evaluation: what a network predicts for the validation tiles, counted once each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader

from builtup.errors import BuiltupError
from builtup.geo.probability import IGNORE
from builtup.sensors.classes import Classes
from builtup.training.learner import Learner
from builtup.training.metrics import Predicted, SegmentationScores, quantise

__all__ = [
    "Places",
    "PrepareBatch",
    "create_evaluator",
    "deal_batches",
    "evaluate",
    "prepare_batch",
]

#: (batch, device, non_blocking) -> image (B, bands, H, W) float32, target (B, H, W) int64.
PrepareBatch = Callable[[Any, torch.device, bool], tuple[Tensor, Tensor]]


def prepare_batch(batch: Any, device: torch.device, non_blocking: bool) -> tuple[Tensor, Tensor]:
    """Copy the samples' `image` and `mask` to the device."""
    image = batch["image"].to(device, non_blocking=non_blocking)
    return image, batch["mask"].to(device, non_blocking=non_blocking).long()


@dataclass(frozen=True)
class Places:
    """Where samples lie: the tile id of each, and its city as an index into `cities`."""

    tile_ids: Sequence[str] = ()
    cities: tuple[str, ...] = ()
    city_indices: Sequence[int] = ()

    @classmethod
    def of(cls, loader: Any) -> Places:
        """Read from `loader.dataset.tiles`; without these, samples have a number and no city."""
        tiles = getattr(getattr(loader, "dataset", None), "tiles", None)
        if tiles is None:
            return cls()
        plain = [getattr(tile, "tile", tile) for tile in tiles]
        cities = tuple(sorted({tile.city for tile in plain}))
        index = {city: i for i, city in enumerate(cities)}
        return cls([tile.tile_id for tile in plain], cities, [index[tile.city] for tile in plain])

    def names(self, batch: Any) -> list[str]:
        """Tile ids of a batch's samples."""
        numbers = [int(i) for i in batch.get("index", ())]
        return [self.tile_ids[i] if self.tile_ids else f"sample {i}" for i in numbers]

    def numbers(self, batch: Any) -> list[int]:
        """Tile numbers of a batch's samples; none where tiles are not known."""
        return [int(i) for i in batch["index"]] if self.tile_ids else []

    def of_batch(self, batch: Any) -> list[int]:
        """City index of each of a batch's samples."""
        if not self.city_indices:
            return [0] * len(batch["mask"])
        return [self.city_indices[int(i)] for i in batch["index"]]


def create_evaluator(
    learner: Learner, places: Places, classes: Classes, prepare: PrepareBatch = prepare_batch
) -> Engine:
    """An engine whose output is `Predicted` and whose metric `scores` is SegmentationScores.

    Raises BuiltupError where the network's logits on valid pixels are not finite, naming the tiles.
    """
    device, model = learner.device, learner.weights

    @torch.inference_mode()
    def predict(engine: Engine, batch: Any) -> Predicted:
        image, target = prepare(batch, device, device.type == "cuda")
        with learner.autocast():
            logits = model(image)
        _refuse_infinite(logits, target, places.names(batch))
        level = quantise(logits.float().softmax(1)[:, classes.mapped_index])
        label, place = logits.argmax(1), places.of_batch(batch)
        return Predicted(level, label, target, place, places.numbers(batch))

    evaluator = Engine(predict)
    evaluator.logger.disabled = True  # its lines repeat ours
    metric = SegmentationScores(classes, places.cities, device, len(places.tile_ids))
    metric.attach(evaluator, "scores")
    evaluator.scores = metric
    return evaluator


def _refuse_infinite(logits: Tensor, target: Tensor, names: Sequence[str]) -> None:
    # a sum of a pixel's classes is finite only where each is
    broken = ~logits.float().sum(1).isfinite() & (target != IGNORE)
    if not broken.any():
        return
    numbers = broken.flatten(1).any(1).nonzero().flatten().tolist()
    tiles = ", ".join(names[i] for i in numbers) if names else f"{len(numbers)} samples"
    raise BuiltupError(
        f"validation stopped: the network's output is not finite on valid pixels of {tiles}; "
        "train again with a lower learning rate or clip_grad_norm"
    )


def evaluate(evaluator: Engine, model: nn.Module, loader: Any) -> dict[str, float]:
    """Run the evaluator over the loader (this process's part of it); scores of all processes."""
    metric: SegmentationScores = evaluator.scores
    with _evaluating(model):
        if len(loader) == 0:  # more processes than batches: count nothing, but take part
            metric.reset()
        else:
            evaluator.run(loader)
            return dict(evaluator.state.metrics["scores"])
    return dict(metric.compute())


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


class _DealtBatches(BatchSampler):
    """Every `step`-th batch of another sampler, beginning with batch `first`."""

    def __init__(self, batches: Any, first: int, step: int) -> None:
        self.batches, self.first, self.step = batches, first, step

    def __iter__(self) -> Iterator[list[int]]:
        for number, batch in enumerate(self.batches):
            if number % self.step == self.first:
                yield batch

    def __len__(self) -> int:
        return len(range(self.first, len(self.batches), self.step))


def deal_batches(loader: Any) -> Any:
    """This process's whole batches of a loader that lists all samples in a fixed order.

    Whole batches, since a network's rounding may depend on what a sample shares its batch with:
    the figures of several processes are then those of one. Nothing is padded or seen twice.
    """
    if idist.get_world_size() == 1 or not isinstance(loader, DataLoader):
        return loader
    return DataLoader(
        loader.dataset,
        batch_sampler=_DealtBatches(loader.batch_sampler, idist.get_rank(), idist.get_world_size()),
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        worker_init_fn=loader.worker_init_fn,
        persistent_workers=loader.persistent_workers,
    )
