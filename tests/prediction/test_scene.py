"""A scene is predicted as the array that it holds, whole or not at all."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import rasterio
import torch
from torch import Tensor, nn

from builtup.errors import InputError
from builtup.geo.probability import NODATA
from builtup.prediction.network import make_stream, predict_array
from builtup.prediction.scene import SceneWork, _sample, predict_scene
from builtup.runs.results import PredictionTags, read_tags
from builtup.sensors.classes import Classes
from helpers import write_raster


class Pixelwise(nn.Module):
    """Logits from the power of each pixel."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(2, classes, 1)

    def forward(self, power: Tensor) -> Tensor:
        return self.conv(power.nan_to_num(0))


def test_a_scene_is_predicted_as_the_array_it_holds(tmp_path: Path) -> None:
    scene = np.random.default_rng(1).random((3, 70, 90), dtype=np.float32)
    scene[:, :20, :50] = np.nan
    path = write_raster(tmp_path / "scene.tif", scene, nodata=float("nan"))
    stream = make_stream(Pixelwise(), window=32, overlap=8, device="cpu")
    done = predict_scene(path, stream, tmp_path / "out.tif")
    with rasterio.open(tmp_path / "out.tif") as out, rasterio.open(path) as source:
        assert out.transform == source.transform
        assert out.crs == source.crs
        assert out.nodata == NODATA
        assert out.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        np.testing.assert_array_equal(out.read(), predict_array(scene[:2], stream))
    assert done.pixels == 70 * 90
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.tif", "scene.tif"]


def test_a_truncated_scene_leaves_nothing_behind(tmp_path: Path) -> None:
    scene = np.random.default_rng(1).random((3, 64, 64), dtype=np.float32)
    path = write_raster(tmp_path / "scene.tif", scene)
    path.write_bytes(path.read_bytes()[:9000])
    stream = make_stream(Pixelwise(), window=32, overlap=8, device="cpu")
    with pytest.raises(InputError, match=r"scene\.tif"):
        predict_scene(path, stream, tmp_path / "out" / "out.tif")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_scene_without_a_valid_pixel_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "scene.tif", np.full((3, 40, 40), np.nan, np.float32))
    stream = make_stream(Pixelwise(), window=32, overlap=8, device="cpu")
    with pytest.raises(InputError, match=r"scene\.tif: no pixel is valid in both VH and VV"):
        predict_scene(path, stream, tmp_path / "out" / "out.tif")
    assert list((tmp_path / "out").iterdir()) == []


def test_of_more_than_two_classes_each_band_says_what_it_is_of(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "scene.tif", np.full((3, 40, 40), 0.1, np.float32))
    classes = Classes.of(("water", "building", "street"))
    stream = make_stream(Pixelwise(3), classes=classes, window=32, overlap=8, device="cpu")
    tags = PredictionTags("x_{}", "38SLF_A", 40, 40, "run", 0.5, classes.names).of_kind("scene")
    predict_scene(path, stream, tmp_path / "out.tif", tags)
    with rasterio.open(tmp_path / "out.tif") as out:
        assert out.descriptions == classes.names
    found = read_tags(tmp_path / "out.tif")
    assert (found.kind, found.mapped, found.decision) == ("scene", "building", "argmax")


def test_an_image_whose_height_is_unknown_is_looked_at_all_the_same() -> None:
    image = np.full((4, 300, 300), 90, np.float32)
    image[3] = np.nan

    def read(window: Any) -> Any:
        return image[:, *window.slices]

    source = SimpleNamespace(
        cache_bytes=lambda headers, rows: 1_000_000,
        within=lambda headers, area, cache: nullcontext(read),
    )
    grid = SimpleNamespace(width=300, height=300)
    work = SimpleNamespace(source=source, area="", headers=SimpleNamespace(grid=grid))
    with ExitStack() as stack:
        assert len(list(_sample(cast(SceneWork, work), stack, 3))) == 4
        assert not list(_sample(cast(SceneWork, work), stack, None))  # every input required
