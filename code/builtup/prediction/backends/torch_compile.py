"""PyTorch as it is, and its compiler: kernels made for a network and a device, compared with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from builtup.errors import ConfigError, one_line
from builtup.prediction.backends.agreement import (
    AGREEMENT,
    check_power,
    largest_difference,
    require_agreement,
)

__all__ = ["ByTorch", "compiled_by_torch"]

#: A compiled network may be this many times as far from float32 as PyTorch's own half precision.
HALF = 2.0


@dataclass(frozen=True)
class ByTorch:
    """Runs a network on `device`, where `half` (CUDA only) in half precision."""

    network: Callable[[Tensor], Tensor]
    device: torch.device
    half: bool = False

    def __call__(self, power: Tensor) -> Tensor:
        """Probabilities (B, bands, H, W), float32, of power (B, 2, H, W) on the device."""
        with torch.autocast(self.device.type, dtype=torch.float16, enabled=self.half):
            return self.network(power)


@torch.inference_mode()
def compiled_by_torch(plain: ByTorch, window: int, batch_size: int) -> ByTorch:
    """Compile the network for such batches, and compare it with the one as it is.

    A batch of another size is compiled once for any size, a single window for itself: three times
    at most, however often a scene has fewer windows in a row. Raises ConfigError where that cannot
    be done, BuiltupError where probabilities differ: by more than half an 8-bit unit, or in half
    precision by more than twice what that itself costs.
    """
    made = replace(plain, network=torch.compile(plain.network))
    power = check_power(window).expand(batch_size, -1, -1, -1).contiguous().to(plain.device)
    try:
        found = made(power)
    except torch.OutOfMemoryError:
        raise  # of the batch, not of the compiler
    except Exception as e:  # the compiler, and what it calls, raise what they like
        raise ConfigError(
            f"backend=torch-compile: the network cannot be compiled here ({one_line(e, 200)}); "
            "is there a C++ compiler? else use backend=torch"
        ) from e
    wanted, allowed = replace(plain, half=False)(power), AGREEMENT
    if plain.half:
        allowed = max(allowed, HALF * largest_difference(plain(power), wanted))
    require_agreement("torch-compile", largest_difference(found, wanted), allowed)
    return made
