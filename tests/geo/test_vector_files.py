from __future__ import annotations

from pathlib import Path

import pytest
import shapely

from builtup.errors import InputError
from builtup.geo.vector_files import vector_files
from helpers import write_polygons

BOX = shapely.box(300_000, 3_999_000, 300_100, 3_999_100)


def test_a_shapefile_is_made_up_of_its_side_files(tmp_path: Path) -> None:
    path = write_polygons(tmp_path / "a.shp", [BOX])
    found = [file.suffix for file in vector_files(path)]
    assert found[:4] == [".shp", ".shx", ".dbf", ".prj"]
    assert set(found[4:]) <= {".cpg"}


def test_side_files_in_capitals_are_found(tmp_path: Path) -> None:
    path = write_polygons(tmp_path / "a.shp", [BOX])
    path.with_suffix(".prj").rename(tmp_path / "a.PRJ")
    assert tmp_path / "a.PRJ" in vector_files(path)


def test_any_other_file_stands_for_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    path.write_text("{}")
    assert vector_files(path) == (path,)


@pytest.mark.parametrize("suffix", [".shp", ".shx", ".dbf"])
def test_a_file_that_is_shorter_than_its_header_says_is_refused(
    tmp_path: Path, suffix: str
) -> None:
    path = write_polygons(tmp_path / "a.shp", [BOX] * 9)
    file = path.with_suffix(suffix)
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(InputError, match=rf"a\.shp: a\{suffix} is cut off"):
        vector_files(path)


@pytest.mark.parametrize("name", ["a.zip", "a.KMZ"])
def test_archives_are_refused_with_the_remedy(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"PK")
    with pytest.raises(InputError, match="an archive, which is not read; unzip it"):
        vector_files(path)
