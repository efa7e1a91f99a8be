"""Folders of scenes: rasters of a step, by city and scene."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builtup.errors import InputError
from builtup.sensors.radar.discovery import scenes_of_split
from builtup.sensors.scene_files import find_rasters, is_raster, list_files, require_folder
from helpers import write_raster, write_scene


def test_a_step_finds_what_an_earlier_one_wrote(tmp_path: Path) -> None:
    write_scene(tmp_path / "in")
    (scene,) = scenes_of_split(tmp_path / "in").scenes
    path = write_raster(scene.output(tmp_path / "out", "3b"), [[1.0]])
    (file,) = find_rasters(tmp_path / "out", "3b")
    assert (file.path, file.scene_id, file.city) == (path, scene.scene_id, "38SLF_Alpha")
    assert (file.date, file.output_name("prob")) == ("20150101", path.name.replace("3b", "prob"))
    assert find_rasters(tmp_path / "out", "mask") == ()


def test_the_same_scene_twice_is_refused_with_both_paths(tmp_path: Path) -> None:
    for city in ("Alpha_2015", "Beta_2015"):
        write_raster(tmp_path / city / "s1a_38SLF_3b_20150101.tif", [[1.0]])
    with pytest.raises(InputError, match=r"Beta_2015.*stands twice, here and in .*Alpha_2015"):
        find_rasters(tmp_path, "3b")


def test_cities_have_one_key_for_files_and_folders_that_share_one_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for day, city in enumerate(("New York_2015", "New_York_2015", "Erbil_2015", "Erbil_2016"), 1):
        write_raster(tmp_path / city / f"s1a_38SLF_3b_2015010{day}.tif", [[1.0]])
    keys = {file.city for file in find_rasters(tmp_path, "3b")}
    assert keys == {"38SLF_New_York", "38SLF_Erbil"}
    assert caplog.messages == [
        "38SLF_New_York: folders of one city by their names: New York, New_York"
    ]


def test_hidden_files_are_not_listed(tmp_path: Path) -> None:
    for name in ("b.tiff", "a.TIF", ".c.partial.tif", "d.tif.aux.xml"):
        (tmp_path / name).touch()
    listed = list_files(tmp_path).files
    assert [path.name for path in listed] == ["a.TIF", "b.tiff", "d.tif.aux.xml"]
    assert [path.name for path in filter(is_raster, listed)] == ["a.TIF", "b.tiff"]


def test_a_folder_is_walked_once_under_its_own_name(tmp_path: Path) -> None:
    split, other = tmp_path / "split", tmp_path / "elsewhere"
    for folder in (split / "Beta", other):
        folder.mkdir(parents=True)
        (folder / "x.tif").touch()
    (split / "Alpha").symlink_to(split / "Beta")
    (split / "Beta" / "up").symlink_to(split)
    (split / "Beta" / "self").symlink_to("self")
    (split / "Gamma").symlink_to(other)
    (other / "back").symlink_to(split / "Beta")
    listing = list_files(split)
    assert listing.files == [split / "Beta" / "x.tif", split / "Gamma" / "x.tif"]
    passed = {Path(e.path).relative_to(split).as_posix(): e.problem for e in listing.passed}
    assert sorted(passed) == ["Alpha", "Beta/self", "Beta/up", "Gamma/back"]
    assert passed["Alpha"] == f"a link to a folder that is read as {split / 'Beta'}"
    assert passed["Beta/self"].startswith("a link to nothing")


def test_a_link_to_the_folder_itself_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x.tif").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert list_files(tmp_path / "link").files == [tmp_path / "link" / "x.tif"]


def test_a_folder_of_outputs_that_cannot_be_listed_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refusing(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refusing)
    assert find_rasters(tmp_path, "3b") == ()
    assert f"{tmp_path}: cannot be listed (Permission denied)" in caplog.text


def test_a_missing_folder_says_how_to_link_the_data(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such folder; .*ln -s"):
        require_folder(tmp_path / "absent")
    with pytest.raises(InputError, match="mlflow run experiments/"):
        require_folder(Path("../absent-input"))


def test_scenes_of_a_city_with_folders_of_several_years_have_theirs(tmp_path: Path) -> None:
    for folder, tile, date in (
        ("Mosul_2020", "38SLF", "20191230"),
        ("Mosul_2015", "38SLF", "20150101"),
        ("Mosul", "38SLF", "20180101"),
        ("Mosul_2015", "38SMF", "20150101"),
        ("Erbil_2016", "38SME", "20160101"),
    ):
        write_raster(tmp_path / folder / f"s1a_{tile}_3b_{date}.tif", [[1.0]])
    found = {(file.city, file.date): file.year for file in find_rasters(tmp_path, "3b")}
    assert found == {
        ("38SLF_Mosul", "20191230"): "2020",
        ("38SLF_Mosul", "20150101"): "2015",
        ("38SLF_Mosul", "20180101"): "2018",
        ("38SMF_Mosul", "20150101"): "",
        ("38SME_Erbil", "20160101"): "",
    }
