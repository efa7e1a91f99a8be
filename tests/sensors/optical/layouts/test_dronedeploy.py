"""The layout of the DroneDeploy data set."""

from __future__ import annotations

import pytest

from builtup.errors import InputError
from builtup.sensors.optical.layouts.dronedeploy import CLASSES, find
from helpers import real_data


def made(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def said(found):
    return [(remark.file, remark.what) for remark in found.remarks]


def test_scenes_by_name_with_what_they_have(tmp_path):
    root = made(
        tmp_path,
        *("images/b-ortho.tif", "images/a-ortho.tif"),
        *("labels/a-label.png", "elevations/a-elev.tif", "labels/b-label.png"),
    )
    found = find(root)
    one, other = found.scenes
    assert (one.name, one.site, one.image.name) == ("a", "a", "a-ortho.tif")
    assert (one.labels, one.elevation) == (
        root / "labels/a-label.png", root / "elevations/a-elev.tif",
    )  # fmt: skip
    assert (other.name, other.elevation) == ("b", None)
    assert said(found) == [("b", "no elevation")]
    assert found.problems == []


def test_what_belongs_to_nothing_is_named(tmp_path):
    root = made(
        tmp_path,
        "images/a-ortho.tif",
        "images/other.tif",
        "labels/a-label.png",
        "labels/z-label.png",
    )
    assert said(find(root)) == [
        ("images/other.tif", "passed over, no name of the form <scene>-ortho"),
        ("a", "no elevation"),
        ("labels/z-label.png", "passed over, of no picture"),
    ]


def test_the_index_is_held_against_the_pictures(tmp_path):
    root = made(tmp_path, "images/a-ortho.tif", "images/c-ortho.tif")
    (root / "index.csv").write_text("n scene building\n0 a .1\n1 b .2\n1 b .3\n")
    found = find(root)
    assert [p.problem for p in found.problems] == ["the scene b has no picture images/b-ortho.tif"]
    assert ("c", "not in index.csv, and taken all the same") in said(found)


def test_a_scene_twice(tmp_path):
    found = find(made(tmp_path, "images/a-ortho.tif", "images/more/a-ortho.tif"))
    assert ["stands twice" in problem.problem for problem in found.problems] == [True]
    assert len(found.scenes) == 1


def test_a_folder_without_scenes(tmp_path):
    with pytest.raises(InputError, match=r"no images/<scene>-ortho\.tif in it"):
        find(tmp_path)


def test_a_name_that_no_list_can_hold(tmp_path):
    found = find(made(tmp_path, "images/a{b-ortho.tif"))
    assert ["its name has signs" in problem.problem for problem in found.problems] == [True]


def test_six_classes_and_one_that_is_mapped():
    assert (len(CLASSES), CLASSES.mapped_index) == (6, 0)


def test_the_real_folder():
    found = find(real_data("imagery/aerial"))
    assert [scene.name for scene in found.scenes] == ["dole1", "dole2", "ec09E", "ec09W"]
    assert [scene.elevation is not None for scene in found.scenes] == [True, True, False, False]
    assert not found.problems
