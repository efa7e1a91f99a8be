"""The counts behind the table of buildings from drones."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import open_cities
import open_cities_students

from builtup.config import load as configs
from helpers import ROOT, write_raster

# truth by prediction: 4 rest, 1 false, 2 missed, 3 hit: 3 of 6 in the union
HALF = {"matrix": [[4, 1], [2, 3]], "seconds": 2.0}
ALL = {"matrix": [[0, 0], [0, 6]], "seconds": 2.0}


def test_what_is_pooled_are_pixels_and_not_indexes() -> None:
    table = {("net", "plain"): {0: {"a": HALF, "b": ALL}}}
    assert open_cities.rows_of(table, ["a", "b"])[1] == [  # type: ignore[arg-type]
        *("net", "plain", ".500", "1.000"),
        *(".750", "0.00"),  # 9 of 12
    ]


def test_a_part_of_a_scene_lies_where_it_lay(tmp_path: Path) -> None:
    mask = np.arange(48, dtype=np.uint8).reshape(6, 8)
    write_raster(tmp_path / "scene.tif", mask[None])
    open_cities._cut(
        tmp_path / "scene.tif", tmp_path, "site", "cut.tif", "masks", (2, 5), (4, 8), building=28
    )
    with (
        rasterio.open(tmp_path / "scene.tif") as whole,
        rasterio.open(tmp_path / "masks" / "site" / "cut.tif") as part,
    ):
        assert part.read(1).tolist() == (mask[2:5, 4:8] == 28).tolist()
        assert part.transform * (0, 0) == pytest.approx(whole.transform * (4, 2))
        assert part.tags()["BUILTUP_CLASSES"] == "background,building"


def test_an_unknown_network_ends_the_script() -> None:
    with pytest.raises(SystemExit, match="W-Net: unknown; known are U-Net, scratch"):
        open_cities._chosen(open_cities.NETWORKS, "U-Net, scratch;W-Net")


def test_a_student_has_the_network_and_the_size_of_its_teacher() -> None:
    own = {"drop_connect", "soft_path"}
    student = configs.load(ROOT / open_cities_students.STUDENT, open_cities_students.SMALL)
    teacher = configs.load(ROOT / open_cities.CONFIG)
    names = {word.partition("=")[0] for word in open_cities_students.SMALL.split()} - own
    assert {n: student.get(n) for n in names} == {n: teacher.get(n) for n in names}
    teachers = [of for _, of in open_cities_students.STUDENTS.values()]
    rows = open_cities_students.ROWS
    assert all(rows.index(of) < rows.index(row) for row, of in
               zip(open_cities_students.STUDENTS, teachers, strict=True))  # fmt: skip


def test_an_image_in_pieces_is_the_image(tmp_path: Path) -> None:
    size = open_cities_students.SIZE
    mask = np.random.default_rng(0).integers(0, 2, (size, size)).astype(np.uint8)
    write_raster(tmp_path / "whole" / "masks" / "town" / "town_mask.tif", mask[None])
    open_cities_students._in_pieces(tmp_path / "whole", tmp_path / "cut")
    found = np.zeros_like(mask)
    for path in (tmp_path / "cut").glob("masks/*/*.tif"):
        y, x = (int(word) for word in path.parent.name.split("_")[1:])
        with rasterio.open(path) as piece:
            found[y : y + piece.height, x : x + piece.width] = piece.read(1)
    assert (found == mask).all() and len(list((tmp_path / "cut").glob("masks/*"))) == 9
