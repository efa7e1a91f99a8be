"""Merging and aggregating, killed at random moments and run again, leave the same bytes."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio.crs import CRS as RasterioCRS

from builtup.geo.grid import Grid
from builtup.geo.windows import tiling
from builtup.maps.cities import all_agg_by_city
from builtup.maps.mosaic import merge_tiles
from builtup.prediction.tiles import write_tile
from builtup.runs.results import PredictionTags
from builtup.tiles.tile import tile_name
from forks import processes_with
from helpers import CRS, TRANSFORM

KILLS = 12
SIZE = 700


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiles of three dates of a city, one on a grid of its own."""
    root = tmp_path_factory.mktemp("predicted")
    generator = np.random.default_rng(0)
    for number, date in enumerate(("20150101", "20150113", "20150125")):
        scene = f"s1a_38SLF_{{}}_ASC_{date}"
        transform = TRANSFORM @ TRANSFORM.translation(0.3, 0) if number == 2 else TRANSFORM
        grid = Grid(RasterioCRS.from_user_input(CRS), transform, SIZE, SIZE)
        tags = PredictionTags(scene, "38SLF_Alpha", SIZE, SIZE, "run", 0.5, ("a", "b"))
        folder = root / "raw" / f"{scene.replace('{}', '3b')}_tiles"
        for w in tiling(SIZE, SIZE, 256, 64):
            values = generator.integers(0, 256, (1, w.height, w.width), dtype=np.uint8)
            place = grid.window(w.x, w.y, w.width, w.height)
            write_tile(folder / tile_name(w.x, w.y), values, place, tags)
    return root


@pytest.fixture(scope="module")
def processes() -> Iterator[Any]:
    with processes_with("builtup.maps.cities", "builtup.maps.mosaic") as context:
        yield context


def outputs(root: Path) -> dict[str, bytes]:
    """All rasters, and whatever else lies about, but for manifests (they hold times)."""
    files = [p for p in (root / "raw").iterdir() if p.is_file()]
    return {path.name: path.read_bytes() for path in files}


def survive(
    processes: Any, step: Callable[..., Any], root: Path, expected: dict[str, bytes]
) -> int:
    """Kill the step at random moments, each time going on; return how many kills hit it."""
    options = {"input_path": str(root), "num_workers": 1}
    sources = set(outputs(root))
    moments = random.Random(0)
    hits = 0
    longest = 0.6
    for _ in range(KILLS):
        process = processes.Process(target=step, kwargs=options)
        process.start()
        process.join(moments.uniform(0.02, longest))
        hits += process.is_alive()
        process.kill()
        process.join()
        if process.exitcode == 0:  # it had finished: begin anew, and strike earlier
            assert outputs(root) == expected
            for name in set(outputs(root)) - sources:
                (root / "raw" / name).unlink()
            longest /= 2
    step(**options)
    return hits


@pytest.mark.parametrize("step", [merge_tiles, all_agg_by_city])
def test_killed_and_run_again_the_same_bytes(
    predicted: Path, processes: Any, tmp_path: Path, step: Callable[..., Any]
) -> None:
    calm, hunted = tmp_path / "calm", tmp_path / "hunted"
    shutil.copytree(predicted, calm)
    shutil.copytree(predicted, hunted)
    merge_tiles(input_path=str(calm), num_workers=1)
    expected = outputs(calm)
    if step is all_agg_by_city:
        merge_tiles(input_path=str(hunted), num_workers=1)
        all_agg_by_city(input_path=str(calm), num_workers=1)
        expected = outputs(calm)
    hits = survive(processes, step, hunted, expected)
    assert hits >= 3
    assert outputs(hunted) == expected
