"""Plain folders of pairs."""

from __future__ import annotations

import pytest

from builtup.errors import InputError
from builtup.sensors.classes import BUILT_UP
from builtup.sensors.optical.layouts.chips import find
from builtup.sensors.optical.raw_scenes import EMPTY, PICTURE, SOFT


def made(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_pairs_of_equal_stems_and_one_site(tmp_path):
    root = made(
        tmp_path / "ground",
        *("images/1.png", "images/2.jpg", "masks/1.tif", "masks/2.png", "elevations/2.tif"),
    )
    one, other = find(root).scenes
    assert (one.name, one.site, one.labels) == ("1", "ground", root / "masks/1.tif")
    assert (other.labels, other.elevation) == (root / "masks/2.png", root / "elevations/2.tif")


def test_folders_are_sites(tmp_path):
    root = made(tmp_path, "images/north/1.png", "images/south/1.png", "labels/south/1.png")
    found = find(root)
    assert [(s.name, s.site, s.labels is not None) for s in found.scenes] == [
        ("north_1", "north", False), ("south_1", "south", True),
    ]  # fmt: skip
    assert [(r.file, r.what, r.doubtful) for r in found.remarks] == [("1.png", "no labels", True)]


def test_labels_of_no_picture_are_named(tmp_path):
    found = find(made(tmp_path, "images/1.png", "labels/1.png", "labels/2.png"))
    assert [(r.file, r.what) for r in found.remarks] == [
        ("labels/2.png", "passed over, of no picture")
    ]


def test_two_pictures_of_one_name(tmp_path):
    found = find(made(tmp_path, "images/1.png", "images/1.jpg"))
    assert [problem.problem for problem in found.problems] == ["the same name as 1.jpg"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "no pictures in images/"),
        (("labels/1.png",), "no pictures in images/"),
        (("images/1.png", "labels/1.png", "masks/1.png"), "has both labels/ and masks/"),
    ],
)
def test_other_folders_are_refused(tmp_path, names, message):
    with pytest.raises(InputError, match=message):
        find(made(tmp_path, *names))


# --- probabilities beside the pictures ------------------------------------------------------------


def test_masks_beside_their_pictures_are_probabilities(tmp_path):
    root = made(tmp_path / "set", "1.tif", "1_mask.png", "2.jpg", "2_mask.png", "3.png")
    found = find(root)
    assert [(s.name, s.site, s.role) for s in found.scenes] == [
        ("1", "set", "labelled"), ("2", "set", "labelled"), ("3", "set", "unlabelled"),
    ]  # fmt: skip
    assert [s.labels_are for s in found.scenes] == [SOFT, SOFT, PICTURE]
    assert found.scenes[1].labels == root / "2_mask.png"
    assert [(r.file, r.what, r.doubtful) for r in found.remarks] == [("3.png", "no labels", True)]
    assert found.classes is BUILT_UP


def test_pictures_alone_are_a_set_without_labels(tmp_path):
    found = find(made(tmp_path, "north/1.tif", "south/1.tif"))
    assert [(s.name, s.site, s.role) for s in found.scenes] == [
        ("north_1", "north", "unlabelled"), ("south_1", "south", "unlabelled"),
    ]  # fmt: skip
    assert {remark.doubtful for remark in found.remarks} == {False}


def test_a_picture_without_a_mask_is_empty_only_where_the_list_says_so(tmp_path):
    root = made(tmp_path, *(f"images/{s}/{n}.png" for s in ("a", "b", "c") for n in (1, 2)))
    made(root, "images/a/1_mask.png")
    (root / "train.txt").write_text("a_1\na_2\nb_1\n")
    (root / "test.txt").write_text("b_2\nc_1\nc_2\n")

    def empty(text):
        (root / "empty.txt").write_text(text)
        found = find(root)
        return [s.name for s in found.scenes if s.labels_are == EMPTY], found.problems

    assert empty("") == ([], [])
    assert empty("b_1\n") == (["b_1"], [])  # a scene
    assert empty("c\n") == (["c_1", "c_2"], [])  # a site
    assert empty("train\n") == (["a_2", "b_1"], [])  # a split: what has a mask keeps it
    names, (problem,) = empty("b_1\nnone\n")
    assert (names, problem.problem) == (["b_1"], "none is no scene, site or split")
    _, (problem,) = empty("a_1\n")
    assert problem.problem == "the scene a_1 has a mask, and is listed as empty"


def test_labels_twice_and_a_mask_of_no_picture(tmp_path):
    root = made(tmp_path, "images/1.png", "images/1_mask.png", "labels/1.png", "images/2_mask.png")
    found = find(root)
    assert [problem.problem for problem in found.problems] == [
        f"has two labels, {root}/labels/1.png and 1_mask.png"
    ]
    assert ("images/2_mask.png", "passed over, of no picture") in [
        (r.file, r.what) for r in found.remarks
    ]
