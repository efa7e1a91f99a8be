"""A fold file that was edited, or is from other data, is refused in one line."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builtup.errors import InputError, LeakageError
from builtup.tiles.consistency import require_same_data
from builtup.tiles.folds import Folds, check_folds
from builtup.tiles.stats import generate_tiles_stats
from builtup.tiles.table import read_tile_stats
from tile_data import add_scene, moved, tile_all


@pytest.fixture(scope="module")
def cities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cities")
    for number, (city, tile) in enumerate((("Alpha", "38SLF"), ("Beta", "38SLG"))):
        for date in ("20150101", "20150113"):
            place = moved(2000 * number, 0)
            add_scene(root, f"{city}_2015", tile, date, transform=place)
    return tile_and_measure(root)


def tile_and_measure(root: Path, **options: Any) -> Path:
    tiles = tile_all(root)
    generate_tiles_stats(input_path=tiles, output_path=tiles, num_workers=1, **options)
    return tiles


def check(folder: Path) -> None:
    require_same_data(folder, read_tile_stats(folder / "tile_stats.csv"), Folds.read(folder))


def edit_folds(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "folds.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


@pytest.fixture
def copy(cities: Path, tmp_path: Path) -> Path:
    shutil.copytree(cities, tmp_path / "tiles")
    return tmp_path / "tiles"


def test_what_belongs_together_passes(cities: Path) -> None:
    check(cities)


def test_folds_of_other_data_are_refused(copy: Path, tmp_path: Path) -> None:
    for date in ("20150101", "20150113"):
        add_scene(tmp_path / "other", "Alpha_2015", "38SLF", date)
    add_scene(tmp_path / "other", "Delta_2015", "38SMA", "20150101", transform=moved(4000, 0))
    other = tile_and_measure(tmp_path / "other")
    shutil.copyfile(other / "folds.json", copy / "folds.json")
    with pytest.raises(InputError, match=r"folds\.json: from other data: scene .*38SLG.* is in"):
        check(copy)


def test_a_scene_moved_to_another_city_s_fold_is_refused(copy: Path) -> None:
    def move(values: dict[str, Any]) -> None:
        scene = next(s for s in values["scenes"] if "38SLF" in s)
        values["scenes"][scene]["city"] = "38SLG_Beta"

    edit_folds(copy, move)
    with pytest.raises(InputError, match=r"in 38SLG_Beta, tile_stats\.csv in 38SLF_Alpha"):
        check(copy)


def test_a_scene_said_to_lie_elsewhere_is_refused(copy: Path) -> None:
    def move(values: dict[str, Any]) -> None:
        scene = next(s for s in values["scenes"] if "38SLG" in s)
        values["scenes"][scene]["transform"][2] += 5000

    edit_folds(copy, move)
    with pytest.raises(InputError, match=r"lies elsewhere \(grids up to 500 pixels apart"):
        check(copy)


def test_a_fold_that_was_removed_is_refused(copy: Path) -> None:
    edit_folds(copy, lambda values: values["names"].remove("38SLG_Beta"))
    with pytest.raises(InputError, match="no fold holds out 38SLG_Beta"):
        check(copy)


def test_a_tile_put_into_another_fold_is_refused(copy: Path) -> None:
    path = copy / "tile_stats.csv"
    with path.open() as file:
        rows = list(csv.DictReader(file))
    rows[0]["fold_index"] = "1"
    with path.open("w") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(InputError, match=r"lies in fold 0, tile_stats\.csv says 1"):
        check(copy)


def test_lists_that_agree_but_leak_are_found_on_the_ground(tmp_path: Path) -> None:
    """One date of Alpha is called Gamma everywhere: only the ground shows that it leaks."""
    for city, tile, date in (("Alpha", "38SLF", "20150101"), ("Gamma", "38SMF", "20150113")):
        add_scene(tmp_path, f"{city}_2015", tile, date)
    tiles = tile_and_measure(tmp_path)
    check(tiles)
    rows, folds = read_tile_stats(tiles / "tile_stats.csv"), Folds.read(tiles)
    with pytest.raises(LeakageError, match="come within 32 pixels of the validation ground"):
        check_folds(folds, rows, 0)
