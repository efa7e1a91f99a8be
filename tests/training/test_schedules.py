"""Learning rates over the steps of a run."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from builtup.errors import ConfigError
from builtup.training.schedules import poly, restarts


def rates(make: object, steps: int, **options: object) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler: LambdaLR = make(optimizer, steps, **options)  # type: ignore[operator]
    found = []
    for _ in range(steps + 2):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_the_poly_schedule_ends_at_0_and_is_never_complex() -> None:
    found = rates(poly, 4)
    assert found == pytest.approx([1.0, 0.75**0.9, 0.5**0.9, 0.25**0.9, 0.0, 0.0])
    assert all(isinstance(rate, float) for rate in found)


def test_a_warm_up_rises_linearly_before_it() -> None:
    assert rates(poly, 10, warmup_steps=3)[:3] == pytest.approx([0.25, 0.5, 0.75])


def test_each_part_begins_at_a_share_of_the_rate_before() -> None:
    found = rates(restarts, 10, at=(0.5,), factor=0.5)
    assert found[0] == 1 and found[5] == 0.5
    assert found[9] == pytest.approx(0.5 * 0.2**0.9)


@pytest.mark.parametrize("at", [(0.5, 0.5), (0.7, 0.3), (0.0,), (1.0,)])
def test_parts_must_ascend_within_the_run(at: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="expected ascending shares between 0 and 1"):
        rates(restarts, 10, at=at)
