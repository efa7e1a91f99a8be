from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from builtup.maps.class_map import palette, write_class_map
from builtup.runs.results import PredictionTags, read_tags
from builtup.sensors.classes import Classes
from helpers import write_raster

NAMES = ("ground", "building", "car")


def tags_of(names: tuple[str, ...], threshold: float = 0.5) -> PredictionTags:
    return PredictionTags("a_{}", "a", 3, 2, "run", threshold, names, sensor="rgb")


def made(root: Path, levels: np.ndarray, tags: PredictionTags) -> tuple[np.ndarray, np.ndarray]:
    source = write_raster(root / "a_prob.tif", levels.astype(np.uint8), nodata=255)
    write_class_map(source, root / "a.tif", root / "a_confidence.tif", tags)
    with rasterio.open(root / "a.tif") as one, rasterio.open(root / "a_confidence.tif") as other:
        assert one.nodata == other.nodata == 255
        colours = one.colormap(1)
        assert all(colours[k] == c for k, c in palette(tags.class_set).items())
        assert other.scales == (1 / 254,)
        return one.read(1), other.read(1)


def test_of_several_classes_the_likeliest_and_its_probability(tmp_path: Path) -> None:
    levels = np.array(
        [
            [[200, 10, 100], [84, 255, 60]],
            [[30, 204, 100], [85, 255, 60]],
            [[24, 40, 54], [85, 255, 134]],
        ]
    )
    classes, sure = made(tmp_path, levels, tags_of(NAMES))
    assert classes.tolist() == [[0, 1, 0], [1, 255, 2]]  # of equal ones the first
    assert sure.tolist() == [[200, 204, 100], [85, 255, 134]]
    own = read_tags(tmp_path / "a.tif")
    assert (own.kind, own.scene, own.decision, own.sensor) == ("classes", "", "argmax", "rgb")
    assert read_tags(tmp_path / "a_confidence.tif").kind == "confidence"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("ground", "building"), [[0, 1, 1], [0, 255, 1]]),
        (("building", "ground"), [[1, 0, 0], [1, 255, 0]]),
    ],
)
def test_two_classes_are_decided_by_the_threshold(
    tmp_path: Path, names: tuple[str, ...], expected: list[list[int]]
) -> None:
    levels = np.array([[[0, 254, 102], [101, 255, 127]]])
    classes, sure = made(tmp_path, levels, tags_of(names, 0.4))
    assert classes.tolist() == expected
    assert sure.tolist() == [[254, 254, 102], [153, 255, 127]]


def test_classes_of_the_palette_have_their_colours() -> None:
    classes = Classes.of(NAMES)
    assert palette(classes)[1] == (*classes.colours[1], 255)
    assert palette(classes)[255] == (0, 0, 0, 0)
