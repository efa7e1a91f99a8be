"""What a network is fed: channels computed from power on its own device, normalised, gaps filled.

The numpy twins of these formulas are `builtup.sensors.radar.bands.CHANNEL_SETS`; tests hold both
together. Two sets are the networks' alone and have no statistics: `db_2b`, whose order is that of
encoders pretrained on Sentinel-1, and `minmax_3b`, which is stretched image by image.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from builtup.errors import ConfigError
from builtup.sensors.radar.bands import CHANNEL_SETS, DB_FLOOR, NODATA_POWER

__all__ = ["Channels", "channel_sets", "with_signature"]

_LINEAR, _DB = "linear power", "dB"
#: Units of each set's channels.
_UNITS = {
    "linear_3b": _LINEAR,
    "db_3b": _DB,
    "log_3b": "natural logarithm of squared linear power",
    "linear_5b": _LINEAR,
    "db_5b": _DB,
    "linear_6b": "linear power, VV·VH its square, VV/VH a ratio",
    "db_2b": _DB,
    "minmax_3b": "share of the image's range of linear power, to the power .2, minus .5",
}
_NAMES = {
    **{name: known.names for name, known in CHANNEL_SETS.items()},
    "db_2b": ("VV dB", "VH dB"),
    "minmax_3b": ("VH", "VV", "mean"),
}


def channel_sets() -> dict[str, tuple[str, ...]]:
    """The names of the sets that a network can be fed, and of their channels in order."""
    return dict(_NAMES)


class Channels(nn.Module):
    """Normalised channels of a set (see `channel_sets`) from linear power.

    Input (B, 2 or 3, H, W): VH, VV and perhaps their mean (which is computed anew), linear power,
    no-data by the rule of `builtup.sensors.radar.bands.invalid` or NaN. Output (B, C, H, W)
    float32, (channel − mean) / std; an invalid pixel is 0, the band's training mean. Computed in
    float32 also under autocast: powers of 1e-5 and decibels do not fit half precision.

    `minmax_3b` stretches each image between the least and greatest valid power of each band, then
    takes x^.2 − .5: what a pixel becomes depends on the image that it is in, so predict in windows
    of about the size of the crops.

    `mean`, `std` and `signature` (set, order and units) are buffers: the transform travels with the
    weights, and weights of another set are refused. Raises ConfigError for an unknown set, a
    normalisation that does not fit it, and weights of another set.
    """

    mean: Tensor
    std: Tensor
    signature: Tensor

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
        self.names = _NAMES[channel_set]
        self.units = _UNITS[channel_set]
        self._compute = _COMPUTE[channel_set]
        self.register_buffer("signature", _encode(self._description()))
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
            if self.channel_set != "minmax_3b" and _all_measured(power[:, :2]):
                return self._normalised(self._compute(power[:, 0:1], power[:, 1:2]))
            valid = self.valid(power)
            # 1 stands in for gaps, so that no logarithm meets NaN
            vh = torch.where(valid, power[:, 0:1], 1.0)
            vv = torch.where(valid, power[:, 1:2], 1.0)
            channels = self._compute(vh, vv)
            if self.channel_set == "minmax_3b":
                channels = _stretch(channels, valid)
            return self._normalised(channels).mul_(valid)

    def _normalised(self, channels: Tensor) -> Tensor:
        # in place: what was just made is ours, and memory is what this costs
        return channels.sub_(self.mean[:, None, None]).div_(self.std[:, None, None])

    def describe(self) -> dict[str, Any]:
        """The whole transform as JSON values, for a model's card."""
        return {
            **self._description(),
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "input": "VH, VV, linear power",
            "nodata": "NaN, infinite, at or below -9999, or 0 in both; 0 after normalisation",
        }

    def _description(self) -> dict[str, Any]:
        return {"set": self.channel_set, "channels": list(self.names), "units": self.units}

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *arguments: Any
    ) -> None:
        problem = self._misfit(state_dict, prefix)
        if problem:
            raise ConfigError(f"{problem}; use the config that they were trained with")
        # weights from before there were signatures
        state_dict.setdefault(f"{prefix}signature", self.signature)
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def _misfit(self, weights: Mapping[str, Any], prefix: str) -> str:
        """Why weights are not of this set, or nothing."""
        saved = weights.get(f"{prefix}signature")
        if saved is None or torch.equal(saved.cpu(), self.signature.cpu()):
            return ""
        found, own = _decode(saved), self._description()
        return f"weights are of the channels {_phrase(found)}, the model takes {_phrase(own)}"

    def extra_repr(self) -> str:
        """The set's name and its normalisation, for print(model)."""
        mean = ", ".join(f"{v:.4g}" for v in self.mean.tolist())
        std = ", ".join(f"{v:.4g}" for v in self.std.tolist())
        return f"{self.channel_set}, mean=({mean}), std=({std})"


