"""Importing data sets of pictures: what comes out, what is said."""

from __future__ import annotations

import csv
import logging
import random
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from PIL import Image

from builtup.cli import cli
from builtup.geo.uncompressed_reader import read_direct
from builtup.geo.windows import Window
from builtup.sensors.optical.import_scenes import import_scenes
from forks import processes_with
from helpers import real_data, write_raster
from picture_data import (
    PLACE,
    UTM,
    class_numbers,
    colours,
    elevation,
    painted,
    write_dronedeploy,
)

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def run(root: Path, out: Path, **options: Any):
    return import_scenes(input_path=root, output_path=out, **{"num_workers": 1, **options})


def layer(out: Path, kind: str, name: str = "one", site: str = ""):
    folder = {"image": "images", "mask": "masks", "height": "height"}[kind]
    with rasterio.open(out / folder / (site or name) / f"{name}_{kind}.tif") as dataset:
        return dataset.read(), dataset.profile, dataset.tags()


def rows(out: Path):
    with (out / "scenes.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_scene_becomes_three_layers_on_one_grid(tmp_path):
    write_dronedeploy(tmp_path / "raw", heights=elevation())
    summary = run(tmp_path / "raw", tmp_path / "out")
    assert (summary.done, summary.pixels) == (1, 300 * 400)
    image, profile, tags = layer(tmp_path / "out", "image")
    assert (image[:3] == colours()).all()
    assert (image[3] == 255).all()
    assert (profile["crs"], profile["transform"]) == (UTM, PLACE)
    stored = ("dtype", "blockxsize", "interleave")
    assert [profile[key] for key in stored] == ["uint8", 256, "band"]
    assert tags["BUILTUP_SENSOR"] == "rgb"
    assert tags["BUILTUP_SCENE"] == "one_{}"
    assert tags["BUILTUP_CITY"] == "one"
    assert "BUILTUP_METRES" not in tags
    mask, profile, tags = layer(tmp_path / "out", "mask")
    assert (mask[0] == class_numbers()).all()
    assert (profile["nodata"], profile["transform"]) == (255, PLACE)
    assert tags["BUILTUP_CLASSES"] == "building,clutter,vegetation,water,ground,car"
    height, profile, _ = layer(tmp_path / "out", "height")
    assert [profile[key] for key in ("dtype", "transform")] == ["float32", PLACE]
    assert "compress" not in profile
    assert np.isnan(profile["nodata"])
    assert np.abs(height[0] - (elevation() - 100)).max() < 0.03


def test_lists_of_scenes_and_classes(tmp_path):
    root = write_dronedeploy(tmp_path / "raw", "b", heights=elevation())
    write_dronedeploy(root, "a")
    (root / "train.txt").write_text("b\n")
    (root / "test.txt").write_text("a\n\n")
    run(root, tmp_path / "out")
    assert rows(tmp_path / "out") == [
        {
            "scene": "a", "site": "a", "split": "test", "role": "labelled", "date": "",
            "image": "images/a/a_image.tif", "mask": "masks/a/a_mask.tif", "soft": "", "height": "",
        },
        {
            "scene": "b", "site": "b", "split": "train", "role": "labelled", "date": "",
            "image": "images/b/b_image.tif", "mask": "masks/b/b_mask.tif", "soft": "",
            "height": "height/b/b_height.tif",
        },
    ]  # fmt: skip
    assert (tmp_path / "out/classes.csv").read_text().splitlines()[:2] == [
        "number,name,colour,role",
        "0,building,230 25 75,mapped",
    ]
    run(root, tmp_path / "both", split="train;test")
    assert (tmp_path / "both/scenes.csv").read_text() == (tmp_path / "out/scenes.csv").read_text()
    run(root, tmp_path / "one", split="test")
    assert [row["scene"] for row in rows(tmp_path / "one")] == ["a"]


def test_patches_of_all_layers_are_read_without_gdal(tmp_path):
    write_dronedeploy(tmp_path / "raw", heights=elevation())
    run(tmp_path / "raw", tmp_path / "out")
    window = Window(30, 200, 50, 120)
    image = read_direct(tmp_path / "out/images/one/one_image.tif", window, (1, 2, 3))
    mask = read_direct(tmp_path / "out/masks/one/one_mask.tif", window, (1,))
    assert (image == colours()[:, 30:80, 200:320]).all()
    assert (mask[0] == class_numbers()[30:80, 200:320]).all()
    height = read_direct(tmp_path / "out/height/one/one_height.tif", window, (1,))
    assert (height[0] == layer(tmp_path / "out", "height")[0][0, 30:80, 200:320]).all()


def test_an_overview_is_the_average_of_what_is_known(tmp_path):
    image = np.full((4, 600, 600), 100, np.uint8)
    image[:3, ::2] = 50
    image[3] = 255
    image[3, ::2, :300] = 0  # on the left every second row is unknown
    write_dronedeploy(tmp_path / "raw", image=image, alpha="YES")
    run(tmp_path / "raw", tmp_path / "out")
    with rasterio.open(tmp_path / "out/images/one/one_image.tif") as dataset:
        assert dataset.overviews(1) == [2, 4]
        half = dataset.read(out_shape=(4, 300, 300))
    assert (half[:3, :, 10:140] == 100).all()
    assert (half[:3, :, 160:] == 75).all()


def test_black_roofs_stay_and_black_borders_go(tmp_path, caplog):
    image = colours((600, 700))
    image[:, :, :100] = 0
    image[:, 300:400, 300:400] = 0
    write_dronedeploy(tmp_path / "raw", image=image)
    caplog.set_level(logging.INFO)
    run(tmp_path / "raw", tmp_path / "out")
    found, _, _ = layer(tmp_path / "out", "image")
    assert (found[3, :, :100] == 0).all()
    assert (found[3, :, 100:] == 255).all()
    mask, _, _ = layer(tmp_path / "out", "mask")
    assert (mask[0, :, :100] == 255).all()
    assert (mask[0, :, 100:] == class_numbers((600, 700))[:, 100:]).all()
    assert (
        "one-ortho.tif: no alpha: black connected to the border is no data "
        "(14.3 % of the picture; 2.4 % is black inside it, and stays)" in caplog.text
    )


def test_an_unknown_colour_is_ignored_counted_and_named(tmp_path, caplog):
    labels = painted(class_numbers())
    labels[10:20, 10:40] = (1, 2, 3)
    labels[40, 40:45] = (228, 27, 70)
    write_dronedeploy(tmp_path / "raw", labels=labels)
    summary = run(tmp_path / "raw", tmp_path / "out")
    mask, _, _ = layer(tmp_path / "out", "mask")
    assert (mask[0, 10:20, 10:40] == 255).all()
    assert (mask[0, 40, 40:45] == 0).all()
    assert summary.counts == {
        "label pixels of mixed colours": 5,
        "label pixels of ignored colours": 30 * 300,  # the right border
        "label pixels of no class": 300,
    }
    assert "300 label pixels of no class" in summary.line()
    assert "one-label.png: what is no class's is ignored (1,2,3 (300 px))" in caplog.text
    caplog.clear()
    run(tmp_path / "raw", tmp_path / "out")  # up to date, and said again
    assert "(1,2,3 (300 px))" in caplog.text


def test_labels_that_are_ignored_everywhere_are_named(tmp_path, caplog):
    for name in ("one", "two"):
        labels = np.full((600, 700, 3), (255, 0, 255), np.uint8)
        write_dronedeploy(tmp_path / "raw", name, image=colours((600, 700)), labels=labels)
    run(tmp_path / "raw", tmp_path / "out")
    assert "one-label.png and 1 more: ignored everywhere: no pixel has a class" in caplog.text
    assert "the labels of all scenes are ignored everywhere" in caplog.text


def test_an_undeclared_filler_gives_no_heights(tmp_path, caplog):
    surface = elevation()
    surface[:30] = -9999
    root = write_dronedeploy(tmp_path / "raw")
    write_raster(root / "elevations/one-elev.tif", surface, PLACE, UTM)
    run(root, tmp_path / "out")
    height, _, _ = layer(tmp_path / "out", "height")
    assert np.isnan(height[0, :30]).all()
    assert np.abs(height[0, 31:] - (elevation() - 100)[31:]).max() < 0.03
    assert "one-elev.tif: values below -500 or above 9000 m are no elevations" in caplog.text


def test_a_filler_of_zero_along_the_border_is_doubted(tmp_path, caplog):
    y, x = np.mgrid[:300, :400].astype(np.float32)
    surface = 100 + x / 50 + y / 70
    surface[:, :12] = 0
    root = write_dronedeploy(tmp_path / "raw")
    write_raster(root / "elevations/one-elev.tif", surface, PLACE, UTM)
    run(root, tmp_path / "out")
    assert "one-elev.tif: one low value and nothing near it" in caplog.text
    assert "(0: 3.0 %)" in caplog.text


def test_what_lies_beside_a_picture_and_is_not_read_is_named(tmp_path, caplog):
    root = chips(tmp_path / "raw")
    for path in (root / "images").glob("*/*.png"):
        path.with_suffix(".pgw").write_text("0.5\n0\n0\n-0.5\n300000.25\n3999999.75\n")
    run(root, tmp_path / "out", layout="chips", classes=str(root / "classes.csv"))
    assert (
        "1.png and 1 more: files beside it are not read: bring what they say into it "
        "(gdal_translate) (a place (.pgw))" in caplog.text
    )


def test_an_elevation_of_another_grid_and_crs_is_warped_once(tmp_path):
    y, x = np.mgrid[:400, :500] * 0.5
    # 50 cm in another zone's CRS would be turned; here a shifted grid with a gap
    surface = (200 + 0.02 * x + 0.01 * y).astype(np.float32)
    surface[60:90, 60:110] += 8
    surface[100:140, 200:260] = -9999
    root = write_dronedeploy(tmp_path / "raw")
    place = Affine(0.5, 0, 299_990, 0, -0.5, 4_000_010)
    write_raster(root / "elevations/one-elev.tif", surface, place, UTM, nodata=-9999)
    run(root, tmp_path / "out")
    height, _, _ = layer(tmp_path / "out", "height")
    # rows and columns of the picture: (60 * .5 - 10) / .25 = 80 … (90 * .5 - 10) / .25 = 140
    assert np.abs(height[0, 84:136, 84:176] - 8).max() < 0.1
    assert np.abs(height[0, 160:180, 84:176]).max() < 0.1
    gap = np.isnan(height[0])
    assert gap[164:236, 364:396].all()
    assert not gap[:156].any()


def test_an_elevation_of_another_crs(tmp_path):
    root = write_dronedeploy(tmp_path / "raw", image=colours((400, 400)))
    with rasterio.Env():
        left, bottom, right, top = rasterio.warp.transform_bounds(
            UTM, "EPSG:3857", 300_000, 4_000_000 - 100, 300_000 + 100, 4_000_000
        )
    across, down = (right - left + 20) / 300, (top - bottom + 20) / 300
    place = Affine(across, 0, left - 10, 0, -down, top + 10)
    surface = np.full((300, 300), 55.25, np.float32)
    write_raster(root / "elevations/one-elev.tif", surface, place, "EPSG:3857")
    run(root, tmp_path / "out")
    height, _, _ = layer(tmp_path / "out", "height")
    assert np.abs(height).max() < 1e-3


def test_scenes_without_a_place(tmp_path, caplog):
    root = write_dronedeploy(tmp_path / "raw", crs=None, transform=None)
    surface = elevation()[::2, ::2]
    write_raster(root / "elevations/one-elev.tif", surface, None, None)
    caplog.set_level(logging.INFO)
    run(root, tmp_path / "out")
    height, profile, tags = layer(tmp_path / "out", "height")
    assert not profile["crs"]
    assert tags["BUILTUP_METRES"] == "0.1"
    assert np.abs(height[0, 56:84, 86:134] - 6).max() < 0.05
    assert np.abs(height[0, 120:]).max() < 0.05
    assert "no CRS: taken to cover the same ground as its picture" in caplog.text
    assert "no CRS: pixels of 0.1 m, as the layout has it" in caplog.text
    run(root, tmp_path / "out", pixel="0.25")
    assert layer(tmp_path / "out", "image")[2]["BUILTUP_METRES"] == "0.25"


CHIPS_CLASSES = "name,colour,role\nground,0 0 0,\nbuilding,255 255 255,mapped\n"


def chips(root: Path, labels: str = "masks") -> Path:
    for site, name in (("north", "1"), ("north", "2"), ("south", "1")):
        image = root / "images" / site / f"{name}.png"
        for path in (image, root / labels / site / image.name):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.moveaxis(colours((64, 80), int(name)), 0, -1)).save(image)
        numbers = (class_numbers((64, 80)) == 0).astype(np.uint8)
        picture = numbers if name == "1" else np.repeat(numbers[..., None] * 255, 3, axis=2)
        Image.fromarray(picture).save(root / labels / site / image.name)
    (root / "classes.csv").write_text(CHIPS_CLASSES)
    return root


