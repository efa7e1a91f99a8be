"""Pictures of tiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from builtup.scoring.tile_picture import LEAST_SIDE, save_overlay, tile_picture
from builtup.sensors.classes import BUILT_UP, Classes
from builtup.sensors.radar.sentinel1 import SENTINEL1


def test_a_picture_shows_five_panels_large_enough_to_read() -> None:
    rng = np.random.default_rng(0)
    power = rng.exponential(0.1, (3, 32, 48)).astype(np.float32)
    label = rng.integers(0, 2, (32, 48))
    picture = tile_picture(
        power, label.astype(np.float32), label, label, BUILT_UP, SENTINEL1, "a tile"
    )
    side = LEAST_SIDE // 32
    assert picture.width == 5 * 48 * side + 4 * 4
    panels = np.asarray(picture)[16 : 16 + 32 * side : side, ::side]
    probability, truth = (panels[:, i : i + 48, 0] for i in (_left(1, side), _left(2, side)))
    assert ((probability > 127) == (label == 1)).all()
    assert ((truth > 127) == (label == 1)).all()


def _left(panel: int, side: int) -> int:
    """First sampled column of a panel; the gaps of 4 px are less than a pixel of the tile."""
    return -(-(panel * (48 * side + 4)) // side)


def test_three_classes_have_their_colours_in_truth_and_prediction(tmp_path: Path) -> None:
    classes = Classes.of(("water", "building", "road"))
    truth = np.repeat(np.arange(4, dtype=np.uint8), 48)[None].repeat(192, axis=0)
    truth[truth == 3] = 255
    values = np.zeros((3, 192, 192), np.uint8)
    np.put_along_axis(values, np.where(truth == 255, 0, truth)[None].astype(np.int64), 254, axis=0)
    image = np.full((2, 192, 192), 0.1, np.float32)
    save_overlay(tmp_path / "a.png", image, values, 0.5, truth, classes, SENTINEL1, "a tile")
    pixels = np.asarray(Image.open(tmp_path / "a.png"))[16 + 96]
    shown = [tuple(pixels[2 * 196 + column]) for column in (24, 72, 120)]
    assert shown == list(classes.colours)
    ground, predicted = pixels[24].astype(int), pixels[3 * 196 + 72].astype(int)
    assert np.abs(predicted - (ground + classes.colours[1]) / 2).max() <= 1
