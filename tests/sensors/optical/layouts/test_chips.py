"""Plain folders of pairs."""

from __future__ import annotations

import pytest

from builtup.errors import InputError
from builtup.sensors.optical.layouts.chips import find


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