def test_chips_of_numbers_and_of_colours(tmp_path):
    root = chips(tmp_path / "raw")
    run(root, tmp_path / "out", layout="chips", classes=str(root / "classes.csv"))
    assert [(row["scene"], row["site"]) for row in rows(tmp_path / "out")] == [
        ("north_1", "north"), ("north_2", "north"), ("south_1", "south"),
    ]  # fmt: skip
    for name, site in (("north_1", "north"), ("north_2", "north"), ("south_1", "south")):
        mask, _, tags = layer(tmp_path / "out", "mask", name, site)
        assert (mask[0] == (class_numbers((64, 80)) == 0)).all()
        assert tags["BUILTUP_CLASSES"] == "ground,building"
        assert "BUILTUP_METRES" not in tags


# --- again, and again -----------------------------------------------------------------------------


def outputs(root: Path) -> dict[str, bytes]:
    files = [p for p in root.rglob("*") if p.is_file() and p.parent.name != ".manifest"]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def three_scenes(root: Path) -> Path:
    image = colours((900, 1100))
    image[:, :, :70] = 0
    image[:, 400:500, 400:500] = 0
    for name in ("a", "b", "c"):
        write_dronedeploy(root, name, image=image, heights=elevation((900, 1100)))
    return root


def test_a_killed_import_goes_on_to_the_same_bytes(tmp_path):
    root = three_scenes(tmp_path / "raw")
    run(root, tmp_path / "whole")
    started = time.monotonic()
    run(root, tmp_path / "again", num_workers=2)
    longest = time.monotonic() - started
    expected = outputs(tmp_path / "whole")
    assert len(expected) == 11
    assert outputs(tmp_path / "again") == expected
    out, moments, hits = tmp_path / "hit", random.Random(1), 0
    options = {"input_path": root, "output_path": out, "num_workers": 1}
    with processes_with("builtup.sensors.optical.import_scenes") as context:
        for _ in range(8):
            process = context.Process(target=import_scenes, kwargs=options)
            process.start()
            process.join(moments.uniform(0.01, longest))
            hits += process.is_alive()
            process.kill()
            process.join()
            for name, content in (outputs(out) if out.exists() else {}).items():
                assert ".partial" in name or content == expected[name]
            if process.exitcode == 0:
                shutil.rmtree(out)
    assert hits >= 3
    run(root, out)
    assert outputs(out) == expected
    assert run(root, out).line().split(": ")[1].startswith("nothing to do")


