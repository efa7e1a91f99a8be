"""Learning rates per optimiser step."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from builtup.errors import ConfigError

__all__ = ["poly", "restarts"]


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


def restarts(
    optimizer: Optimizer,
    total_steps: int,
    power: float = 0.9,
    at: tuple[float, ...] = (0.5,),
    factor: float = 0.5,
) -> LambdaLR:
    """`poly` anew in each part of the run, each beginning at `factor` times the one before.

    `at` are the shares of the run at which a part begins, ascending, between 0 and 1.
    """
    if list(at) != sorted(set(at)) or not all(0 < share < 1 for share in at):
        raise ConfigError(f"restarts at {at}: expected ascending shares between 0 and 1")
    begins = [0, *(round(share * total_steps) for share in at)]
    ends = [*begins[1:], total_steps]

    def rate(step: int) -> float:
        part = max(i for i, begin in enumerate(begins) if begin <= step)
        begin, end = begins[part], ends[part]
        rest = max(0.0, 1 - (step - begin) / max(1, end - begin))
        return float(factor**part * rest**power)

    return LambdaLR(optimizer, rate)
