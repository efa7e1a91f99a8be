"""Orthomosaics through `predict`: maps of classes, polygons, products, and what is said."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pyogrio.raw
import pytest
import rasterio
import torch
from affine import Affine

from builtup.config import load as configs
from builtup.errors import InputError
from builtup.jobs.steps import Summary
from builtup.prediction.cascade_fit import cascade_fit
from builtup.runs.manifest import write_config
from builtup.runs.results import read_tags
from builtup.runs.scale_weights import ScaleWeights
from helpers import CRS, write_raster
from tiny_model import map_scenes, use_store

NAMES = ("ground", "building", "water")
TRAINING = """
import torch
from torch import nn
from builtup.models.channels import Channels
from builtup.models.segmenter import Segmenter

seed, num_classes, num_epochs = 0, {classes}, 1
class_names = {names}
data_path, val_fold = "nowhere", None


def model():
    channels = Channels("{channels}", (0.0,) * {bands}, (1.0,) * {bands})
    return Segmenter(channels, nn.Conv2d({bands}, num_classes, 1))
"""
TENTHS = Affine(0.1, 0, 500000, 0, -0.1, 4100000)
SIZE = 150


def write_trained(folder: Path, channels: str, names: tuple[str, ...], weights: Any) -> Path:
    """A run's artifacts: a network of one pixel whose weights are given by hand."""
    folder.mkdir()
    bands = 5 if channels == "rgb_height" else 3
    text = TRAINING.format(classes=len(names), names=names, channels=channels, bands=bands)
    (folder / "train.py").write_text(text)
    config = configs.load(folder / "train.py")
    write_config(config, folder / "config")
    model = config.build("model")
    weight, bias = (torch.tensor(values, dtype=torch.float32) for values in weights)
    model.network.weight.data = weight[:, :, None, None]
    model.network.bias.data = bias
    (folder / "weights").mkdir()
    torch.save(model.state_dict(), folder / "weights" / "best.pt")
    (folder / "summary.json").write_text(json.dumps({"threshold": 0.4, "metres": 0.1}))
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks that take red for buildings and blue for water, or what is high for buildings."""
    root = tmp_path_factory.mktemp("images")
    by_colour = [[0, 0.05, 0], [0.05, 0, 0], [0, 0, 0.05]], [0, 0, 0]
    write_trained(root / "colours", "rgb", NAMES, by_colour)
    write_trained(root / "two", "rgb", NAMES[:2], [by_colour[0][:2], [0, 0]])
    by_height = [[0.0] * 5, [0, 0, 0, 2.0, 0]], [3, 0]
    write_trained(root / "heights", "rgb_height", NAMES[:2], by_height)
    return root


@pytest.fixture(autouse=True)
def store(root: Path, monkeypatch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    monkeypatch.chdir(root)
    return use_store(root, monkeypatch)


def ground() -> np.ndarray:
    """(SIZE, SIZE) class numbers: a house of 4 x 5 m, a shed of 1 m², a pond."""
    classes = np.zeros((SIZE, SIZE), np.uint8)
    classes[20:60, 30:80] = 1
    classes[100:110, 100:110] = 1
    classes[80:140, 20:70] = 2
    return classes


def image(path: Path, crs: str | None = CRS, alpha: bool = True) -> np.ndarray:
    """Write `ground` in its colours; the first 10 columns are no data."""
    classes = ground()
    colours = np.array([(60, 120, 60), (200, 90, 60), (50, 80, 150)], np.uint8)
    bands = np.moveaxis(colours[classes], -1, 0)
    if alpha:
        hidden = np.full((1, SIZE, SIZE), 255, np.uint8)
        hidden[:, :, :10] = 0
        bands = np.concatenate([bands, hidden])
        write_raster(path, bands, TENTHS, crs, photometric="RGB", alpha="YES")
    else:
        bands[:, :, :10] = 0
        write_raster(path, bands, TENTHS if crs else None, crs)
    classes[:, :10] = 255
    return classes


def run(root: Path, scenes: Path | str, model: str = "colours", **options: Any) -> list[Summary]:
    cut = {"window": 64, "overlap": 16, "batch_size": 3, "device": "cpu", "num_workers": 1}
    return map_scenes(model=str(root / model), input_path=str(scenes), **{**cut, **options})


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        values: np.ndarray = dataset.read(1)
    return values


def test_an_orthomosaic_becomes_a_map_of_classes_with_polygons(root: Path, tmp_path: Path) -> None:
    expected = image(tmp_path / "in" / "yard_20240501.tif")
    output = tmp_path / "out"
    run(root, tmp_path / "in", output_path=str(output), classes="all")
    raw = output / "raw"
    assert sorted(path.name for path in raw.iterdir() if path.is_file()) == [
        "catalog.json",
        *(
            f"yard_20240501{end}"
            for end in (
                *(".cpg", ".dbf", ".gpkg", ".json", ".parquet", ".prj", ".qml", ".shp", ".shx"),
                *(".tif", "_confidence.qml", "_confidence.tif", "_preview.png", "_quicklook.tif"),
            )
        ),
    ]
    assert not (output / "drafts").exists()
    np.testing.assert_array_equal(read(raw / "yard_20240501.tif"), expected)
    sure = read(raw / "yard_20240501_confidence.tif")
    assert (sure[expected == 255] == 255).all() and sure[expected != 255].min() > 200
    tags = read_tags(raw / "yard_20240501.tif")
    assert (tags.sensor, tags.kind, tags.decision) == ("rgb", "classes", "argmax")
    with rasterio.open(raw / "yard_20240501.tif") as dataset:
        assert dataset.colormap(1)[1] == (*tags.class_set.colours[1], 255)
    _, _, _, fields = pyogrio.raw.read(raw / "yard_20240501.gpkg", layer="yard_20240501")
    assert fields[2].tolist() == ["ground", "building", "water"]  # the shed is below 4 m²
    assert fields[3][1] == pytest.approx(20, rel=2e-3)


def test_a_second_run_does_nothing_and_a_killed_one_gives_the_same_bytes(
    root: Path, tmp_path: Path
) -> None:
    image(tmp_path / "in" / "a.tif")
    image(tmp_path / "in" / "b.tif", alpha=False)
    output = tmp_path / "out"
    first = run(root, tmp_path / "in", output_path=str(output))
    assert [summary.done for summary in first] == [2, 2, 2]
    second = run(root, tmp_path / "in", output_path=str(output))
    assert all("nothing to do" in summary.line() for summary in second)
    kept = {path.name: digest(path) for path in (output / "raw").glob("b*.tif")}
    (output / "raw" / "b_confidence.tif").unlink()
    again = run(root, tmp_path / "in", output_path=str(output))
    assert again[0].done == 1
    assert {path.name: digest(path) for path in (output / "raw").glob("b*.tif")} == kept
    run(root, tmp_path / "in" / "a.tif", output_path=str(output))  # b's map stays beside it
    with pytest.raises(InputError, match=r"predicted otherwise \(b\.tif, run "):
        run(root, tmp_path / "in" / "a.tif", model="two", output_path=str(output))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_probabilities_of_each_class_are_kept_on_request(root: Path, tmp_path: Path) -> None:
    image(tmp_path / "a.tif")
    run(root, tmp_path / "a.tif", output_path=str(tmp_path / "out"), probabilities=True)
    with rasterio.open(tmp_path / "out" / "raw" / "a_prob.tif") as dataset:
        assert dataset.descriptions == NAMES
        levels = dataset.read()
    assert (levels.max(axis=0) == read(tmp_path / "out" / "raw" / "a_confidence.tif")).all()
    assert (tmp_path / "out" / "raw" / "a_prob.qml").is_file()


def test_an_image_without_a_crs_gets_rasters_and_one_line(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = image(tmp_path / "a.tif", crs=None, alpha=False)
    with caplog.at_level(logging.WARNING):
        run(root, tmp_path / "a.tif", output_path=str(tmp_path / "out"))
    raw = tmp_path / "out" / "raw"
    np.testing.assert_array_equal(read(raw / "a.tif"), expected)
    assert caplog.text.count("has no CRS, so its map gets no polygons") == 1
    assert (raw / "a_preview.png").is_file() and (raw / "a.qml").is_file()
    assert not list(raw.glob("*.gpkg"))


def test_maps_of_scenes_smaller_than_a_window_say_how_they_went_on(
    root: Path, tmp_path: Path
) -> None:
    """Those that were filled up with no-data are made anew, and no others."""
    image(tmp_path / "a.tif")
    for window, said in ((256, True), (150, False)):
        out = tmp_path / str(window)
        run(root, tmp_path / "a.tif", output_path=str(out), window=window)
        (manifest,) = out.glob("raw/.manifest/a.tif.json")
        assert ('"beyond": "mirror"' in manifest.read_text()) is said


def test_two_classes_are_decided_by_the_threshold_that_is_given(root: Path, tmp_path: Path) -> None:
    expected = np.minimum(image(tmp_path / "a.tif"), 2) == 1
    run(root, tmp_path / "a.tif", model="two", output_path=str(tmp_path / "out"), threshold="0.9")
    tags = read_tags(tmp_path / "out" / "raw" / "a.tif")
    assert (tags.threshold, tags.decision) == (0.9, "threshold:0.9")
    mapped = read(tmp_path / "out" / "raw" / "a.tif")
    assert ((mapped == 1) == expected).all() and set(np.unique(mapped)) == {0, 1, 255}


def test_heights_beside_an_image_are_used_and_missing_ones_are_said(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    classes = image(tmp_path / "in" / "a.tif")
    heights = np.where(ground() == 1, 6, 0.1).astype(np.float32)
    write_raster(tmp_path / "in" / "a_height.tif", heights, TENTHS, CRS, nodata=np.nan)
    image(tmp_path / "in" / "b.tif")
    run(root, tmp_path / "in", model="heights", output_path=str(tmp_path / "out"))
    mapped = read(tmp_path / "out" / "raw" / "a.tif")
    assert ((mapped == 1) == (classes == 1)).all()
    assert "b.tif: no elevation beside it: the height above ground is unknown" in caplog.text
    unknown = read(tmp_path / "out" / "raw" / "b.tif")  # no gap, but nothing is high
    assert set(np.unique(unknown)) == {0, 255} and ((unknown == 255) == (classes == 255)).all()


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (np.zeros((3, 40, 40), np.uint8), "a.tif: no pixel is valid in red and green and blue"),
        (np.ones((1, 40, 40), np.uint8), "a.tif: 1 band without a palette"),
        (np.ones((3, 40, 40), np.float32), "a.tif: values of type float32"),
    ],
)
def test_bad_images_are_refused_in_one_line(
    root: Path, tmp_path: Path, values: np.ndarray, problem: str
) -> None:
    write_raster(tmp_path / "a.tif", values, TENTHS, CRS)
    with pytest.raises(InputError, match=problem):
        run(root, tmp_path / "a.tif", output_path=str(tmp_path / "out"))
    assert not list((tmp_path / "out").rglob("*.tif"))


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("a_height.tif", r"not on the grid of a\.tif: .*; import the scene again, or take it away"),
        (
            "a_elev.tif",
            r"does not meet its picture a\.tif; check its CRS and place",
        ),
    ],
)
def test_an_elevation_that_does_not_meet_its_image_is_refused(
    root: Path, tmp_path: Path, name: str, problem: str
) -> None:
    image(tmp_path / "in" / "a.tif")
    elsewhere = TENTHS @ Affine.translation(4000, 0)
    write_raster(tmp_path / "in" / name, np.ones((80, 80), np.float32), elsewhere, CRS)
    with pytest.raises(InputError, match=rf"{name}: {problem}"):
        run(root, tmp_path / "in", model="heights", output_path=str(tmp_path / "out"))
    assert not list((tmp_path / "out").rglob("*.tif"))


def test_scales_of_images_are_fitted_from_their_levels(root: Path, tmp_path: Path) -> None:
    classes = image(tmp_path / "images" / "a" / "a_image.tif")
    mask = tmp_path / "masks" / "a" / "a_mask.tif"
    write_raster(mask, classes, TENTHS, CRS, nodata=255)
    out = tmp_path / "out"
    run(root, tmp_path / "images", output_path=str(out), fold="soft", scales=(0.5, 1.0))
    with pytest.raises(InputError, match=r"no scale_weights.json in it; fit its scales"):
        ScaleWeights.named(str(out))
    cascade_fit(input_path=str(out), gt_path=tmp_path / "masks")
    assert ScaleWeights.named(str(out)).scales == (0.5, 1.0)


PRESENT = """

