"""Pictures of tiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from builtup.scoring.tile_picture import GAP, LEAST_SIDE, save_overlay, tile_picture
from builtup.sensors.classes import BUILT_UP, Classes
from builtup.sensors.radar.sentinel1 import SENTINEL1


def test_a_picture_shows_five_panels_large_enough_to_read() -> None:
    rng = np.random.default_rng(0)
    power = rng.exponential(0.1, (3, 32, 48)).astype(np.float32)
    label = rng.integers(0, 2, (32, 48))
    picture = tile_picture(
        power, label.astype(np.float32), label, label, BUILT_UP, SENTINEL1, "a tile"
    )
    panels = cut(np.asarray(picture), 48, 32)
    assert len(panels) == 5
    for name in (1, 2):  # probability, ground truth
        assert ((panels[name][..., 0] > 127) == (label == 1)).all()


def cut(sheet: np.ndarray, width: int, height: int) -> list[np.ndarray]:
    """The pixels of each panel of a tile of that size, undoing its enlargement."""
    side = -(-LEAST_SIDE // min(width, height))
    line = sheet.shape[0] // 2 - height * side
    found = []
    for number in range(5):
        left = (number % 3) * (width * side + GAP)
        top = (number // 3) * (height * side + line) + line
        found.append(sheet[top : top + height * side : side, left : left + width * side : side])
    return found


def test_text_can_be_read_where_the_sheet_is_shown_at_half_its_size() -> None:
    power = np.full((2, 512, 512), 0.1, np.float32)
    label = np.zeros((512, 512), np.uint8)
    arguments = (power, label.astype(np.float32), label, label, BUILT_UP, SENTINEL1)
    picture = tile_picture(
        *arguments, "s1a_38SMA_ASC_20150601t150143_256_256_of_a_city  iteration 7"
    )
    assert picture.width == 3 * 512 + 2 * GAP
    line = picture.height // 2 - 512
    assert line >= 30
    cell = np.asarray(picture)[512 + 2 * line :, 2 * (512 + GAP) :]
    dark = (cell < 100).any(axis=(1, 2))
    assert (np.diff(dark.astype(int)) == 1).sum() >= 3  # the name in two lines, iteration, IoU


def test_three_classes_have_their_colours_in_truth_and_prediction(tmp_path: Path) -> None:
    classes = Classes.of(("water", "building", "road"))
    truth = np.repeat(np.arange(4, dtype=np.uint8), 48)[None].repeat(192, axis=0)
    truth[truth == 3] = 255
    values = np.zeros((3, 192, 192), np.uint8)
    np.put_along_axis(values, np.where(truth == 255, 0, truth)[None].astype(np.int64), 254, axis=0)
    image = np.full((2, 192, 192), 0.1, np.float32)
    save_overlay(tmp_path / "a.png", image, values, 0.5, truth, classes, SENTINEL1, "a tile")
    panels = cut(np.asarray(Image.open(tmp_path / "a.png")), 192, 192)
    shown = [tuple(panels[2][96, column]) for column in (24, 72, 120)]
    assert shown == list(classes.colours)
    ground, predicted = panels[0][96, 24].astype(int), panels[3][96, 72].astype(int)
    assert np.abs(predicted - (ground + classes.colours[1]) / 2).max() <= 1
