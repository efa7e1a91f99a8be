"""The counts behind the table of buildings from drones."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import open_cities

from helpers import write_raster

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
