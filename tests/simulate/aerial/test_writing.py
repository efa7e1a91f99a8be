"""The files of a scene."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from builtup.geo.windows import Window
from builtup.simulate.aerial import writing
from builtup.simulate.aerial.flight import Flight
from builtup.simulate.aerial.imaging import Scene
from builtup.simulate.aerial.surface import CLASSES
from builtup.simulate.aerial.writing import COLOURS, scene_files, write_scene


@pytest.fixture(scope="module", params=[True, False], ids=["utm", "none"])
def written(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, flight: Flight
) -> tuple[Path, bool]:
    folder = tmp_path_factory.mktemp("scene")
    write_scene(flight, "Here_0", folder, georeferenced=request.param, about={"who": "me"})
    return folder, request.param


def test_all_files_are_there_and_no_other(written: tuple[Path, bool]) -> None:
    folder, _ = written
    found = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    assert found == set(scene_files("Here_0").values())


def test_the_image_is_what_was_drawn(written: tuple[Path, bool], flight: Flight) -> None:
    folder, georeferenced = written
    picture = Scene(flight).picture(Window(0, 0, 192, 192))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(folder / "images/Here_0-ortho.tif") as dataset:
            np.testing.assert_array_equal(dataset.read(), picture.image)
            assert dataset.colorinterp[3].name == "alpha"
            image = dataset.transform, dataset.crs, dataset.bounds
        with rasterio.open(folder / "elevations/Here_0-elev.tif") as dataset:
            heights = dataset.read(1)
            model = dataset.transform, dataset.crs, dataset.bounds
            assert dataset.nodata == -9999
    if georeferenced:
        assert image[1].is_projected
        assert image[1] == model[1]
        assert (image[0].a, model[0].a) == (0.25, 0.5)
        assert image[2] == model[2]
        np.testing.assert_array_equal(heights, picture.elevation)
    else:
        assert image[1] is model[1] is None
        assert heights.shape == (192, 192)
        np.testing.assert_array_equal(heights[::2, 1::2], picture.elevation)


def test_labels_are_the_benchmark_s_colours(written: tuple[Path, bool], flight: Flight) -> None:
    folder, _ = written
    picture = Scene(flight).picture(Window(0, 0, 192, 192))
    table = np.array([*COLOURS, (255, 0, 255)], np.uint8)
    for kind, values in (("labels", picture.labels), ("truth", picture.truth)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(folder / kind / "Here_0-label.png") as dataset:
                assert dataset.driver == "PNG"
                drawn = dataset.read().transpose(1, 2, 0)
        np.testing.assert_array_equal(drawn, table[np.minimum(values, 6)])


def test_the_last_file_tells_the_shares_of_the_truth(written: tuple[Path, bool]) -> None:
    about = json.loads((written[0] / "truth/Here_0.json").read_text())
    assert about["who"] == "me"
    assert list(about["shares"]) == list(CLASSES)
    assert sum(about["shares"].values()) == pytest.approx(1, abs=1e-3)


def test_a_scene_of_several_blocks_is_that_of_one(
    tmp_path: Path, flight: Flight, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "BLOCK", 128)
    write_scene(flight, "Here_0", tmp_path, georeferenced=True, about={})
    picture = Scene(flight).picture(Window(0, 0, 192, 192))
    with rasterio.open(tmp_path / "images/Here_0-ortho.tif") as dataset:
        differ = np.abs(dataset.read().astype(int) - picture.image).max(0) > 1
    assert differ.mean() < 2e-3
    with rasterio.open(tmp_path / "elevations/Here_0-elev.tif") as dataset:
        assert (np.abs(dataset.read(1) - picture.elevation) > 0.01).mean() < 2e-3
