"""The network that is learnt, with all that learns it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ignite.distributed as idist
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from builtup.errors import BuiltupError, one_line
from builtup.training.lessons import Lesson
from builtup.training.schedule_state import as_built

__all__ = ["WARMUPS", "Learner", "in_one_line"]

log = logging.getLogger(__name__)


@dataclass
class Learner:
    """What is learnt and what learns it.

    `model` is the bare network, whose weights are saved; `network` the same behind
    torch.compile and DistributedDataParallel, used in training steps. `as_built` are the settings
    of optimiser and schedule before the first step, `lessons` what is taught beside the labels.
    """

    model: nn.Module
    criterion: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    amp_dtype: torch.dtype | None = None
    ema: AveragedModel | None = None
    lessons: tuple[Lesson, ...] = ()
    network: nn.Module = field(init=False)
    as_built: dict[str, Any] = field(init=False)
    scaler: torch.amp.GradScaler = field(init=False)

    def __post_init__(self) -> None:
        self.network = self.model
        self.as_built = as_built(self.optimizer, self.scheduler)
        # bfloat16 has the range of float32 and needs no scaling
        scaling = self.device.type == "cuda" and self.amp_dtype == torch.float16
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=scaling)

    def wrap(self, *, compiled: bool = False) -> None:
        """Put torch.compile and DistributedDataParallel around the model where asked for."""
        if compiled:
            self.network = torch.compile(self.network)  # type: ignore[assignment]
        if idist.get_world_size() > 1:
            ids = [self.device.index] if self.device.type == "cuda" else None
            self.network = DistributedDataParallel(self.network, device_ids=ids)

    def average(self, decay: float, warmup: str = "ten") -> None:
        """Keep an exponential moving average of the weights, for validation and saving.

        Batch-norm statistics are averaged with the weights that they belong to. `warmup`, one of
        `WARMUPS`, is how the decay grows.
        """
        grown = _warming_average(decay, WARMUPS[warmup])
        self.ema = AveragedModel(self.model, multi_avg_fn=grown, use_buffers=True)

    @property
    def weights(self) -> nn.Module:
        """The module to validate and save: the average where there is one, else the model."""
        return self.model if self.ema is None else self.ema.module

    def autocast(self) -> torch.autocast:
        """Mixed precision where it is on."""
        dtype = self.amp_dtype
        return torch.autocast(self.device.type, dtype, enabled=dtype is not None)

    def sync_buffers(self) -> None:
        """Give every process rank 0's batch-norm statistics, which differ between syncs."""
        if idist.get_world_size() > 1:
            for buffer in self.weights.buffers():
                torch.distributed.broadcast(buffer, src=0)


@contextmanager
def in_one_line(doing: str, tiles: Sequence[str] = ()) -> Iterator[None]:
    """Say in one line what torch says of a config's network, loss or optimiser at work."""
    try:
        yield
    except BuiltupError:
        raise
    except Exception as e:
        log.debug("%s", doing, exc_info=True)
        of = f" (tiles {', '.join(tiles)})" if tiles else ""
        said = one_line(e, 300)
        raise BuiltupError(
            f"{doing} stopped: {type(e).__name__}: {said}{of}; {_remedy(e, said)}"
        ) from e


def _remedy(e: Exception, said: str) -> str:
    if isinstance(e, torch.OutOfMemoryError):
        return "lower batch_size or crop"
    if "255" in said:
        return "let the loss leave out pixels of 255: ignore_index=255, or builtup.models.losses"
    return (
        "correct model(), criterion(), optimizer() or lr_scheduler() of the config, or choose "
        "another batch_size or crop"
    )


Tensors = tuple[Tensor, ...] | list[Tensor]
Average = Callable[[Tensors, Tensors, Tensor | int], None]


#: The most that the decay is after n updates: (1 + n) / (10 + n), as TensorFlow's moving average,
#: or 1 − 1 / (n + 1), the plain mean of all weights so far, as UniMatch V2 begins its teacher.
WARMUPS: dict[str, Callable[[int], float]] = {
    "ten": lambda n: (1 + n) / (10 + n),
    "one": lambda n: 1 - 1 / (n + 1),
}


def _warming_average(decay: float, most: Callable[[int], float]) -> Average:
    """An exponential average whose decay grows to `decay`, so that it forgets the start soon."""

    @torch.no_grad()
    def average(averaged: Tensors, current: Tensors, count: Tensor | int) -> None:
        if not averaged[0].is_floating_point():  # counters of batches
            torch._foreach_copy_(averaged, current)
            return
        torch._foreach_lerp_(averaged, current, 1 - min(decay, most(int(count))))

    return average
