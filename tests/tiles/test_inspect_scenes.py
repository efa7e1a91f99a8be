"""What a folder holds, in one table; bad scenes are listed, not raised."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import shapely
from affine import Affine

from builtup.errors import InputError
from builtup.sensors.radar.merge import generate_3b_images
from builtup.tiles import inspect_scenes as module
from builtup.tiles.inspect_scenes import inspect, inspect_split
from builtup.tiles.masks import rasterize
from builtup.tiles.prepare import prepare
from helpers import (
    TRANSFORM,
    city_polygons,
    real_data,
    speckle,
    write_polygons,
    write_raster,
    write_scene,
)

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
    head, cells = table[0].split(), table[2].split()
    assert dict(zip(head, cells, strict=True)) == {
        "split": "train", "city": "38SLF_Alpha", "date": "20150101", "orbit": "ASC",
        "size": "50x40", "pixel/m": "10", "CRS": "EPSG:32638", "grid": "1", "unit": "power",
        "no-data": "20.0%", "built-up": "6.25%",
    }  # fmt: skip
    assert "20150202  ?" in table[3]
    assert table[-1] == (
        "train: 1 city, 2 scenes, 0 refused, 0 passed over, 0 other rasters left alone"
    )


def test_units_and_pixels_on_the_ground_are_shown_and_what_becomes_of_them(tmp_path: Path) -> None:
    place = Affine(9e-5, 0, 43.0, 0, -9e-5, 36.3)
    db = [10 * np.log10(speckle((40, 50), level)) for level in (0.14, 0.02)]
    for day in (1, 2):
        date = f"2015010{day}"
        write_scene(tmp_path, vv=db[0], vh=db[1], date=date, transform=place, crs="EPSG:4326")
    text = inspect(tmp_path)
    row = dict(zip(text.splitlines()[0].split(), text.splitlines()[2].split(), strict=True))
    assert (row["pixel/m"], row["unit"]) == ("8.08x9.99", "decibels")
    assert (row["CRS"], row["grid"]) == ("EPSG:4326", "1")
    notes = [line for line in text.splitlines() if line.startswith("  note: ")]
    assert len(notes) == 2
    assert " and 1 more: resampled in linear power to 10 m" in notes[0]
    assert " and 3 more: taken as decibels (nothing says its unit" in notes[1]


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
    rows = [line.split("  ") for line in text.splitlines() if line.startswith("train  refused")]
    listed = {row[-1].strip() for row in rows}
    assert listed == {str(path.relative_to(root)) for path in (cut, lone, empty)}


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


def test_polygons_beside_the_scene_are_noted_as_rasterize_warns(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "train"
    write_scene(root)
    shp = city_polygons(root)
    write_polygons(shp, [shapely.box(LEFT + 5640, TOP - 100, LEFT + 5700, TOP)])
    area = shp.with_name("38SLF_Alpha_labelled_area.shp")
    write_polygons(area, [shapely.box(0, 89, 1, 90)], "EPSG:4326")
    notes = inspect_split(root).notes
    rasterize(input_path=root, output_path=tmp_path / "out", num_workers=1)
    assert notes == [record.getMessage() for record in caplog.records]
    assert len(notes) == 2
    assert notes[0].startswith(f"{shp}: ") and "(5.0 km away)" in notes[0]
    assert notes[1].startswith(f"{area}: ")


def test_polygons_without_a_place_in_the_scene_are_elsewhere(tmp_path: Path) -> None:
    write_scene(tmp_path / "train")
    write_polygons(
        city_polygons(tmp_path / "train"), [shapely.box(1e9, 1e9, 2e9, 2e9)], "EPSG:32637"
    )
    (note,) = inspect_split(tmp_path / "train").notes
    assert "(elsewhere on Earth)" in note


def test_a_bad_crs_is_listed_once_and_the_rest_goes_on(tmp_path: Path) -> None:
    root, local = tmp_path / "train", 'LOCAL_CS["arbitrary",UNIT["metre",1]]'
    box = shapely.box(LEFT + 200, TOP - 300, LEFT + 300, TOP - 200)
    prj = {"Alpha_2015": 'GEOGCS["nonsense"]', "Beta_2015": local, "Good_2015": ""}
    refused = []
    for number, (city, text) in enumerate(prj.items()):
        for month in (1, 2):
            write_scene(root, city, date=f"20150{month}1{number}")
        shp = write_polygons(city_polygons(root, city), [box])
        if text:
            shp.with_suffix(".prj").write_text(text)
            refused.append(shp)
    refused.append(write_scene(root, "Local_2015", date="20150301", crs=local)[0])
    report = inspect_split(root)
    assert sorted(str(p).split(":")[0] for p in report.refused) == sorted(map(str, refused))
    assert [s.built_up is None for s in report.scenes] == [True, True, True, True, False, False]


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
    assert text.count(" 0 refused") == 2
    for city in ("50TMK_Beijing", "10SEG_SanFranciscoWest", "33UXQ_Senica", "30SXH_VegaBaja"):
        assert city in text


def test_what_is_not_read_is_one_table_with_like_things_joined(tmp_path: Path) -> None:
    root, city = tmp_path / "train", tmp_path / "train" / "Alpha_2015"
    write_scene(root, suffix="t030926")
    write_scene(root, suffix="t030926_filtered")
    for day in ("02", "03"):
        write_scene(root, date=f"201501{day}")[1].unlink()
        write_scene(root, date=f"201502{day}", vv=speckle((9, 9)), satellite="S1A_L2")
    for name in (
        "hyp3_VV_20150401",
        "s1a_38SLF_hh_20150101",
        "s1a_38SLF_hv_20150101",
        "s1a-iw-grd-vv-20150101t030926-20150101t030951-004080-004EC1-001",
        "np_20150101_NESZ_VV",
        "s1a_38SLF_vv_ASC_20150101_BorderMask",
        "dem",
    ):
        write_raster(city / f"{name}.tif", speckle((9, 9)))
    (city / "S1A_IW_20150501.zip").touch()
    (city / "gone").symlink_to(tmp_path / "nowhere")
    lines = inspect(root).splitlines()
    start = lines.index("") + 1
    rows = [re.split(r"  +", line) for line in lines[start : lines.index("", start)]]
    assert rows[0] == ["split", "not read", "files", "why", "what to do", "first of them"]
    told = {row[3]: row for row in rows[2:]}
    assert len(told) == len(rows) - 2
    lone = told["VV without VH"]
    assert lone[1:3] == ["refused", "2"]
    assert lone[5] == "Alpha_2015/20150102_38SLF/s1a_38SLF_vv_ASC_20150102.tif"
    expected = {
        "HH or HV, while networks are trained on VV and VH": "2",
        "a product in radar geometry, not on a map": "1",
        "not named as scenes of a split are, and not read": "5",
        "an archive (.zip), which is not looked into": "1",
        "a link to nothing, or to where you may not look": "1",
        "by its name a layer beside scenes (noise, angle, mask, picture), and not read": "1",
        "by name no scenes: masks, angles, heights, pictures": "2",
    }
    assert {why: told[why][2] for why in expected} == expected
    (chosen,) = (row for why, row in told.items() if "speckle filtered" in why)
    assert chosen[1] == "passed over" and chosen[4].startswith("take that away")


def test_a_link_to_a_folder_of_splits_is_seen_for_what_it_is(tmp_path: Path) -> None:
    data, where = tmp_path / "data", tmp_path / "input"
    write_scene(data / "train")
    write_scene(data / "test", "Beta_2015", date="20150102")
    where.mkdir()
    (where / "unosat").symlink_to(data)
    text = inspect(where)
    assert "unosat/train  38SLF_Alpha" in text and "unosat/test   38SLF_Beta" in text
    assert f"{where / 'unosat'}: a folder of splits; give it to prepare as input_path" in text
    (where / "train").symlink_to(data / "train")
    text = inspect(where)
    assert text.count("38SLF_Alpha  20150101") == 1  # met twice
    with pytest.raises(InputError, match=f"give input_path={where / 'unosat'}, which does"):
        (where / "train").unlink()
        prepare(input_path=where, output_path=tmp_path / "o", tiles_path=tmp_path / "t")


def test_a_split_in_which_nothing_is_read_says_why(tmp_path: Path) -> None:
    write_raster(tmp_path / "Nuuk_2023" / "s1a_22WDS_hh_20230101.tif", speckle((9, 9)))
    with pytest.raises(InputError, match="HH or HV, while networks are trained on VV and VH"):
        inspect(tmp_path)
