"""What a folder holds, in one table; bad scenes are listed, not raised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from affine import Affine

from builtup import inspect as module
from builtup.errors import InputError
from builtup.inspect import inspect, inspect_split
from builtup.sar.merge import generate_3b_images
from helpers import TRANSFORM, city_polygons, real_data, speckle, write_polygons, write_scene

LEFT, TOP = TRANSFORM.c, TRANSFORM.f


def test_a_split_is_a_table_of_its_scenes(tmp_path: Path) -> None:
    vv = speckle((40, 50))
    vv[:, :10] = np.nan
    write_scene(tmp_path / "train", vv=vv, date="20150101")
    write_scene(tmp_path / "train", vv=vv, date="20150202", orbit="")
    write_polygons(
        city_polygons(tmp_path / "train"),
        [shapely.box(LEFT + 200, TOP - 300, LEFT + 300, TOP - 200)],
    )
    table = inspect(tmp_path / "train").splitlines()
    cells = "train  38SLF_Alpha  20150101  ASC    50x40  10     EPSG:32638  1     20.0%    6.25%"
    assert table[2] == cells
    assert "20150202  ?" in table[3]
    assert table[-1] == "train: 1 cities, 2 scenes, 0 refused, 0 other rasters left alone"


def test_the_folder_above_shows_its_splits(tmp_path: Path) -> None:
    write_scene(tmp_path / "train")
    write_scene(tmp_path / "test", "Beta_2015")
    (tmp_path / "train_tiles").mkdir()
    text = inspect(tmp_path)
    assert "train  38SLF_Alpha" in text
    assert "test   38SLF_Beta" in text
    assert "train_tiles" not in text


def test_a_city_s_folder_needs_no_year(tmp_path: Path) -> None:
    write_scene(tmp_path / "train", "Alpha")
    assert len(inspect_split(tmp_path / "train").scenes) == 1
    assert "38SLF_Alpha" in inspect(tmp_path / "train")


def test_dates_on_another_grid_have_another_number(tmp_path: Path) -> None:
    write_scene(tmp_path / "train", date="20150101")
    write_scene(tmp_path / "train", date="20150102", transform=TRANSFORM @ Affine.scale(1.00027))
    write_scene(tmp_path / "train", date="20150103")
    lines = inspect(tmp_path / "train").splitlines()[2:5]
    assert [line.split()[7] for line in lines] == ["1", "2", "1"]


def test_what_would_be_refused_is_listed_and_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "train"
    write_scene(root, date="20150101")
    cut, _ = write_scene(root, date="20150102")
    cut.write_bytes(cut.read_bytes()[:9000])
    lone, gone = write_scene(root, date="20150103")
    gone.unlink()
    empty, _ = write_scene(root, date="20150104", vv=np.full((64, 64), np.nan))
    report = inspect_split(root)
    assert len(report.scenes) == 1
    steps = generate_3b_images(
        input_path=root, output_path=tmp_path / "out", num_workers=1, on_error="skip"
    )
    assert {str(p) for p in report.refused} == {str(p) for p in steps.skipped}
    text = inspect(root)
    assert [text.count(f"refused: {path}") for path in (cut, lone, empty)] == [1, 1, 1]


def test_bad_polygons_are_listed_too(tmp_path: Path) -> None:
    write_scene(tmp_path / "train")
    shp = write_polygons(city_polygons(tmp_path / "train"), [])
    write_scene(tmp_path / "train", "Beta_2015", date="20150102")
    report = inspect_split(tmp_path / "train")
    assert [str(p).split(":")[0] for p in report.refused] == [str(shp)]
    assert report.unlabelled == ["38SLF_Beta"]


def test_repairs_and_polygons_far_away_are_notes(tmp_path: Path) -> None:
    write_scene(tmp_path / "train")
    bowtie = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    write_polygons(city_polygons(tmp_path / "train"), [bowtie])
    text = inspect(tmp_path / "train")
    assert "1 invalid geometries will be repaired" in text
    assert "do not meet" in text


def test_a_large_scene_is_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLES", 3)
    monkeypatch.setattr(module, "SAMPLE", 16)
    vv = speckle((160, 160))
    vv[:, :16] = np.nan
    write_scene(tmp_path, vv=vv)
    (scene,) = inspect_split(tmp_path).scenes
    assert scene.nodata == pytest.approx(1 / 3)  # one of three sampled columns of windows
    vv[:] = np.nan
    vv[100, 100] = 1
    write_scene(tmp_path, vv=vv)
    assert len(inspect_split(tmp_path).scenes) == 1  # one valid pixel beside the samples


def test_nothing_to_see_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no radar scene"):
        inspect(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        inspect(tmp_path / "absent")


def test_the_real_scenes_are_all_usable() -> None:
    text = inspect(real_data())
    assert text.count("0 refused") == 2
    for city in ("50TMK_Beijing", "10SEG_SanFranciscoWest", "33UXQ_Senica", "30SXH_VegaBaja"):
        assert city in text
