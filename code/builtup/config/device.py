"""The device that a setting names, for this process of perhaps several."""

from __future__ import annotations

from pathlib import Path

import torch

from builtup.errors import ConfigError

__all__ = ["pick_device"]


def pick_device(name: str = "auto", config: Path | None = None) -> torch.device:
    """The device of that name; `auto` is the first CUDA device, or the CPU.

    Of several processes each takes the CUDA device of its number. Raises ConfigError, naming the
    `config` that the name stands in, for one that does not exist or is not here.
    """
    setting = f"device={name!r}" if config is None else f"{config}: device = {name!r}"
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as e:
        raise ConfigError(f"{setting}: no such device; use auto, cpu or cuda") from e
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"{setting}: this machine has no CUDA; use auto or cpu")
    if device.type == "cuda":
        import ignite.distributed as idist  # a second of CPU time, which a CPU need not wait for

        if idist.get_world_size() > 1:
            return torch.device("cuda", idist.get_local_rank())
    return device
