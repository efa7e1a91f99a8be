"""The data set of orthomosaics that `simulate sensor=aerial` writes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from rasterio.errors import NotGeoreferencedWarning

from builtup.errors import BuiltupError, InputError
from builtup.geo.windows import Window
from builtup.jobs.steps import Summary
from builtup.sensors.scene_files import SIMULATED
from builtup.simulate.aerial.dataset import COLOURS, scene_files, write_scene
from builtup.simulate.aerial.flight import Flight
from builtup.simulate.aerial.imaging import Scene
from builtup.simulate.aerial.surface import CLASSES
from builtup.simulate.dataset import simulate
from helpers import ROOT


def run(output: Path, **options: Any) -> Summary:
    settings = {"cities": 1, "test_cities": 0, "dates": 1, "size": 64, "num_workers": 1}
    return simulate(output_path=output, sensor="aerial", **{**settings, **options})


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".manifest" not in path.parts
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("aerial")
    run(output, cities=4, test_cities=1, dates=2)
    return output


def test_the_index_names_every_scene_with_its_shares(data: Path) -> None:
    head, *rows = (data / "index.csv").read_text().splitlines()
    assert head == "n scene building clutter vegetation water ground car"
    fields = [row.split() for row in rows]
    assert [f[0] for f in fields] == [str(i) for i in range(10)]
    for _, scene, *shares in fields:
        assert (data / f"images/{scene}-ortho.tif").is_file()
        assert (data / f"elevations/{scene}-elev.tif").is_file()
        assert (data / f"labels/{scene}-label.png").is_file()
        assert (data / f"truth/{scene}-label.png").is_file()
        assert sum(map(float, shares)) == pytest.approx(1, abs=1e-3)


def test_the_splits_are_of_whole_cities(data: Path) -> None:
    lists = {s: (data / f"{s}.txt").read_text().split() for s in ("train", "valid", "test")}
    assert {s: len(names) for s, names in lists.items()} == {"train": 6, "valid": 2, "test": 2}
    cities = [{name.split("_")[0] for name in names} for names in lists.values()]
    assert not cities[0] & cities[1]
    assert not (cities[0] | cities[1]) & cities[2]
    indexed = [row.split()[1] for row in (data / "index.csv").read_text().splitlines()[1:]]
    assert sorted(name for names in lists.values() for name in names) == sorted(indexed)


def test_the_same_seed_gives_the_same_bytes_however_many(data: Path, tmp_path: Path) -> None:
    run(tmp_path, cities=2, dates=1, num_workers=2)
    known = digests(data)
    own = {k: v for k, v in digests(tmp_path).items() if "/" in k}
    assert len(own) == 10
    assert own.items() <= known.items()


def test_seeds_pixels_and_shifts_give_other_scenes(data: Path, tmp_path: Path) -> None:
    images = {digests(data)["images/Ardena_0-ortho.tif"]}
    options: list[dict[str, Any]] = [
        {"seed": 1},
        {"pixel": "0.5"},
        {"variety": "wide"},
        *({"shift": shift} for shift in ("style", "climate", "season", "sensor")),
    ]
    for number, given in enumerate(options):
        run(tmp_path / str(number), **given)
        images.add(digests(tmp_path / str(number))["images/Ardena_0-ortho.tif"])
    assert len(images) == 1 + len(options)


def test_a_second_run_does_nothing_and_a_lost_file_is_made_again(tmp_path: Path) -> None:
    assert run(tmp_path, dates=2).done == 2
    before = digests(tmp_path)
    assert run(tmp_path, dates=2).up_to_date == 2
    (tmp_path / "labels/Ardena_1-label.png").unlink()
    again = run(tmp_path, dates=2)
    assert (again.done, again.up_to_date) == (1, 1)
    assert digests(tmp_path) == before


def test_a_killed_run_goes_on_and_gives_the_same_bytes(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-m", "builtup", "simulate", "--sensor", "aerial", "--dates", "3"]
    command += ["--cities", "1", "--test_cities", "0", "--size", "256", "--num_workers", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "code")}
    process = subprocess.Popen([*command, "--output_path", str(killed)], env=environment)
    deadline = time.monotonic() + 60
    while not list(killed.glob("images/.manifest/[!.]*.json")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(list(killed.glob("images/.manifest/[!.]*.json")))
    options = {"dates": 3, "size": 256}
    assert run(killed, **options).up_to_date == done >= 1
    run(whole, **options)
    assert digests(killed) == digests(whole)


def test_a_run_killed_before_its_labels_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (child := os.fork()):
        monkeypatch.setattr(rasterio.shutil, "copy", lambda *_, **__: os._exit(7))
        run(tmp_path)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert [path for path in tmp_path.rglob("*") if ".draft." in path.name]
    run(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if ".partial" in path.name]


def test_footprints_take_the_place_of_the_plan(tmp_path: Path) -> None:
    x = np.arange(9) * 40.0
    corners = np.stack(np.meshgrid(x + 664_000, x + 6_360_000), axis=-1).reshape(-1, 2)
    houses = shapely.box(*corners.T, *(corners + 16).T)
    path = tmp_path / "houses.gpkg"
    pyogrio.raw.write(
        path,
        shapely.to_wkb(houses),
        [np.full(len(houses), 9.0)],
        fields=["hauteur"],
        geometry_type="Polygon",
        crs="EPSG:2154",
    )
    run(tmp_path / "out", footprints=str(path), size=160, pixel="0.5")
    share = json.loads((tmp_path / "out/truth/Ardena_0.json").read_text())["shares"]["building"]
    assert 0.05 < share < 0.25  # a house of 16 m every 40 m is .16, less what is under trees


def test_without_a_georeference_rasters_have_one_grid(tmp_path: Path) -> None:
    run(tmp_path, georeference="none", pixel="0.1")
    shapes = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        for name in ("images/Ardena_0-ortho.tif", "elevations/Ardena_0-elev.tif"):
            with rasterio.open(tmp_path / name) as dataset:
                assert dataset.crs is None
                shapes.add(dataset.shape)
    assert shapes == {(64, 64)}


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text("mine")
    with pytest.raises(InputError, match=r"index\.csv: exists and is not simulated"):
        run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["index.csv"]
    assert not (tmp_path / SIMULATED).exists()


def test_scenes_of_an_earlier_run_are_named(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path, dates=2)
    run(tmp_path)
    assert "Ardena_1" in caplog.text
    assert (tmp_path / "train.txt").read_text() == "Ardena_0\n"


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"pixel": "two"}, "pixel=two: no number"),
        ({"pixel": "3"}, "pixel=3: out of range; use 0.05 to 1"),
        ({"georeference": "local"}, "georeference=local: unknown value"),
        ({"labels": "footprints"}, "labels=footprints: orthomosaics have classes"),
        ({"dates": 400, "size": 4096, "pixel": "1"}, "dates"),
        ({"sensor": "sentinel1", "pixel": "5"}, "pixel=5"),
        ({"sensor": "sentinel1", "georeference": "none"}, "georeference=none"),
        ({"sensor": "lidar"}, "sensor=lidar: unknown value"),
    ],
)
def test_settings_that_cannot_be_had_are_refused(
    tmp_path: Path, options: dict[str, Any], what: str
) -> None:
    settings: dict[str, Any] = {"sensor": "aerial", "cities": 1, "test_cities": 0, "size": 64}
    with pytest.raises(BuiltupError, match=what):
        simulate(output_path=tmp_path, num_workers=1, **{**settings, **options})
    assert not list(tmp_path.rglob("*.tif"))


# --- a scene's files ------------------------------------------------------------------------------


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
    monkeypatch.setattr("builtup.simulate.aerial.dataset.BLOCK", 128)
    write_scene(flight, "Here_0", tmp_path, georeferenced=True, about={})
    picture = Scene(flight).picture(Window(0, 0, 192, 192))
    with rasterio.open(tmp_path / "images/Here_0-ortho.tif") as dataset:
        differ = np.abs(dataset.read().astype(int) - picture.image).max(0) > 1
    assert differ.mean() < 2e-3
    with rasterio.open(tmp_path / "elevations/Here_0-elev.tif") as dataset:
        assert (np.abs(dataset.read(1) - picture.elevation) > 0.01).mean() < 2e-3
