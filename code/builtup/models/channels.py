"""What a network is fed: channels of the bands that it reads, normalised, gaps filled.

They are computed on the network's own device; the formulas are each sensor's, see
`builtup.models.radar_channels` and `builtup.models.optical_channels`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from builtup.errors import ConfigError
from builtup.models.formulas import Formula
from builtup.models.optical_channels import OPTICAL_FORMULAS
from builtup.models.radar_channels import RADAR_FORMULAS
from builtup.sensors.catalogue import DEFAULT
from builtup.sensors.sensor import Sensor

__all__ = [
    "Channels",
    "channel_sets",
    "channels_of",
    "inputs_of",
    "required_of",
    "sensor_of_model",
    "with_signature",
]

#: Every set that a network can be fed, by name.
_FORMULAS: dict[str, Formula] = {**RADAR_FORMULAS, **OPTICAL_FORMULAS}


def channel_sets() -> dict[str, tuple[str, ...]]:
    """The names of the sets that a network can be fed, and of their channels in order."""
    return {name: formula.names for name, formula in _FORMULAS.items()}


def channels_of(model: nn.Module) -> Channels | None:
    """The `Channels` that a model begins with, if it has any."""
    return next((module for module in model.modules() if isinstance(module, Channels)), None)


def inputs_of(model: nn.Module) -> tuple[str, ...]:
    """The bands that a model reads: those of its `Channels`, the default sensor's without any."""
    channels = channels_of(model)
    return DEFAULT.names if channels is None else channels.inputs


def sensor_of_model(model: nn.Module) -> Sensor:
    """The sensor whose images a model reads: that of its `Channels`, the default without any."""
    channels = channels_of(model)
    return DEFAULT if channels is None else channels.sensor


def required_of(model: nn.Module) -> int | None:
    """How many of a model's first inputs make a pixel valid: the bands of its sensor. What follows
    them are layers, which may be unknown. None, all, for a model without `Channels`."""
    channels = channels_of(model)
    return None if channels is None else len(channels.sensor.read)


class Channels(nn.Module):
    """Normalised channels of a set (see `channel_sets`) from the bands that it reads.

    Input (B, bands, H, W): the bands `inputs` as the sensor's samples hold them, or all bands that
    its files hold (which begin with these; the others are not looked at), no-data by the sensor's
    rule or NaN. Output (B, C, H, W) float32, (channel − mean) / std; an invalid pixel is 0, the
    channel's training mean. Computed in float32 also under autocast: powers of 1e-5 and decibels
    do not fit half precision.

    `sensor` and `inputs` say whose bands these are and their names, `band_counts` how many an input
    may have, `nodata` what its gaps are. `mean`, `std` and `signature` (set, order and units) are
    buffers: the transform travels with the weights, and weights of another set are refused. Raises
    ConfigError for an unknown set, a normalisation that does not fit it, and weights of another
    set.
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
        if channel_set not in _FORMULAS:
            raise ConfigError(
                f"channel set {channel_set!r}: unknown; choose one of {', '.join(_FORMULAS)}"
            )
        self.channel_set = channel_set
        self._formula = formula = _FORMULAS[channel_set]
        self.sensor = formula.sensor
        self.inputs, self.names, self.units = formula.inputs, formula.names, formula.units
        self.nodata = formula.nodata
        of_file = max(len(self.inputs), len(self.sensor.bands))
        self.band_counts = tuple(sorted({len(self.inputs), of_file}))
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

    def valid(self, bands: Tensor) -> Tensor:
        """Pixels with a measurement by the sensor's rule, (B, 1, H, W) bool."""
        return self._formula.valid(bands[:, : len(self.inputs)])

    def forward(self, bands: Tensor) -> Tensor:
        """Channels of a batch, see the class."""
        if bands.ndim != 4 or bands.shape[1] not in self.band_counts:
            expected = " or ".join(map(str, self.band_counts))
            raise ValueError(f"expected (B, {expected}, H, W) bands, got {tuple(bands.shape)}")
        formula = self._formula
        with torch.autocast(bands.device.type, enabled=False):
            read = bands.float()[:, : len(self.inputs)]
            if formula.stretch is None and formula.all_measured(read):
                return self._normalised(formula.compute(read))
            valid = self.valid(read)
            # 1 stands in for gaps, so that no logarithm meets NaN
            channels = formula.compute(torch.where(valid, read, 1.0))
            if formula.stretch is not None:
                channels = formula.stretch(channels, valid)
            if formula.known is not None:  # a layer has gaps of its own
                valid = valid & formula.known(read)
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
            "input": self._formula.reads,
            "nodata": f"{self.nodata}; 0 after normalisation",
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
