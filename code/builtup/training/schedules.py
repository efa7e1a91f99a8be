"""Learning rates per optimiser step."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

__all__ = ["poly"]


def poly(
    optimizer: Optimizer, total_steps: int, power: float = 0.9, warmup_steps: int = 0
) -> LambdaLR:
    """lr · (1 − step / total_steps)^power, after a linear rise over `warmup_steps`.

    The base is held at 0 from the last step on: a negative one to a broken power is complex.
    """

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        return float(max(0.0, 1 - step / max(1, total_steps)) ** power)

    return LambdaLR(optimizer, factor)
