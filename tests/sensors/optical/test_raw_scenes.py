"""What all layouts share: names and lists of splits."""

from __future__ import annotations

from pathlib import Path

import pytest

from builtup.errors import InputError
from builtup.sensors.optical.raw_scenes import Found, RawScene, files_below, plain_name, with_splits


def found(*names):
    return Found([RawScene(name, name, Path(f"{name}.tif")) for name in names])


def test_scenes_get_the_split_of_the_list_that_names_them(tmp_path):
    (tmp_path / "train.txt").write_text("a\n\nb \n")
    (tmp_path / "valid.txt").write_text("c\n")
    scenes = found("a", "b", "c", "d")
    with_splits(tmp_path, scenes)
    assert [scene.split for scene in scenes.scenes] == ["train", "train", "valid", ""]
    assert [(r.file, r.what) for r in scenes.remarks] == [("d", "in none of the lists of splits")]
    assert not scenes.problems


def test_without_lists_there_is_nothing_to_say(tmp_path):
    scenes = found("a")
    with_splits(tmp_path, scenes)
    assert (scenes.scenes[0].split, scenes.remarks, scenes.problems) == ("", [], [])


def test_a_scene_in_two_lists_is_refused(tmp_path):
    (tmp_path / "train.txt").write_text("a\n")
    (tmp_path / "test.txt").write_text("a\n")
    with pytest.raises(InputError, match=r"test\.txt: the scene a is in train\.txt as well"):
        with_splits(tmp_path, found("a"))


def test_a_listed_scene_that_is_not_there_is_a_problem(tmp_path):
    (tmp_path / "train.txt").write_text("a\nb\n")
    scenes = found("a")
    with_splits(tmp_path, scenes)
    assert [problem.problem for problem in scenes.problems] == ["the scene b is not there"]


def test_a_list_that_is_no_text(tmp_path):
    (tmp_path / "train.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read as text"):
        with_splits(tmp_path, found("a"))


@pytest.mark.parametrize("name", ["", "a{b}", "a,b", 'a"b', "a;b"])
def test_names_that_lists_cannot_hold(name):
    with pytest.raises(InputError, match="its name has signs"):
        plain_name(Path("a.tif"), name)


def test_files_by_suffix_whatever_its_case(tmp_path):
    for name in ("b.TIF", "a.tif", "c.txt", ".hidden.tif"):
        (tmp_path / name).touch()
    assert [path.name for path in files_below(tmp_path, (".tif",), Found())] == ["a.tif", "b.TIF"]
    assert files_below(tmp_path / "none", (".tif",), Found()) == []
