"""The network that is learnt, with all that learns it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ignite.distributed as idist
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

__all__ = ["Learner"]


@dataclass
class Learner:
    """What is learnt and what learns it.

    `model` is the bare network, whose weights are saved; `network` the same behind
    torch.compile and DistributedDataParallel, used in training steps.
    """

    model: nn.Module
    criterion: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    amp_dtype: torch.dtype | None = None
    ema: AveragedModel | None = None
    network: nn.Module = field(init=False)
    scaler: torch.amp.GradScaler = field(init=False)

    def __post_init__(self) -> None:
        self.network = self.model
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

    def average(self, decay: float) -> None:
        """Keep an exponential moving average of the weights, for validation and saving.

        Batch-norm statistics are averaged with the weights that they belong to.
        """
        self.ema = AveragedModel(self.model, multi_avg_fn=_warming_average(decay), use_buffers=True)

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


Tensors = tuple[Tensor, ...] | list[Tensor]
Average = Callable[[Tensors, Tensors, Tensor | int], None]


def _warming_average(decay: float) -> Average:
    """An exponential average whose decay grows to `decay`, so that it forgets the start soon.

    After n updates the decay is at most (1 + n) / (10 + n), as in TensorFlow's moving average.
    """

    @torch.no_grad()
    def average(averaged: Tensors, current: Tensors, count: Tensor | int) -> None:
        if not averaged[0].is_floating_point():  # counters of batches
            torch._foreach_copy_(averaged, current)
            return
        n = int(count)
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + n) / (10 + n)))

    return average
