"""Pictures as data URIs, within a budget of bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["Drawing", "encode"]

#: Lossy quality of photographs, and by how much a side shrinks where the budget is not kept.
QUALITY, SHRINK = 80, 0.8
SMALLEST = 16
RGB = tuple[int, int, int]


@dataclass(frozen=True)
class Drawing:
    """One picture: a photograph (H, W, 4) uint8, or one `colour` with an opacity (H, W) 0 to 15."""

    pixels: NDArray[np.uint8]
    colour: RGB | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.pixels.shape[1], self.pixels.shape[0]


def encode(drawings: Mapping[str, Drawing], budget: int) -> dict[str, str]:
    """Data URIs of all drawings, together at most `budget` bytes long.

    Where they would be longer, all are made smaller, down to 16 pixels a side.
    """
    factor = 1.0
    while True:
        found = {name: _uri(drawing, factor) for name, drawing in drawings.items()}
        largest = max((max(d.size) for d in drawings.values()), default=0)
        if sum(map(len, found.values())) <= budget or factor * largest < SMALLEST:
            return found
        factor *= SHRINK


def _uri(drawing: Drawing, factor: float) -> str:
    width, height = (max(1, round(n * factor)) for n in drawing.size)
    if drawing.colour is None:
        image = Image.fromarray(drawing.pixels, "RGBA")
        return _as_uri("webp", _resized(image, width, height), quality=QUALITY, method=4)
    opacity = _resized(Image.fromarray(drawing.pixels * np.uint8(17), "L"), width, height)
    layer = Image.fromarray((np.asarray(opacity) // 17).astype(np.uint8), "P")
    layer.putpalette(drawing.colour * 16)
    alpha = bytes(range(0, 256, 17))
    return _as_uri("png", layer, transparency=alpha, bits=4, optimize=True)


def _resized(image: Image.Image, width: int, height: int) -> Image.Image:
    return (
        image
        if image.size == (width, height)
        else image.resize((width, height), Image.Resampling.BOX)
    )


def _as_uri(kind: str, image: Image.Image, **options: object) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind.upper(), **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
