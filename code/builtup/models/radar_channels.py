"""Channels of radar on a network's device, from linear power (B, 2, H, W) of VH and VV.

The numpy twins of these formulas are `builtup.sensors.radar.bands.CHANNEL_SETS`; tests hold both
together. Two sets are the networks' alone and have no statistics: `db_2b`, whose order is that of
encoders pretrained on Sentinel-1, and `minmax_3b`, which is stretched image by image: what a pixel
becomes depends on the image that it is in, so predict in windows of about the size of the crops.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from builtup.models.formulas import Formula
from builtup.sensors.radar.bands import CHANNEL_SETS, DB_FLOOR, NODATA_POWER
from builtup.sensors.radar.sentinel1 import SENTINEL1

__all__ = ["RADAR_FORMULAS"]


def measured(power: Tensor) -> Tensor:
    """Pixels with a measurement in both polarisations, by the rule of `bands.invalid`."""
    vh, vv = power[:, 0:1], power[:, 1:2]
    # both keep NaN, for which comparisons are False; isfinite would take five passes for one
    lower, upper = torch.minimum(vh, vv), torch.maximum(vh, vv)
    finite = (lower > NODATA_POWER) & (upper < torch.inf)
    return finite & ((lower != 0) | (upper != 0))


def all_measured(power: Tensor) -> bool:
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


def _both(power: Tensor) -> tuple[Tensor, Tensor]:
    return power[:, 0:1], power[:, 1:2]


def _linear_3b(power: Tensor) -> Tensor:
    vh, vv = _both(power)
    return torch.cat([vh, vv, (vh + vv) * 0.5], dim=1)


def _db_3b(power: Tensor) -> Tensor:
    return _to_db(_linear_3b(power))


def _log_3b(power: Tensor) -> Tensor:
    return 2 * torch.log(_linear_3b(power).clamp(min=DB_FLOOR))


def _root(power: Tensor) -> Tensor:
    vh, vv = _both(power)
    # not torch.hypot, which exporters to ONNX lack; powers are far from overflowing
    return torch.sqrt(vh * vh + vv * vv)


def _linear_5b(power: Tensor) -> Tensor:
    vh, vv = _both(power)
    return torch.cat([_linear_3b(power), vh - vv, _root(power)], dim=1)


def _db_5b(power: Tensor) -> Tensor:
    db = _db_3b(power)
    vh, vv = _both(db)
    return torch.cat([db, vv + vh, vv - vh], dim=1)


def _linear_6b(power: Tensor) -> Tensor:
    vh, vv = _both(power)
    ratio = vv / vh.clamp(min=DB_FLOOR)
    return torch.cat([_linear_3b(power), vv * vh, ratio, _root(power)], dim=1)


def _db_2b(power: Tensor) -> Tensor:
    vh, vv = _both(power)
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


def _formula(
    names: tuple[str, ...],
    units: str,
    compute: Callable[[Tensor], Tensor],
    stretch: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Formula:
    return Formula(
        sensor=SENTINEL1,
        inputs=SENTINEL1.names,
        names=names,
        units=units,
        compute=compute,
        valid=measured,
        all_measured=all_measured,
        stretch=stretch,
        reads="VH, VV, linear power",
        nodata="NaN, infinite, at or below -9999, or 0 in both",
    )


_LINEAR, _DB = "linear power", "dB"
#: Units and formula of each set that has a numpy twin.
_TWINS = {
    "linear_3b": (_LINEAR, _linear_3b),
    "db_3b": (_DB, _db_3b),
    "log_3b": ("natural logarithm of squared linear power", _log_3b),
    "linear_5b": (_LINEAR, _linear_5b),
    "db_5b": (_DB, _db_5b),
    "linear_6b": ("linear power, VV·VH its square, VV/VH a ratio", _linear_6b),
}
#: By the name of the set.
RADAR_FORMULAS: dict[str, Formula] = {
    **{name: _formula(CHANNEL_SETS[name].names, *twin) for name, twin in _TWINS.items()},
    "db_2b": _formula(("VV dB", "VH dB"), _DB, _db_2b),
    "minmax_3b": _formula(
        ("VH", "VV", "mean"),
        "share of the image's range of linear power, to the power .2, minus .5",
        _linear_3b,
        _stretch,
    ),
}
