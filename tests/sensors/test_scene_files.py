"""Folders of scenes: rasters of a step, by city and scene."""

from __future__ import annotations

from pathlib import Path

import pytest

from builtup.errors import InputError
from builtup.sensors.radar.discovery import scenes_of_split
from builtup.sensors.scene_files import find_rasters, list_rasters, require_folder
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


def test_partial_files_are_not_listed(tmp_path: Path) -> None:
    for name in ("b.tiff", "a.TIF", ".c.partial.tif", "d.tif.aux.xml"):
        (tmp_path / name).touch()
    assert [path.name for path in list_rasters(tmp_path)] == ["a.TIF", "b.tiff"]


def test_a_missing_folder_says_how_to_link_the_data(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such folder; .*ln -s"):
        require_folder(tmp_path / "absent")
    with pytest.raises(InputError, match="mlflow run experiments/"):
        require_folder(Path("../absent-input"))
