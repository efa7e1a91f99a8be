"""What a network is fed: channels computed from power on its own device, normalised, gaps filled.

The numpy twins of these formulas are `builtup.sar.bands.CHANNEL_SETS`; tests hold both together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from builtup.errors import ConfigError
from builtup.sar.bands import CHANNEL_SETS, DB_FLOOR, NODATA_POWER

__all__ = ["Channels"]


class Channels(nn.Module):
    """Normalised channels of a set (`builtup.sar.bands.CHANNEL_SETS`) from linear power.

    Input (B, 2 or 3, H, W): VH, VV and perhaps their mean (which is computed anew), linear power,
    no-data by the rule of `builtup.sar.bands.invalid` or NaN. Output (B, C, H, W) float32,
    (channel − mean) / std; an invalid pixel is 0, the band's training mean. Computed in float32
    also under autocast: powers of 1e-5 and decibels do not fit half precision.

    `mean` and `std` are buffers, so the normalisation travels with the weights. Raises ConfigError
    for an unknown set or a normalisation that does not fit it.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        channel_set: str,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if channel_set not in _COMPUTE:
            raise ConfigError(
                f"channel set {channel_set!r}: unknown; choose one of {', '.join(_COMPUTE)}"
            )
        self.channel_set = channel_set
        self.names = CHANNEL_SETS[channel_set].names
        self._compute = _COMPUTE[channel_set]
        self.register_buffer("mean", torch.zeros(self.out_channels))
        self.register_buffer("std", torch.ones(self.out_channels))
        if mean is not None or std is not None:
            self.set_normalisation(
                (0.0,) * self.out_channels if mean is None else mean,
                (1.0,) * self.out_channels if std is None else std,
            )

    @property
    def out_channels(self) -> int:
        """Number of channels that the network receives."""
        return len(self.names)

    def set_normalisation(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Take mean and standard deviation per channel, as `channel_statistics` gives them."""
        for name, values in (("mean", mean), ("std", std)):
            given = torch.tensor(list(values), dtype=torch.float32)
            if len(given) != self.out_channels or not torch.isfinite(given).all():
                raise ConfigError(
                    f"normalisation of {self.channel_set}: {name} is {tuple(values)}; give "
                    f"{self.out_channels} finite numbers, for {', '.join(self.names)}"
                )
            if name == "std" and not (given > 0).all():
                raise ConfigError(
                    f"normalisation of {self.channel_set}: std is {tuple(values)}; "
                    "all must be above 0"
                )
            getattr(self, name).copy_(given)

    def valid(self, power: Tensor) -> Tensor:
        """Pixels with a measurement in both polarisations, (B, 1, H, W) bool."""
        vh, vv = power[:, 0:1], power[:, 1:2]
        # both keep NaN, for which comparisons are False; isfinite would take five passes for one
        lower, upper = torch.minimum(vh, vv), torch.maximum(vh, vv)
        measured = (lower > NODATA_POWER) & (upper < torch.inf)
        return measured & ((lower != 0) | (upper != 0))

    def forward(self, power: Tensor) -> Tensor:
        """Channels of a batch of power, see the class."""
        if power.ndim != 4 or power.shape[1] not in (2, 3):
            raise ValueError(f"expected (B, 2 or 3, H, W) power, got {tuple(power.shape)}")
        with torch.autocast(power.device.type, enabled=False):
            power = power.float()
            valid = self.valid(power)
            # 1 stands in for gaps, so that no logarithm meets NaN
            vh = torch.where(valid, power[:, 0:1], 1.0)
            vv = torch.where(valid, power[:, 1:2], 1.0)
            channels = self._compute(vh, vv)
            # in place: what was just made is ours, and memory is what this costs
            channels.sub_(self.mean[:, None, None]).div_(self.std[:, None, None])
            return channels.mul_(valid)

    def extra_repr(self) -> str:
        """The set's name and its normalisation, for print(model)."""
        mean = ", ".join(f"{v:.4g}" for v in self.mean.tolist())
        std = ", ".join(f"{v:.4g}" for v in self.std.tolist())
        return f"{self.channel_set}, mean=({mean}), std=({std})"


def _to_db(power: Tensor) -> Tensor:
    return 10 * torch.log10(power.clamp(min=DB_FLOOR))


def _linear_3b(vh: Tensor, vv: Tensor) -> Tensor:
    return torch.cat([vh, vv, (vh + vv) * 0.5], dim=1)


def _db_3b(vh: Tensor, vv: Tensor) -> Tensor:
    return _to_db(_linear_3b(vh, vv))


def _log_3b(vh: Tensor, vv: Tensor) -> Tensor:
    return 2 * torch.log(_linear_3b(vh, vv).clamp(min=DB_FLOOR))


def _root(vh: Tensor, vv: Tensor) -> Tensor:
    # not torch.hypot, which exporters to ONNX lack; powers are far from overflowing
    return torch.sqrt(vh * vh + vv * vv)


def _linear_5b(vh: Tensor, vv: Tensor) -> Tensor:
    return torch.cat([_linear_3b(vh, vv), vh - vv, _root(vh, vv)], dim=1)


def _db_5b(vh: Tensor, vv: Tensor) -> Tensor:
    db = _db_3b(vh, vv)
    vh_db, vv_db = db[:, 0:1], db[:, 1:2]
    return torch.cat([db, vv_db + vh_db, vv_db - vh_db], dim=1)


def _linear_6b(vh: Tensor, vv: Tensor) -> Tensor:
    ratio = vv / vh.clamp(min=DB_FLOOR)
    return torch.cat([_linear_3b(vh, vv), vv * vh, ratio, _root(vh, vv)], dim=1)


_COMPUTE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "linear_3b": _linear_3b,
    "db_3b": _db_3b,
    "log_3b": _log_3b,
    "linear_5b": _linear_5b,
    "db_5b": _db_5b,
    "linear_6b": _linear_6b,
}
