from __future__ import annotations

from pathlib import Path

import pytest

from builtup.errors import InputError
from builtup.tiles.table import read_tile_stats
from tile_data import add_scene, prepared


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
