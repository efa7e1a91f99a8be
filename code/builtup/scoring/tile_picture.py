"""A tile as a picture: image, probability, ground truth and prediction, with its IoU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from builtup.geo.probability import IGNORE, NODATA, SCALE
from builtup.jobs.files import atomic_path
from builtup.scoring.counts import tile_iou
from builtup.scoring.fonts import label_font
from builtup.scoring.tables import three_decimals
from builtup.sensors.classes import Classes
from builtup.sensors.sensor import UNKNOWN, Sensor

__all__ = ["save_overlay", "tile_picture"]

Pixels = NDArray[np.uint8]

#: Pixels between panels, of a panel's side at least, and of text at least.
GAP, LEAST_SIDE, LEAST_TEXT = 6, 288, 13
#: Colours of the mapped class laid over the image, where there are two classes.
PREDICTED = (230, 60, 30)
TRUE = (40, 200, 90)


def tile_picture(
    image: NDArray[np.float32],
    probability: NDArray[np.float32],
    label: NDArray[Any],
    target: NDArray[Any],
    classes: Classes,
    sensor: Sensor,
    title: str = "",
) -> Image.Image:
    """Five panels in two rows, and the title with the tile's IoU of the mapped class.

    Image, probability of the mapped class, ground truth, prediction on the image, ground truth on
    the image. `image` (B, H, W) holds the bands that the sensor reads (more are not looked at);
    `probability` (H, W) 0 to 1; `label`, `target` (H, W) class numbers, 255 where nothing is known.
    More than two classes have their own colours.
    """
    shown = sensor.picture(image)
    grey = np.repeat(np.round(probability * 255).astype(np.uint8)[..., None], 3, axis=2)
    panels = [
        (sensor.drawn, shown),
        ("probability", grey),
        ("ground truth", _truth(target, classes)),
        ("image + prediction", _overlay(shown, label, classes, PREDICTED)),
        ("image + truth", _overlay(shown, target, classes, TRUE)),
    ]
    iou = tile_iou(label, target, classes.mapped_index)
    return _sheet(panels, [*filter(None, title.split("  ")), f"IoU {three_decimals(iou)}"])


def save_overlay(
    path: Path,
    image: NDArray[np.float32],
    values: NDArray[np.uint8],
    threshold: float,
    truth: NDArray[np.uint8] | None,
    classes: Classes,
    sensor: Sensor,
    title: str = "",
) -> None:
    """Write the `tile_picture` of a prediction as PNG.

    `values` (bands, H, W) are 8-bit probabilities as `Classes.decide` takes them; `truth` (H, W)
    class numbers, all unknown where None.
    """
    level = values[0 if len(values) == 1 else classes.mapped_index]
    probability = np.where(level == NODATA, 0, level).astype(np.float32) / np.float32(SCALE)
    label = classes.decide(values, threshold)
    target = np.full(level.shape, IGNORE, np.uint8) if truth is None else truth
    picture = tile_picture(image, probability, label, target, classes, sensor, title)
    with atomic_path(path) as temporary:
        picture.save(temporary)


def _truth(target: NDArray[Any], classes: Classes) -> Pixels:
    """Two classes in black and white, more in their colours."""
    if classes.by_threshold:
        colours = np.zeros((2, 3), np.uint8)
        colours[classes.mapped_index] = 255
    else:
        colours = np.array(classes.colours, np.uint8)
    known = target != IGNORE
    picture = colours[np.where(known, target, 0)]
    picture[~known] = UNKNOWN
    return picture


def _overlay(
    image: Pixels, label: NDArray[Any], classes: Classes, colour: tuple[int, int, int]
) -> Pixels:
    """The mapped class in `colour` over the image; of more than two classes each in its own."""
    if classes.by_threshold:
        where = label == classes.mapped_index
        paint = np.broadcast_to(np.array(colour), image.shape)
    else:
        where = label != IGNORE
        paint = np.array(classes.colours)[np.where(where, label, 0)]
    over = image.copy()
    over[where] = (0.5 * image[where] + 0.5 * paint[where]).astype(np.uint8)
    return over


def _sheet(panels: Sequence[tuple[str, Pixels]], lines: Sequence[str]) -> Image.Image:
    """The panels in two rows of three, the lines of text in the cell that is left."""
    images = [(name, _enlarged(Image.fromarray(pixels))) for name, pixels in panels]
    width, height = images[0][1].size
    # so large that it can be read where a dashboard shows the sheet at half its size
    font = label_font(max(LEAST_TEXT, width // 22))
    line = round(1.5 * font.size)
    step = (width + GAP, height + line)
    sheet = Image.new("RGB", (3 * step[0] - GAP, 2 * step[1]), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (name, image) in enumerate(images):
        left, top = (number % 3) * step[0], (number // 3) * step[1]
        draw.text((left + 2, top + line - 4), name, "black", font, anchor="ls")
        sheet.paste(image, (left, top + line))
    left, top = 2 * step[0], step[1] + line
    for text in lines:
        while font.getlength(text) > width:  # names are long: broken where the cell ends
            fits = next(n for n in range(len(text), 0, -1) if font.getlength(text[:n]) <= width)
            draw.text((left + 4, top), text[:fits], "black", font)
            text, top = text[fits:], top + line
        draw.text((left + 4, top), text, "black", font)
        top += line
    return sheet


def _enlarged(image: Image.Image) -> Image.Image:
    """Whole multiples of small images, so that their captions fit."""
    factor = -(-LEAST_SIDE // min(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
