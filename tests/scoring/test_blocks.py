"""Counts by blocks of ground: each pixel once, dates of shifted grids in the same blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score

from builtup.errors import BuiltupError, InputError
from builtup.geo.grid import Grid
from builtup.geo.windows import Window, aligned
from builtup.scoring.blocks import (
    BLOCK,
    BlockCounter,
    BlockMatrices,
    BlockTable,
    read_blocks,
    write_blocks,
)
from builtup.scoring.counts import confusion, f1, iou
from helpers import CRS
from tile_data import moved


def grid(height: int = 150, width: int = 200, dx: float = 0, dy: float = 0) -> Grid:
    from rasterio.crs import CRS as RasterioCRS

    return Grid(RasterioCRS.from_string(CRS), moved(dx, dy), width, height)


def tile(seed: int = 0, shape: tuple[int, int] = (150, 200)) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    building = generator.integers(0, 256, shape, dtype=np.uint8)
    truth = generator.choice([0, 1, 255], shape, p=[0.6, 0.3, 0.1])
    return building, truth


def add(
    counter: BlockCounter,
    grid: Grid,
    building: np.ndarray,
    truth: np.ndarray,
    levels: tuple[int, int] = (90, 127),
    scene: str = "scene",
) -> None:
    mapped = np.stack([building >= level for level in levels])
    counter.add("city", scene, grid, mapped, truth == 1, (truth != 255) & (building != 255))


def test_counts_are_the_confusion_matrix_of_scikit_learn() -> None:
    building, truth = tile()
    counter = BlockCounter("fold", 0)
    add(counter, grid(), building, truth)
    total = BlockTable.of(counter.rows()).counts.sum(axis=(0, 1))
    valid = (truth != 255) & (building != 255)
    for level, (tp, fp, fn, tn) in zip((90, 127), total, strict=True):
        mapped = building[valid] >= level
        expected = confusion_matrix(truth[valid], mapped)
        assert [[tn, fp], [fn, tp]] == expected.tolist()
        assert f1(np.array([tp, fp, fn, tn])) == pytest.approx(f1_score(truth[valid], mapped))
        assert iou(np.array([tp, fp, fn, tn])) == pytest.approx(jaccard_score(truth[valid], mapped))


def test_tiles_of_a_scene_add_up_to_the_scene() -> None:
    building, truth = tile()
    whole, parts = BlockCounter("f", 0), BlockCounter("f", 0)
    add(whole, grid(), building, truth)
    for y in (0, 70):
        for x in (0, 90):
            rows, columns = slice(y, 70 if y == 0 else 150), slice(x, 90 if x == 0 else 200)
            height, width = building[rows, columns].shape
            window = grid().window(x, y, width, height)
            add(parts, window, building[rows, columns], truth[rows, columns])
    for one, other in zip(whole.rows(), parts.rows(), strict=True):
        assert one.place == other.place
        assert (one.counts == other.counts).all()


def test_a_shifted_date_shares_its_blocks() -> None:
    truth = np.ones((BLOCK, BLOCK), int)
    building = np.full((BLOCK, BLOCK), 200, np.uint8)
    counter = BlockCounter("f", 0)
    add(counter, grid(BLOCK, BLOCK), building, truth, scene="one")
    add(counter, grid(BLOCK, BLOCK, dx=0.2), building, truth, scene="two")
    rows = counter.rows()
    assert {row.place for row in rows if row.scene == "one"} == {
        row.place for row in rows if row.scene == "two"
    }
    # a date that begins 10 pixels further east is cut where the other is cut
    columns = {}
    for dx in (0, 10):
        single = BlockCounter("f", 0)
        wide = grid(BLOCK, 3 * BLOCK, dx=dx)
        add(single, wide, np.repeat(building, 3, 1), np.repeat(truth, 3, 1))
        columns[dx] = {r.place.column: int(r.counts[0].sum()) for r in single.rows()}
    shared = sorted(set(columns[0]) & set(columns[10]))[1:-1]
    assert shared and all(columns[0][c] == columns[10][c] for c in shared)


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    building, truth = tile(3)
    counter = BlockCounter("38SLF_Alpha/r0c1", 7)
    add(counter, grid(), building, truth, scene="s1a_38SLF_{}_20150101")
    write_blocks(tmp_path / "blocks.csv", counter.rows())
    for one, other in zip(counter.rows(), read_blocks(tmp_path / "blocks.csv"), strict=True):
        assert (one.seed, one.place, one.scene) == (other.seed, other.place, other.scene)
        assert (one.counts == other.counts).all()
    (tmp_path / "blocks.csv").write_text("seed,fold\n1,2\n")
    with pytest.raises(InputError, match="no counts by block"):
        read_blocks(tmp_path / "blocks.csv")


def test_scores_without_a_building_in_the_truth_are_undefined() -> None:
    counts = np.array([[0, 5, 0, 95], [0, 0, 0, 100], [0, 0, 3, 97]])
    assert np.isnan(f1(counts)).tolist() == [True, True, False]
    assert iou(counts)[2] == 0


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 50), st.integers(0, 2**32 - 1))
def test_matrices_of_blocks_are_those_of_their_pixels_however_windows_cut_them(
    height: int, width: int, side: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    truth, label = (
        generator.choice([0, 1, 2, 255], (height, width)).astype(np.uint8) for _ in range(2)
    )
    counter = BlockMatrices(3, side)
    for window in aligned(width, height, (7, 11)):
        counter.add(window, truth[window.slices], label[window.slices])
    expected = [
        confusion(truth[y : y + side, x : x + side], label[y : y + side, x : x + side], 3)
        for y in range(0, height, side)
        for x in range(0, width, side)
    ]
    expected = [matrix for matrix in expected if matrix.any()]
    assert counter.counts.shape == (len(expected), 3, 3)
    assert all((one == other).all() for one, other in zip(counter.counts, expected, strict=True))


def test_a_class_beyond_the_number_is_refused() -> None:
    counter = BlockMatrices(2, 64)
    with pytest.raises(BuiltupError, match="holds class 2"):
        counter.add(Window(0, 0, 1, 1), np.full((1, 1), 2, np.uint8), np.zeros((1, 1), np.uint8))
