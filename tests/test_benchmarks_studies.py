"""The scripts in benchmarks/studies/ that print the tables of docs/results.md."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from builtup.geo.grid import Grid
from builtup.scoring.blocks import BlockRow, Place, write_blocks

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks" / "studies"))

import ablation
import left_out_cities
import real_blocks

from builtup.config import load as configs

CONFIGS = Path(__file__).parents[1] / "configs" / "train"
UTM = rasterio.CRS.from_epsg(32650)


def rows(tp: int, fp: int, fn: int, tn: int, seed: int = 0) -> list[BlockRow]:
    counts = np.array([[tp, fp, fn, tn], [tp + 1, fp, fn, tn]])
    return [BlockRow(seed, Place("50TMK_A", "50TMK_A", 0, 0), "s1a_50TMK_20200101", counts)]


def test_counts_of_a_cross_validation_are_read_by_threshold(tmp_path: Path) -> None:
    path = tmp_path / "blocks.csv"
    write_blocks(path, rows(5, 3, 2, 10))
    chosen = real_blocks.read_counts(path, "_chosen")[0]["50TMK_A"]
    half = real_blocks.read_counts(path, "_half")[0]["50TMK_A"]
    assert chosen.tolist() == [5, 3, 2, 20] and half.tolist() == [6, 3, 2, 21]
    assert real_blocks.f1(chosen) == pytest.approx(2 * 5 / (2 * 5 + 3 + 2))


def test_built_up_everywhere_finds_all_and_is_wrong_on_the_rest() -> None:
    everything = real_blocks.everywhere(np.array([5, 3, 2, 20]))
    assert everything.tolist() == [7, 13, 0, 20]
    assert real_blocks.f1(everything) == pytest.approx(2 * 7 / (2 * 7 + 13))


def test_a_mean_of_maps_is_invalid_where_one_is() -> None:
    one, other = np.array([[0, 100, 255]], np.uint8), np.array([[51, 255, 7]], np.uint8)
    assert ablation.mean_of([one, other]).tolist() == [[26, 255, 255]]


def test_a_map_on_a_grid_one_pixel_to_the_east_moves_with_it() -> None:
    values = np.arange(0, 200, 4, dtype=np.uint8).reshape(5, 10)
    grid = Grid(UTM, Affine(10, 0, 500_000, 0, -10, 4_400_000), 10, 5)
    moved = Grid(UTM, Affine(10, 0, 500_010, 0, -10, 4_400_000), 10, 5)
    found = ablation.on_grid(values, grid, moved)
    assert (found[:, :-1] == values[:, 1:]).all() and (found[:, -1] == 255).all()


def test_a_variant_that_is_clearly_worse_is_called_so_and_a_twin_is_not() -> None:
    def town(correct: float, seed: int) -> list[BlockRow]:
        found = []
        for number in range(40):
            generator = np.random.default_rng((number, seed))
            tp = int(100 * correct) + int(generator.integers(0, 5))
            counts = np.array([[tp, 10, 110 - tp, 900]] * 2)
            place = Place("50TMK_A", "50TMK_A", number, 0)
            found.append(BlockRow(seed, place, "s1a_50TMK_20200101", counts))
        return found

    found = {
        "base": [*town(0.9, 0), *town(0.9, 1)],
        "twin": [*town(0.9, 2), *town(0.9, 3)],
        "worse": [*town(0.5, 0), *town(0.5, 1)],
    }
    text = ablation.table(found, "base")
    of = {line.split("|")[1].strip(): line for line in text.splitlines()}
    assert "cannot be told apart" in of["twin"] and of["worse"].rstrip(" |").endswith("worse")


@pytest.mark.parametrize("name", list(ablation.VARIANTS))
def test_a_variant_differs_from_the_base_in_what_its_name_says(name: str) -> None:
    stem, settings = ablation.VARIANTS[name]
    config = configs.load(CONFIGS / f"{stem}.py", f"{settings} data_path=nowhere val_fold=none")
    assert config.build("model") is not None and config.build("criterion") is not None


def test_baselines_of_the_left_out_cities_take_the_crops_that_are_stated() -> None:
    for name, settings in left_out_cities.SETTINGS.items():
        config = configs.load(CONFIGS / f"{name}.py", f"data_path=nowhere {settings}")
        assert (config.crop, config.batch_size, config.accumulation_steps) == (96, 16, 1)
