"""The network's last step, the same for every backend: from logits to probabilities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from builtup.models.channels import inputs_of, sensor_of_model
from builtup.models.heads import class_logits
from builtup.sensors.sensor import Sensor

#: The head that says whether there is anything of the mapped class in a sample, (B,) logits.
PRESENCE = "presence"

__all__ = ["ByTorch", "Probabilities", "class_probabilities"]


class Probabilities(nn.Module):
    """Probabilities (B, bands, H, W) float32 from what is read (B, inputs, H, W), NaN if invalid.

    Logits are divided by each of `temperatures`, which give bands of their own; two classes give
    one band, that of the class with the number `mapped`, more a band each. Of a network with a
    presence head (`builtup.models.heads`) one more band follows, everywhere the probability that
    there is anything of the mapped class: a band, since every backend carries those.
    """

    def __init__(
        self, model: nn.Module, temperatures: tuple[float, ...] = (1.0,), mapped: int = 1
    ) -> None:
        super().__init__()
        self.model = model
        self.temperatures = temperatures
        self.mapped = mapped

    @property
    def inputs(self) -> int:
        """How many bands the network reads."""
        return len(inputs_of(self.model))

    @property
    def sensor(self) -> Sensor:
        """Whose images it reads."""
        return sensor_of_model(self.model)

    def forward(self, power: Tensor) -> Tensor:
        """Probabilities of a batch, see the class."""
        outputs = self.model(power)
        logits = class_logits(outputs).float()
        if self.temperatures == (1.0,):
            parts = [class_probabilities(logits, self.mapped)]
        else:
            parts = [class_probabilities(logits / t, self.mapped) for t in self.temperatures]
        if not isinstance(outputs, Tensor) and PRESENCE in outputs:
            present = outputs[PRESENCE].float().sigmoid()
            parts.append(present[:, None, None, None].expand(-1, 1, *logits.shape[2:]))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def extra_repr(self) -> str:
        """What the weights do not tell."""
        mapped = "" if self.mapped == 1 else f", mapped={self.mapped}"
        return f"temperatures={self.temperatures}{mapped}"


@dataclass(frozen=True)
class ByTorch:
    """Runs a network on `device`, where `half` (CUDA only) in half precision."""

    network: Callable[[Tensor], Tensor]
    device: torch.device
    half: bool = False

    def __call__(self, power: Tensor) -> Tensor:
        """Probabilities (B, bands, H, W), float32, of power (B, inputs, H, W) on the device."""
        with torch.autocast(self.device.type, dtype=torch.float16, enabled=self.half):
            return self.network(power)


def class_probabilities(logits: Tensor, mapped: int = 1) -> Tensor:
    """Softmax of (B, classes, H, W); of two classes only that of `mapped`, (B, 1, H, W)."""
    if logits.shape[1] == 2:
        # softmax of two is the logistic of their difference
        other = 1 - mapped
        return (logits[:, mapped : mapped + 1] - logits[:, other : other + 1]).sigmoid_()
    return logits.softmax(dim=1)
