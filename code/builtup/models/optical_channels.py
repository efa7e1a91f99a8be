"""Channels of cameras on a network's device, from colours 0 to 255 and the height above ground.

The numpy twins of these formulas are `builtup.sensors.optical.cameras.OPTICAL_SETS`; tests hold
both together. A height may be unknown (NaN) where the colours are not: its channel is then 0 after
normalisation, the training mean, and a further channel says whether it is known.
"""

from __future__ import annotations

import torch
from torch import Tensor

from builtup.models.formulas import Formula
from builtup.sensors.optical.cameras import HEIGHT, HEIGHT_RANGE, IRRG, OPTICAL_SETS, RGB
from builtup.sensors.sensor import Sensor

__all__ = ["OPTICAL_FORMULAS"]


#: Values at or below are gaps as well: what calibrates 8-bit networks takes no NaN.
NODATA = -9999.0


def _finite(values: Tensor) -> Tensor:
    # by comparison, for which NaN is False: exporters know no isfinite
    return (values > NODATA) & (values < torch.inf)


def _seen(bands: Tensor) -> Tensor:
    """Pixels with all three colours, (B, 1, H, W) bool."""
    return _finite(bands[:, :3]).all(dim=1, keepdim=True)


def _all_seen(bands: Tensor) -> bool:
    """Whether all pixels have all their inputs, where that is cheap to know."""
    if bands.device.type != "cpu" or torch.compiler.is_compiling() or not bands.numel():
        return False
    low, high = torch.aminmax(bands)  # NaN where one is NaN
    return bool(low > NODATA) and bool(high < torch.inf)


def _colours(bands: Tensor) -> Tensor:
    return bands[:, :3].clone()


def _with_height(bands: Tensor) -> Tensor:
    height = bands[:, 3:4]
    known = _finite(height)
    metres = torch.where(known, height, 0.0).clamp(*HEIGHT_RANGE)
    return torch.cat([bands[:, :3], metres, known.to(bands.dtype)], dim=1)


def _height_known(bands: Tensor) -> Tensor:
    """Which channels of `_with_height` are known where the colours are, (B, 5, H, W) bool."""
    known = _finite(bands[:, 3:4])
    always = torch.ones_like(known)
    return torch.cat([always, always, always, known, always], dim=1)


def _formula(name: str, sensor: Sensor, reads: str) -> Formula:
    known = OPTICAL_SETS[name]
    of_height = known.layers == (HEIGHT,)
    return Formula(
        sensor=sensor,
        inputs=(*sensor.names, *known.layers),
        names=known.names,
        units="8-bit values, metres, 0 or 1" if of_height else "8-bit values",
        compute=_with_height if of_height else _colours,
        valid=_seen,
        all_measured=_all_seen,
        stretch=None,
        reads=reads,
        nodata="NaN, infinite, or at or below -9999",
        known=_height_known if of_height else None,
    )


#: By the name of the set.
OPTICAL_FORMULAS: dict[str, Formula] = {
    "rgb": _formula("rgb", RGB, "red, green, blue, 0 to 255"),
    "rgb_height": _formula(
        "rgb_height",
        RGB,
        "red, green, blue, 0 to 255, and metres above local ground, NaN where not known",
    ),
    "irrg": _formula("irrg", IRRG, "near infrared, red, green, 0 to 255"),
}
