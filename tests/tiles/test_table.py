from __future__ import annotations

from pathlib import Path

import pytest

from builtup.errors import InputError
from builtup.tiles.table import read_tile_stats
from tile_data import add_scene, moved, prepared


@pytest.fixture
def table(tmp_path: Path) -> Path:
    add_scene(tmp_path)
    prepared(tmp_path)
    return tmp_path / "tiles" / "tile_stats.csv"


def test_two_classes_have_no_columns_of_shares_and_their_shares_nonetheless(table: Path) -> None:
    assert "share" not in table.read_text()
    for tile in read_tile_stats(table):
        assert tile.shares == (1 - tile.target_ratio, tile.target_ratio)


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [("skip", "maybe", "'maybe'"), ("fold_index", "a", "'a'"), ("target_ratio", "", "float")],
)
def test_a_malformed_row_is_named(table: Path, column: str, value: str, problem: str) -> None:
    lines = table.read_text().splitlines()
    row = lines[1].split(",")
    row[lines[0].split(",").index(column)] = value
    table.write_text("\n".join([lines[0], ",".join(row), *lines[2:]]))
    message = f"malformed row of tile s1a_38SLF_ASC_20150101_0_0 .*{problem}"
    with pytest.raises(InputError, match=message):
        read_tile_stats(table)


def test_a_missing_list_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tile_stats\.csv: no such file; run generate_tiles_st"):
        read_tile_stats(tmp_path / "tile_stats.csv")


def test_tiles_have_the_year_of_their_list_and_a_city_of_several_is_one_fold(
    tmp_path: Path, table: Path
) -> None:
    assert "year" not in table.read_text().splitlines()[0].split(",")
    add_scene(tmp_path, "Alpha_2020", date="20200101")
    add_scene(tmp_path, "Beta_2015", "38RPV", transform=moved(20_000, 0))
    folds, tiles = prepared(tmp_path)
    assert {(t.tile.city, t.tile.date, t.tile.year, t.mask.year) for t in tiles} == {
        ("38SLF_Alpha", "20150101", "2015", "2015"),
        ("38SLF_Alpha", "20200101", "2020", "2020"),
        ("38RPV_Beta", "20150101", "", ""),
    }
    assert sorted(folds.names) == ["38RPV_Beta", "38SLF_Alpha"]
    assert len({t.fold_index for t in tiles if t.tile.city == "38SLF_Alpha"}) == 1


def test_another_year_of_the_folder_is_another_in_the_list(tmp_path: Path) -> None:
    add_scene(tmp_path)
    add_scene(tmp_path, "Alpha_2020", date="20200101")
    prepared(tmp_path, materialize=True)
    for kind in ("images_3b", "masks"):
        (tmp_path / kind / "Alpha_2020").rename(tmp_path / kind / "Alpha_2021")
    _, tiles = prepared(tmp_path, materialize=True)
    assert {t.tile.year for t in tiles} == {"2015", "2021"}
