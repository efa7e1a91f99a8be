"""Evaluation: what a network predicts for the validation tiles, counted once each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from ignite.engine import Engine
from torch import Tensor, nn

from builtup.data.contract import Places, PrepareBatch
from builtup.errors import BuiltupError
from builtup.geo.probability import IGNORE
from builtup.models.heads import MASK, TARGETS, Targets, class_logits, mask_of
from builtup.sensors.classes import Classes
from builtup.training.learner import Learner, in_one_line
from builtup.training.metrics import Predicted, SegmentationScores, quantise

__all__ = [
    "PrepareBatch",
    "create_evaluator",
    "evaluate",
    "prepare_batch",
]


def prepare_batch(batch: Any, device: torch.device, non_blocking: bool) -> tuple[Tensor, Targets]:
    """Copy the samples' `image` and `mask` to the device, and targets of heads where they have any.

    The target is the mask, int64; with further ones (`builtup.models.heads.TARGETS`) a dict of it
    and these, whole numbers int64, others float32.
    """
    image = batch["image"].to(device, non_blocking=non_blocking)
    mask = batch["mask"].to(device, non_blocking=non_blocking).long()
    further = {name: batch[name] for name in TARGETS if name in batch}
    if not further:
        return image, mask
    own = {name: values.to(device, non_blocking=non_blocking) for name, values in further.items()}
    whole = {name: v.float() if v.is_floating_point() else v.long() for name, v in own.items()}
    return image, {MASK: mask, **whole}


def create_evaluator(
    learner: Learner, places: Places, classes: Classes, prepare: PrepareBatch = prepare_batch
) -> Engine:
    """An engine whose output is `Predicted` and whose metric `scores` is SegmentationScores.

    Raises BuiltupError where the network's logits on valid pixels are not finite, naming the tiles.
    """
    device, model = learner.device, learner.weights

    @torch.inference_mode()
    def predict(engine: Engine, batch: Any) -> Predicted:
        image, targets = prepare(batch, device, device.type == "cuda")
        target = mask_of(targets)
        with in_one_line("validation", places.names(batch)), learner.autocast():
            logits = class_logits(model(image))
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
