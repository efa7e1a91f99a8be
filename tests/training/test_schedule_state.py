"""Optimisers and schedules that go on: the state of the run, the settings of the config."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LambdaLR,
    OneCycleLR,
    SequentialLR,
    StepLR,
)

from builtup.training.schedule_state import as_built, put_back
from builtup.training.schedules import poly

Make = Callable[..., tuple[torch.optim.Optimizer, Any]]


def sgd(lr: float = 0.1, momentum: float = 0.9, weight_decay: float = 0.01) -> torch.optim.SGD:
    weight = nn.Parameter(torch.ones(2))
    return torch.optim.SGD([weight], lr=lr, momentum=momentum, weight_decay=weight_decay)


def run(optimizer: torch.optim.Optimizer, scheduler: Any, steps: int) -> list[float]:
    """Steps with gradient 1; the rate of each."""
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return rates


def checkpoint(optimizer: torch.optim.Optimizer, scheduler: Any, steps: int) -> dict[str, Any]:
    built = as_built(optimizer, scheduler)
    run(optimizer, scheduler, steps)
    state = None if scheduler is None else scheduler.state_dict()
    return {"as_built": built, "optimizer": optimizer.state_dict(), "scheduler": state}


def chained(optimizer: torch.optim.Optimizer, gamma: float = 0.5) -> SequentialLR:
    parts = [StepLR(optimizer, 2, gamma), CosineAnnealingLR(optimizer, 8)]
    return SequentialLR(optimizer, parts, milestones=[5])


SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "none": lambda optimizer: None,
    "poly": lambda optimizer: poly(optimizer, 12),
    "one cycle": lambda optimizer: OneCycleLR(optimizer, 0.1, total_steps=12),
    "steps": lambda optimizer: StepLR(optimizer, 3, 0.5),
    "several": chained,
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("older", [False, True])
def test_with_the_same_settings_a_run_goes_on_to_the_bit(name: str, older: bool) -> None:
    whole = sgd()
    rates = run(whole, schedule := SCHEDULES[name](whole), 12)
    first = sgd()
    state = checkpoint(first, SCHEDULES[name](first), 7)
    if older:
        del state["as_built"]
    second = sgd()
    with torch.no_grad():
        second.param_groups[0]["params"][0].copy_(first.param_groups[0]["params"][0])
    schedule = SCHEDULES[name](second)
    put_back(second, schedule, state)
    assert run(second, schedule, 5) == rates[7:]
    ends = [o.param_groups[0]["params"][0] for o in (whole, second)]
    assert torch.equal(*ends)


@pytest.mark.parametrize("name", ["none", "poly", "steps"])
@pytest.mark.parametrize("older", [False, True])
def test_other_settings_are_used(name: str, older: bool) -> None:
    first = sgd()
    state = checkpoint(first, SCHEDULES[name](first), 7)
    before = first.param_groups[0]["lr"]
    if older:
        del state["as_built"]
    second = sgd(lr=0.01, momentum=0.5, weight_decay=0.2)
    schedule = SCHEDULES[name](second)
    put_back(second, schedule, state)
    group = second.param_groups[0]
    assert (group["momentum"], group["weight_decay"]) == (0.5, 0.2)
    assert group["lr"] == pytest.approx(before / 10)
    assert second.state_dict()["state"][0]["momentum_buffer"].tolist() != [0, 0]
    whole = sgd(lr=0.01)
    rates = run(whole, SCHEDULES[name](whole), 12)
    assert run(second, schedule, 5) == pytest.approx(rates[7:])


def test_a_schedule_of_another_shape_is_used() -> None:
    first = sgd()
    state = checkpoint(first, OneCycleLR(first, 0.1, total_steps=10), 5)
    second = sgd(lr=1e-5)
    schedule = OneCycleLR(second, 1e-5, total_steps=20)
    put_back(second, schedule, state)
    assert max(run(second, schedule, 15)) <= 1e-5 * (1 + 1e-9)
    third = sgd()
    steps = StepLR(third, 3, 0.1)
    put_back(third, steps, checkpoint(one := sgd(), StepLR(one, 3, 0.5), 4))
    assert run(third, steps, 4)[-1] == pytest.approx(third.param_groups[0]["lr"] * 1)
    assert steps.gamma == 0.1


def test_a_rate_of_nothing_begins_to_learn() -> None:
    first = sgd(lr=0.0)
    state = checkpoint(first, None, 3)
    second = sgd(lr=0.3)
    put_back(second, None, state)
    assert second.param_groups[0]["lr"] == 0.3


def test_other_groups_of_parameters_are_refused() -> None:
    state = checkpoint(sgd(), None, 1)
    weights = [nn.Parameter(torch.ones(1)) for _ in range(2)]
    other = torch.optim.SGD([{"params": [w]} for w in weights], lr=0.1)
    with pytest.raises(ValueError, match="1 groups of parameters, not 2"):
        put_back(other, None, state)


def test_a_schedule_of_functions_keeps_the_config_s_own() -> None:
    first = sgd()
    state = checkpoint(first, LambdaLR(first, lambda step: 1.0), 3)
    second = sgd()
    schedule = LambdaLR(second, lambda step: 0.5)
    put_back(second, schedule, state)
    assert run(second, schedule, 2)[-1] == pytest.approx(0.05)