def test_a_changed_label_redoes_its_scene_only(tmp_path):
    root = write_dronedeploy(tmp_path / "raw", "a")
    write_dronedeploy(root, "b")
    run(root, tmp_path / "out")
    Image.fromarray(painted(class_numbers())[::-1, ::-1]).save(root / "labels/b-label.png")
    assert run(root, tmp_path / "out").done == 1
    (tmp_path / "classes.csv").write_text("name,colour\nrest,255 255 255\nbuilding,230 25 75\n")
    summary = run(root, tmp_path / "out", classes=str(tmp_path / "classes.csv"))
    assert summary.done == 2
    assert layer(tmp_path / "out", "mask", "a")[2]["BUILTUP_CLASSES"] == "rest,building"


def test_the_command(tmp_path, monkeypatch):
    from builtup.runs import tracking

    monkeypatch.setattr(tracking, "log_steps", lambda summaries: None)
    write_dronedeploy(tmp_path / "raw")
    arguments = ["import_scenes", "--input_path", str(tmp_path / "raw")]
    arguments += ["--output_path", str(tmp_path / "out"), "--num_workers", "1"]
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert done.output.startswith(
        "import_scenes: 1 scene, 9,000 label pixels of ignored colours, 0.1 Mpx in "
    )


def test_the_real_scenes(tmp_path):
    root = real_data("imagery/aerial")
    run(root, tmp_path / "out", num_workers=2)
    shares = {}
    for row in rows(tmp_path / "out"):
        mask, _, _ = layer(tmp_path / "out", "mask", row["scene"])
        counts = np.bincount(mask.ravel(), minlength=256)
        shares[row["scene"]] = (counts[:6] / counts[:6].sum()).round(4).tolist()
    index = [line.split() for line in (root / "index.csv").read_text().splitlines()[1:]]
    # the index has them by the labels alone; black corners of ec09W are ignored there anyway
    for _, name, *known in index:
        assert np.abs(np.array(shares[name]) - np.array(known, float)).max() < 1e-3
    height, _, _ = layer(tmp_path / "out", "height", "dole1")
    mask, _, _ = layer(tmp_path / "out", "mask", "dole1")
    assert 3 < np.nanmedian(height[mask == 0]) < 8
    assert abs(np.nanmedian(height[mask == 4])) < 0.3
