from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform

from builtup.errors import InputError, LeakageError
from builtup.tiles.folds import Folds
from builtup.tiles.leakage import check_folds, leaks, require_same_data, training_tiles
from builtup.tiles.stats import generate_tiles_stats
from builtup.tiles.table import read_tile_stats
from tile_data import add_scene, moved, prepared, tile_all

NEIGHBOUR = {"city": "Beta_2015", "tile": "38SMF"}


def test_distant_cities_pass(tmp_path: Path) -> None:
    add_scene(tmp_path)
    add_scene(tmp_path, **NEIGHBOUR, transform=moved(5000, 0))
    folds, tiles = prepared(tmp_path)
    for fold in (0, 1):
        check_folds(folds, tiles, fold)


@pytest.mark.parametrize(("distance", "leaky"), [(80, True), (95, True), (96, False), (97, False)])
def test_cities_nearer_than_the_gap_are_refused(tmp_path: Path, distance: int, leaky: bool) -> None:
    # 90 pixels wide: at 96 the six pixels of the gap lie between
    image = np.full((3, 70, 90), 0.1, np.float32)
    mask = np.zeros((70, 90), np.uint8)
    add_scene(tmp_path, image=image, mask=mask)
    add_scene(tmp_path, **NEIGHBOUR, transform=moved(distance, 0), image=image, mask=mask)
    folds, tiles = prepared(tmp_path, gap=7)
    if leaky:
        with pytest.raises(LeakageError, match=r"s1a_38SLF_\{\}_ASC_20150101.*s1a_38SMF"):
            check_folds(folds, tiles, folds.index_of("Beta"))
    else:
        check_folds(folds, tiles, folds.index_of("Beta"))


def test_the_error_names_tiles_on_both_sides_and_the_remedy(tmp_path: Path) -> None:
    add_scene(tmp_path)
    add_scene(tmp_path, **NEIGHBOUR, transform=moved(60, 0))
    folds, tiles = prepared(tmp_path)
    with pytest.raises(LeakageError) as caught:
        check_folds(folds, tiles, folds.index_of("Beta"))
    text = str(caught.value)
    for part in ("fold 38SMF_Beta", "s1a_38SLF_ASC_20150101_38_0", "38SMF", "folds_drop"):
        assert part in text
    assert "s1a_38SLF_ASC_20150101_0_0" not in text


def test_folds_drop_leaves_out_the_common_ground_and_nothing_else(tmp_path: Path) -> None:
    add_scene(tmp_path)
    add_scene(tmp_path, **NEIGHBOUR, transform=moved(60, 0))
    folds, tiles = prepared(tmp_path)
    beta = folds.index_of("Beta")
    kept = training_tiles(folds, tiles, beta, drop_common=True)
    assert {t.tile.x for t in kept} == {0, 19}
    check_folds(folds, tiles, beta, folds_drop=True)


def _in_zone_37(width: int, height: int) -> Affine:
    """A grid of zone 37 over the ground of the tests, which lies in zone 38."""
    (x,), (y,) = transform(CRS.from_epsg(32638), CRS.from_epsg(32637), [300_000], [4_000_000])
    return Affine(10, 0, x, 0, -10, y)


def test_common_ground_is_found_across_utm_zones(tmp_path: Path) -> None:
    add_scene(tmp_path)
    add_scene(
        tmp_path,
        city="Beta_2015",
        tile="37SGF",
        transform=_in_zone_37(90, 70),
        crs="EPSG:32637",
    )
    folds, tiles = prepared(tmp_path)
    with pytest.raises(LeakageError, match="37SGF"):
        check_folds(folds, tiles, folds.index_of("Beta"))


@pytest.mark.parametrize("shift", [(0, 0), (0.4, -0.3), (10, 4)])
def test_blocks_with_their_gap_never_leak_even_between_shifted_dates(
    tmp_path: Path, shift: tuple[float, float]
) -> None:
    add_scene(tmp_path)
    add_scene(tmp_path, date="20150201", transform=moved(*shift))
    folds, tiles = prepared(tmp_path)
    for fold in range(4):
        check_folds(folds, tiles, fold)


def test_a_training_list_that_reaches_into_the_block_is_found(tmp_path: Path) -> None:
    # as if another program had chosen the tiles: the block's own gap is forgotten
    from dataclasses import replace

    add_scene(tmp_path)
    folds, tiles = prepared(tmp_path, gap=6)
    no_gap = replace(folds, blocks=tuple(replace(b, gap=(0.0, 0.0)) for b in folds.blocks))
    assert leaks(no_gap, tiles, no_gap.training_tiles(tiles, 0), 0)
    with pytest.raises(LeakageError):
        check_folds(no_gap, tiles, 0)


def test_no_validation_means_no_leak(tmp_path: Path) -> None:
    add_scene(tmp_path)
    add_scene(tmp_path, **NEIGHBOUR, transform=moved(60, 0))
    folds, tiles = prepared(tmp_path)
    check_folds(folds, tiles, None)


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
