"""The font of pictures that are drawn without matplotlib."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

__all__ = ["label_font"]


@cache
def label_font(size: int) -> ImageFont.FreeTypeFont:
    """A font of `size` pixels with the signs of many scripts, from a package that is there anyway.

    Found without importing it, which takes longer than all the drawing. Signs that it lacks are
    boxes.
    """
    spec = find_spec("matplotlib")
    assert spec is not None and spec.origin is not None
    return ImageFont.truetype(Path(spec.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf", size)
