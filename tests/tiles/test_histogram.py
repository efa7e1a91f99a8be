from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from builtup.sensors.radar.bands import to_db
from builtup.tiles.histogram import EDGES, draw_histograms, histogram
from tile_data import labels, power


def test_counts_are_numpys_for_each_class_and_band() -> None:
    image = power((60, 60))
    mask = labels(image)
    mask[40:] = 255
    counts = histogram(image, mask)
    valid = np.isfinite(image[0])
    for index, label in enumerate((0, 1, 255)):
        for band in range(3):
            values = to_db(image[band])[valid & (mask == label)]
            expected, _ = np.histogram(values, EDGES)
            # values on the edge of a bin may fall to either side in float32
            assert np.abs(counts[index, band] - expected).sum() <= 4
            assert counts[index, band].sum() == values.size


def test_values_beyond_the_ends_fall_into_the_last_bins() -> None:
    image = np.array([[[0.0, 1e6]]] * 3, dtype=np.float32)
    counts = histogram(image, np.zeros((1, 2), np.uint8))
    assert counts[0, 0, 0] == counts[0, 0, -1] == 1


def test_the_picture_is_drawn_the_same_each_time(tmp_path: Path) -> None:
    counts = histogram(power((60, 60)), labels(power((60, 60))))
    for name in ("a.png", "b.png"):
        draw_histograms(tmp_path / name, {"one": counts, "two": 2 * counts})
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 20  # more than an empty frame


def test_a_picture_of_nothing_is_still_a_picture(tmp_path: Path) -> None:
    empty = histogram(np.full((3, 4, 4), np.nan, np.float32), np.full((4, 4), 255, np.uint8))
    draw_histograms(tmp_path / "a.png", {"one": empty})
    assert (tmp_path / "a.png").stat().st_size > 0
