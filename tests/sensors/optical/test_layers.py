"""Writing layers: pictures larger than a window, palettes and numbers as labels."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image

from builtup.geo.grid import Grid
from builtup.jobs.steps import Job
from builtup.sensors.optical.layers import write_layers
from builtup.sensors.optical.layouts.dronedeploy import CLASSES
from builtup.sensors.optical.raw_scenes import RawScene
from builtup.sensors.optical.scene_work import SceneWork
from helpers import write_raster
from picture_data import class_numbers, colours, painted

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def layers(tmp_path, image, labels, first=0):
    """Write the layers of a scene without a place; returns the picture, the mask, the counts."""
    picture = write_raster(tmp_path / "in.tif", image, None, None, photometric="RGB")
    grid = Grid(None, Affine.identity(), image.shape[2], image.shape[1])
    scene = RawScene("one", "site", picture, labels=labels)
    work = SceneWork(scene, grid, CLASSES, first, 0.1, None, ())
    outputs = (tmp_path / "out/image.tif", tmp_path / "out/mask.tif")
    counts = write_layers(Job("one", (picture, labels), outputs, {}, context=work))
    with rasterio.open(outputs[0]) as one, rasterio.open(outputs[1]) as other:
        return one.read(), other.read(1), counts


def png(path, values, mode="RGB"):
    picture = Image.fromarray(values, mode)
    if mode == "P":
        picture.putpalette([part for colour in CLASSES.colours for part in colour])
    picture.save(path)
    return path


def test_a_picture_of_several_windows(tmp_path):
    shape = (600, 2500)
    image = colours(shape)
    image[:, 250:300, 2040:2060] = 0  # over the edges of four windows, inside
    image[:, :, 2450:] = 0  # at the border
    found, mask, counts = layers(
        tmp_path, image, png(tmp_path / "l.png", painted(class_numbers(shape)))
    )
    assert (found[:3] == image).all()
    assert (found[3, :, 2450:] == 0).all()
    assert (found[3, :, :2450] == 255).all()
    assert (mask[:, :2450] == class_numbers(shape)[:, :2450]).all()
    assert (mask[:, 2450:] == 255).all()
    assert counts == {"label pixels of ignored colours": int((class_numbers(shape) == 255).sum())}


def test_labels_with_a_palette_are_read_by_their_colours(tmp_path):
    numbers = class_numbers()
    numbers[numbers == 255] = 5
    labels = png(tmp_path / "l.png", numbers, "P")
    _, mask, _ = layers(tmp_path, colours(), labels)
    assert (mask == numbers).all()


def test_labels_of_numbers_from_1(tmp_path):
    numbers = class_numbers()
    labels = png(tmp_path / "l.png", np.where(numbers == 255, 0, numbers + 1).astype(np.uint8), "L")
    _, mask, counts = layers(tmp_path, colours(), labels, first=1)
    assert (mask == numbers).all()
    assert counts == {}
    _, mask, counts = layers(tmp_path, colours(), labels, first=0)
    assert counts == {"label pixels of no class": int((numbers == 5).sum())}
    assert (mask[numbers == 5] == 255).all()