def with_signature(model: nn.Module, weights: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """A model's weights with the signature of its channels, and why they do not fit, or nothing.

    Weights that were saved before there were signatures are taken to be of the model's set.
    """
    complete = dict(weights)
    for name, module in model.named_modules():
        if isinstance(module, Channels):
            prefix = f"{name}." if name else ""
            problem = module._misfit(complete, prefix)
            if problem:
                return complete, problem
            complete.setdefault(f"{prefix}signature", module.signature)
    return complete, ""


def _encode(description: Mapping[str, Any]) -> Tensor:
    text = json.dumps(description, ensure_ascii=False, sort_keys=True)
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8).clone()


def _decode(signature: Tensor) -> dict[str, Any]:
    try:
        found = json.loads(bytes(signature.cpu().tolist()))
        return {"set": found["set"], "channels": found["channels"], "units": found["units"]}
    except (ValueError, KeyError, TypeError):
        return {"set": "unknown", "channels": ["unreadable"], "units": ""}


def _phrase(description: Mapping[str, Any]) -> str:
    return f"{description['set']} ({', '.join(description['channels'])}; {description['units']})"


def _all_measured(power: Tensor) -> bool:
    """Whether no pixel can be invalid: all finite, above no-data and none 0, told in two passes.

    Then nothing is masked, which on a CPU takes three times as long as the rest, and gives the
    same. An accelerator would have to wait for the answer, an exported network has no such choice.
    """
    if power.device.type != "cpu" or torch.compiler.is_compiling() or power.numel() == 0:
        return False
    low, high = torch.aminmax(power)  # NaN where one is NaN
    if not (bool(low > NODATA_POWER) and bool(high < torch.inf)):
        return False
    return bool(power.detach().numpy().all())  # several times as fast as torch's own


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


def _db_2b(vh: Tensor, vv: Tensor) -> Tensor:
    return _to_db(torch.cat([vv, vh], dim=1))


def _stretch(channels: Tensor, valid: Tensor) -> Tensor:
    """((x − min) / (max − min))^.2 − .5 per image and band, over valid pixels."""
    least = torch.where(valid, channels, torch.inf).amin(dim=(2, 3), keepdim=True)
    most = torch.where(valid, channels, -torch.inf).amax(dim=(2, 3), keepdim=True)
    span = most - least
    # an image without a valid pixel, or of one value only, has no range
    usable = (span > 0) & torch.isfinite(span)
    least, span = torch.where(usable, least, 0.0), torch.where(usable, span, 1.0)
    share = torch.where(usable, (channels - least) / span, 0.0)
    return share.clamp(0, 1) ** 0.2 - 0.5


_COMPUTE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "linear_3b": _linear_3b,
    "db_3b": _db_3b,
    "log_3b": _log_3b,
    "linear_5b": _linear_5b,
    "db_5b": _db_5b,
    "linear_6b": _linear_6b,
    "db_2b": _db_2b,
    "minmax_3b": _linear_3b,
}
