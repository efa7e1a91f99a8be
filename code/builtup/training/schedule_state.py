"""Optimiser and schedule of a run that goes on: the state of the run, the settings of the config.

A checkpoint keeps rates, momenta and decays beside the moments of the weights. Put back as they
are, they would be those of the run before, whatever the config asks for now. So each value is
looked at three times: as the run before built it, as it was when that run stopped, as this config
builds it. Where the config builds it otherwise it is this config's, else the state's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer

__all__ = ["as_built", "put_back"]


def as_built(optimizer: Optimizer, scheduler: Any) -> dict[str, Any]:
    """The settings of optimiser and schedule before the first step, as numbers, lists and dicts."""
    groups = optimizer.state_dict()["param_groups"]
    return {
        "groups": [{k: v for k, v in group.items() if k != "params"} for group in groups],
        "scheduler": None if scheduler is None else scheduler.state_dict(),
    }


def put_back(optimizer: Optimizer, scheduler: Any, state: Mapping[str, Any]) -> None:
    """Put the state of a checkpoint into optimiser and schedule, with the config's own settings.

    They must be as the config built them: no step was made.

    Raises ValueError, KeyError or IndexError where the groups of parameters are others.
    """
    now, before = as_built(optimizer, scheduler), state["optimizer"]
    base = state.get("as_built")
    if len(now["groups"]) != len(before["param_groups"]):
        raise ValueError(
            f"{len(before['param_groups'])} groups of parameters, not {len(now['groups'])}"
        )
    groups = []
    for number, (group, own) in enumerate(zip(before["param_groups"], now["groups"], strict=True)):
        built = _guessed(group, own) if base is None else base["groups"][number]
        groups.append({**_merged_group(built, group, own), "params": group["params"]})
    optimizer.load_state_dict({**before, "param_groups": groups})
    if scheduler is not None and state["scheduler"] is not None:
        saved, own = state["scheduler"], now["scheduler"]
        if base is None:  # an older checkpoint: only what a config often changes
            own = {key: own[key] for key in _LENGTHS if key in own}
            merged = {**saved, **own}
        else:
            merged = _merged(base["scheduler"], saved, own)
        if "_last_lr" in merged:
            merged["_last_lr"] = [group["lr"] for group in groups]
        scheduler.load_state_dict(merged)


#: Of a schedule's state: its length, and the rates that it begins with.
_LENGTHS = ("total_steps", "_schedule_phases", "base_lrs")
#: What a schedule of the rate moves at every step.
_MOVED = ("lr", "momentum", "betas")


def _merged_group(
    base: Mapping[str, Any], before: Mapping[str, Any], now: Mapping[str, Any]
) -> dict[str, Any]:
    merged = _merged(base, {k: v for k, v in before.items() if k != "params"}, now)
    begun, begins = (group.get("initial_lr", group["lr"]) for group in (base, now))
    same = _same(begun, begins)
    # where the schedule has brought the rate, in proportion
    merged["lr"] = before["lr"] if same else before["lr"] * (begins / begun) if begun else now["lr"]
    return merged


def _merged(base: Any, before: Any, now: Any) -> Any:
    """`now` where it differs from `base`, else `before`; dicts and lists part by part."""
    three = (base, before, now)
    dicts = all(isinstance(value, dict) for value in three)
    if dicts and base.keys() == now.keys() and base.keys() <= before.keys():
        return {**before, **{key: _merged(base[key], before[key], now[key]) for key in now}}
    lists = all(isinstance(value, list) for value in three)
    if lists and len(base) == len(before) == len(now):
        return [_merged(*parts) for parts in zip(*three, strict=True)]
    return before if _same(base, now) else now


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _guessed(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """How an older checkpoint's run may have built a group: as it was when it stopped.

    What its schedule moved is taken to have begun where this config begins.
    """
    built = {key: value for key, value in before.items() if key != "params"}
    if "max_momentum" in before:
        built |= {key: now[key] for key in _MOVED[1:] if key in now and key in before}
    return {**built, **{key: value for key, value in now.items() if key not in built}}
