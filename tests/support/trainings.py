"""A trainer over batches at hand: what tests of steps and of lessons run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from builtup.data.contract import Places
from builtup.training.learner import Learner
from builtup.training.trainer import create_trainer


def train(learner: Learner, batches: Sequence[Any], **options: Any) -> list[Any]:
    """The output of each iteration of one epoch."""
    from ignite.engine import Events

    trainer = create_trainer(learner, Places(), **options)
    outputs: list[Any] = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: outputs.append(trainer.state.output)
    )
    trainer.run(batches, max_epochs=1)
    return outputs
