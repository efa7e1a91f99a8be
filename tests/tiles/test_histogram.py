from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from builtup.sensors.radar.bands import to_db
from builtup.sensors.radar.sentinel1 import SENTINEL1
from builtup.tiles.histogram import BINS, draw_histograms, histogram, medians, widened
from tile_data import labels, power

AXIS = SENTINEL1.axis


def counted(shape: tuple[int, int] = (60, 60), classes: int = 2) -> NDArray[np.int64]:
    image = power(shape)
    valid = np.isfinite(image[0])
    return histogram(image[:, valid], labels(image)[valid], classes, AXIS)


@pytest.mark.parametrize("classes", [2, 3])
def test_counts_are_numpys_for_each_class_and_band(classes: int) -> None:
    image = power((60, 60))
    mask = labels(image)
    mask[40:], mask[50:] = 255, classes - 1
    valid = np.isfinite(image[0])
    counts = histogram(image[:, valid], mask[valid], classes, AXIS)
    assert counts.shape == (classes + 1, 3, BINS)
    for index, label in enumerate((*range(classes), 255)):
        for band in range(3):
            values = to_db(image[band])[valid & (mask == label)]
            expected, _ = np.histogram(values, np.linspace(AXIS.low, AXIS.high, BINS + 1))
            # values on the edge of a bin may fall to either side in float32
            assert np.abs(counts[index, band] - expected).sum() <= 4
            assert counts[index, band].sum() == values.size


def test_values_beyond_the_ends_fall_into_the_last_bins() -> None:
    counts = histogram(np.array([[0.0, 1e6]] * 3, np.float32), np.zeros(2, np.uint8), 2, AXIS)
    assert counts[0, 0, 0] == counts[0, 0, -1] == 1


def test_medians_are_those_of_all_classes() -> None:
    image = power((40, 50))[:2]
    bands = image[:, np.isfinite(image[0])]
    mask = (np.arange(bands.shape[1]) % 3).astype(np.uint8)
    found = medians(histogram(bands, mask, 3, SENTINEL1.axis), SENTINEL1.axis)
    np.testing.assert_allclose(found, np.median(to_db(bands), axis=1), atol=0.3)
    assert np.isnan(medians(np.zeros((3, 1, BINS), np.int64), SENTINEL1.axis)[0])


def test_more_classes_come_before_what_is_not_labelled() -> None:
    counts = counted()
    more = widened(counts, 4)
    assert more.shape == (5, 3, BINS)
    assert (more[[0, 1, 4]] == counts).all() and not more[2:4].any()
    assert widened(counts, 2) is counts


@pytest.mark.parametrize("classes", [2, 3])
def test_the_picture_is_drawn_the_same_each_time(tmp_path: Path, classes: int) -> None:
    counts = counted(classes=classes)
    for name in ("a.png", "b.png"):
        draw_histograms(tmp_path / name, {"one": counts, "two": 2 * counts}, SENTINEL1)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 20  # more than an empty frame


def test_each_class_that_occurs_is_drawn(tmp_path: Path) -> None:
    two = widened(counted(), 9)
    three = two.copy()
    three[8] = two[1]
    for name, counts in (("two", two), ("three", three)):
        draw_histograms(tmp_path / f"{name}.png", {"one": counts}, SENTINEL1)
    assert (tmp_path / "two.png").read_bytes() != (tmp_path / "three.png").read_bytes()


def test_a_picture_of_nothing_is_still_a_picture(tmp_path: Path) -> None:
    empty = histogram(np.empty((3, 0), np.float32), np.empty(0, np.uint8), 2, AXIS)
    draw_histograms(tmp_path / "a.png", {"one": empty}, SENTINEL1)
    assert (tmp_path / "a.png").stat().st_size > 0