class Present(nn.Module):
    stride = 1

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 3))
        self.bias = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        classes = nn.functional.conv2d(x, self.weight[:, :, None, None], self.bias)
        return {"classes": classes, "presence": (classes[:, 1] - classes[:, 0]).amax((1, 2)) - 1.0}


def model():
    return Segmenter(Channels("rgb", (0.0,) * 3, (1.0,) * 3), Present())
"""


@pytest.mark.parametrize("options", [{"probabilities": True}, {"fold": "mean", "scales": (0.5, 1)}])
def test_a_presence_head_is_told_by_the_tags_of_every_map(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    by_colour = [[0, 0.05, 0], [0.05, 0, 0]], [0.0, 0.0]
    folder = tmp_path / "present"
    folder.mkdir()
    (folder / "train.py").write_text(
        TRAINING.format(classes=2, names=NAMES[:2], channels="rgb", bands=3) + PRESENT
    )
    config = configs.load(folder / "train.py")
    write_config(config, folder / "config")
    model = config.build("model")
    model.network.weight.data, model.network.bias.data = map(torch.tensor, by_colour)
    (folder / "weights").mkdir()
    torch.save(model.state_dict(), folder / "weights" / "best.pt")
    (folder / "summary.json").write_text(json.dumps({"threshold": 0.4, "metres": 0.1}))
    image(tmp_path / "in" / "yard.tif")
    output = tmp_path / "out"
    run(tmp_path, tmp_path / "in", "present", output_path=str(output), tta="flips", **options)
    # a house is (200, 90, 60): its logit is .05 * 110 = 5.5, less 1
    expected = 1 / (1 + np.exp(-4.5))
    assert read_tags(output / "raw" / "yard.tif").presence == pytest.approx(expected, abs=1e-4)
    if "probabilities" in options:
        prob = output / "raw" / "yard_prob.tif"
        assert read_tags(prob).presence == pytest.approx(expected, abs=1e-4)
        with rasterio.open(prob) as dataset:
            assert dataset.count == 1


def test_a_chip_without_a_crs_is_seen_larger_than_it_is(root: Path, tmp_path: Path) -> None:
    """Widths above that of a chip are scales above 1, averaged."""
    expected = image(tmp_path / "chip.tif", None, alpha=False)
    run(
        root, tmp_path / "chip.tif", output_path=str(tmp_path / "out"), fold="mean", scales=(1, 1.5)
    )
    levels = sorted(path.name for path in (tmp_path / "out" / "levels").iterdir())
    assert levels == ["1", "1.5"]
    with rasterio.open(tmp_path / "out" / "raw" / "chip.tif") as found:
        mapped = found.read(1)
        assert found.crs is None and mapped.shape == expected.shape
    inside = expected != 255
    assert (mapped == expected)[inside].mean() > 0.98
