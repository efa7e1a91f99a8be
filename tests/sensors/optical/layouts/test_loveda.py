"""The layout of LoveDA: names, numbers, and the real tiles."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio

from builtup.errors import InputError
from builtup.sensors.optical.import_scenes import import_scenes
from builtup.sensors.optical.label_colours import Counts, from_numbers
from builtup.sensors.optical.layouts.loveda import CLASSES, LAYOUT, find
from helpers import real_data

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def made(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_domains_are_sites_and_folders_splits(tmp_path):
    root = made(
        tmp_path,
        *("Train/Rural/images_png/0.png", "Train/Rural/masks_png/0.png"),
        *("Val/Urban/images_png/9.png", "Val/Urban/masks_png/9.png", "Val/Urban/masks_png/8.png"),
        *("Test/Urban/images_png/5.png", "Train/readme.png"),
    )
    found = find(root)
    assert [(s.name, s.site, s.split, s.labelled) for s in found.scenes] == [
        ("Test_Urban_5", "Test_Urban", "test", False),
        ("Train_Rural_0", "Train_Rural", "train", True),
        ("Val_Urban_9", "Val_Urban", "valid", True),
    ]
    assert {(r.file, r.what, r.doubtful) for r in found.remarks} == {
        ("Train/readme.png", "passed over, in no folder of pictures or masks", True),
        ("Test_Urban_5", "no labels", False),
        ("Val/Urban/masks_png/8.png", "passed over, of no picture", True),
    }


def test_labels_twice_and_nothing(tmp_path):
    found = find(made(tmp_path / "a", "images/1.png", "labels/1.png", "masks/1.png"))
    assert ["labels of the same picture" in p.problem for p in found.problems] == [True]
    (tmp_path / "b").mkdir()
    with pytest.raises(InputError, match="no folder of pictures"):
        find(tmp_path / "b")


def test_0_is_no_data_and_1_the_first_class():
    counts = Counts()
    values = np.array([[0, 1, 2, 7, 8]], np.uint8)
    assert from_numbers(values, CLASSES, LAYOUT.first, counts).tolist() == [[255, 0, 1, 6, 255]]
    assert counts.unknown == {"number 8": 1}


def test_the_real_tiles(tmp_path):
    root = real_data("imagery/weak/loveda")
    import_scenes(input_path=root, output_path=tmp_path, layout="loveda", num_workers=1)
    with rasterio.open(tmp_path / "masks/loveda/1_mask.tif") as mask:
        counts = np.bincount(mask.read(1).ravel(), minlength=256)
        assert mask.tags()["BUILTUP_METRES"] == "0.3"
    assert counts[:7].tolist() == [226400, 3503, 2485, 244616, 0, 43126, 528446]
