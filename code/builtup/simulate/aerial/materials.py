"""What surfaces are made of: roofs and ground share their materials, each object has its own tint.

Colours are sRGB, 0 to 255. What a pixel's colour says about its class is therefore little: a
bitumen roof, a street and a pond are alike, and so are tiles and bricks, gravel roofs and yards.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from builtup.simulate.aerial.canvas import Canvas, hashed, per_object
from builtup.simulate.aerial.flight import Season
from builtup.simulate.plan.noise import hash_uniform, stream

__all__ = ["CODE", "PAINTS", "SHARED", "Mix", "albedo"]

Float = NDArray[np.float32]
UInt = NDArray[np.uint32]

#: Material: colour, and the deviation of its brightness over a pixel, 1 m, 4 m and 16 m.
_TABLE: dict[str, tuple[tuple[float, float, float], tuple[float, float, float, float]]] = {
    "bitumen": ((68, 68, 70), (0.05, 0.02, 0.03, 0.05)),
    "asphalt": ((104, 104, 106), (0.05, 0.02, 0.03, 0.05)),
    "concrete": ((172, 169, 162), (0.05, 0.02, 0.03, 0.05)),
    "gravel": ((148, 141, 130), (0.13, 0.04, 0.04, 0.05)),
    "clay": ((146, 98, 80), (0.09, 0.03, 0.03, 0.03)),
    "sand": ((190, 174, 148), (0.10, 0.05, 0.05, 0.05)),
    "soil": ((124, 102, 82), (0.12, 0.07, 0.06, 0.05)),
    "pale": ((212, 214, 215), (0.025, 0.015, 0.02, 0.03)),
    "grass": ((104, 116, 68), (0.15, 0.09, 0.06, 0.05)),
    "leaf": ((82, 100, 60), (0.17, 0.2, 0.05, 0.0)),
    "water": ((60, 68, 68), (0.01, 0.01, 0.015, 0.03)),
    "pool": ((92, 168, 184), (0.02, 0.04, 0.02, 0.0)),
    "white": ((228, 228, 226), (0.02, 0.02, 0.0, 0.0)),
    "silver": ((176, 178, 180), (0.02, 0.02, 0.0, 0.0)),
    "black": ((46, 46, 50), (0.02, 0.02, 0.0, 0.0)),
    "red": ((162, 52, 48), (0.02, 0.02, 0.0, 0.0)),
    "blue": ((58, 84, 140), (0.02, 0.02, 0.0, 0.0)),
    "orange": ((206, 120, 58), (0.02, 0.02, 0.0, 0.0)),
}
CODE = {name: code for code, name in enumerate(_TABLE)}
#: Of roofs and ground alike.
SHARED = tuple(_TABLE)[:9]
#: Of vehicles and of what lies about.
PAINTS = ("white", "silver", "black", "red", "blue", "orange")
#: How the shares of materials differ between cities: shape of a gamma variable.
TASTE = 1.6
#: Spread of the brightness and of the hue of objects of one material.
TINT, HUE = 0.17, 0.045
#: Colours of grass that has dried, of leaves that have turned or fallen, and of needles, which the
#: share CONIFERS of trees have.
STRAW = (176, 158, 112)
TURNED, FALLEN, NEEDLES = (152, 108, 66), (126, 114, 102), (62, 70, 60)
CONIFERS = 0.2


class Mix:
    """Shares of materials, a different mix in every city."""

    def __init__(self, key: tuple[int, ...], shares: dict[str, float]) -> None:
        taste = stream(*key).gamma(TASTE, 1 / TASTE, len(shares))
        weights = np.array(list(shares.values())) * taste
        self._codes = np.array([CODE[name] for name in shares], np.uint8)
        self._steps = np.cumsum(weights / weights.sum())[:-1]

    def of(self, objects: UInt, salt: int) -> NDArray[np.uint8]:
        """The material of each object."""
        return self._codes[np.searchsorted(self._steps, hash_uniform(objects, salt))]


def albedo(
    canvas: Canvas, material: NDArray[np.uint8], objects: UInt, season: Season, salt: int
) -> Float:
    """Colours (3, H, W), sRGB 0 to 255, of materials that belong to objects."""
    colours = np.array([colour for colour, _ in _TABLE.values()], np.float32)
    rough = np.array([deviation for _, deviation in _TABLE.values()], np.float32)
    colours[CODE["leaf"]], colours[CODE["water"]] = season.leaf, season.water
    bright = np.float32(1) + np.float32(TINT) * per_object(objects, 31)
    own = np.float32(0.5) + np.float32(1.1) * hash_uniform(objects, 33)
    white = (canvas.white(salt) - np.float32(0.5)) * np.float32(3.46)
    fields = [white] + [canvas.noise(m, salt + int(m)) for m in (1.0, 4.0, 16.0)]
    texture = sum(rough[:, i][material] * field for i, field in enumerate(fields))
    bright = np.clip(bright, 0.55, 1.5) * (1 + own * texture)
    out = colours[material].transpose(2, 0, 1)
    _dry(out, material == CODE["grass"], STRAW, _straw(objects, season, fields))
    tree, leaf = hash_uniform(objects, 35), material == CODE["leaf"]
    most = np.full(canvas.shape, 0.85, np.float32)
    _dry(out, leaf & (tree < season.autumn), TURNED, most)
    _dry(out, leaf & (tree < season.autumn / 2), FALLEN, most)
    _dry(out, leaf & (tree > 1 - CONIFERS * (1 - season.autumn)), NEEDLES, most)
    hue = np.float32(HUE) * per_object(objects, 37)
    out[0] *= bright * (1 + hue)
    out[1] *= bright
    out[2] *= bright * (1 - hue)
    return np.clip(out, 0, 255)


def _straw(objects: UInt, season: Season, fields: list[Float]) -> Float:
    """How dry grass is: by meadow, and in patches."""
    share = season.dry + 0.22 * per_object(objects, 39) + 0.05 * fields[2] + 0.06 * fields[3]
    return np.clip(share, 0, 1).astype(np.float32)


def _dry(out: Float, where: Any, colour: tuple[int, int, int], share: Float) -> None:
    for band, value in zip(out, colour, strict=True):
        band[where] += share[where] * (np.float32(value) - band[where])


def object_numbers(numbers: NDArray[Any], kind: int) -> UInt:
    """A hash for each object of a kind by its number."""
    return hashed(numbers, 7919 * (kind + 1))
