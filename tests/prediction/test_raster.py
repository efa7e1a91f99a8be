"""Whatever can be read by windows becomes a raster of probabilities, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from builtup.errors import InputError
from builtup.geo.grid import Grid
from builtup.geo.windows import Window
from builtup.prediction.network import predict_array
from builtup.prediction.raster import Predicted, predict_raster
from builtup.prediction.windows import Stream

Float = NDArray[np.float32]
GRID = Grid(CRS.from_epsg(32638), Affine(10, 0, 3e5, 0, -10, 4e6), 50, 40)
STREAM = Stream(lambda power: power[:, :1].clone(), window=16, overlap=4)


@contextmanager
def held(scene: Float) -> Iterator[Callable[[Window], Float]]:
    """What reads an array by windows."""
    yield lambda window: scene[:, *window.slices]


def test_an_array_behind_a_reader_is_predicted_as_it_is(tmp_path: Path) -> None:
    scene = np.random.default_rng(0).random((2, 40, 50), dtype=np.float32)
    scene[:, 5:9, :30] = np.nan
    seen: list[int] = []
    done = predict_raster(
        partial(held, scene), GRID, STREAM, tmp_path / "p.tif", name="it", advance=seen.append
    )
    with rasterio.open(tmp_path / "p.tif") as out:
        np.testing.assert_array_equal(out.read(), predict_array(scene, STREAM))
        assert out.transform == GRID.transform
    assert done == Predicted(windows=12, pixels=2000, valid=True)
    assert sum(seen) == 2000


def test_a_raster_without_a_valid_pixel_is_refused_by_its_name(tmp_path: Path) -> None:
    scene = np.full((2, 40, 50), np.nan, np.float32)
    with pytest.raises(InputError, match=r"^it: no pixel is valid"):
        predict_raster(partial(held, scene), GRID, STREAM, tmp_path / "p.tif", name="it")
    assert list(tmp_path.iterdir()) == []
