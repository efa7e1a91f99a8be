"""Reading and writing rasters: every failure is noticed and named."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS as RasterioCRS

from builtup.errors import InputError, OutputError
from builtup.geo.grid import Grid
from builtup.geo.rasters import (
    create_cog,
    create_raster,
    gdal_env,
    open_on,
    open_raster,
    read_window,
)
from builtup.geo.windows import Window
from helpers import CRS, TRANSFORM, speckle, write_raster

GRID = Grid(RasterioCRS.from_string(CRS), TRANSFORM, 300, 200)
PROFILE = {"width": 300, "height": 200, "count": 1, "dtype": "float32"}


def test_a_window_is_the_part_of_the_whole(tmp_path: Path) -> None:
    values = speckle((20, 30))
    path = write_raster(tmp_path / "a.tif", values)
    with open_raster(path) as dataset:
        part = read_window(dataset, Window(3, 5, 7, 11), 1)
        np.testing.assert_array_equal(part, values[3:10, 5:16])
        np.testing.assert_array_equal(read_window(dataset), values[None])
        assert Grid.of(dataset) == Grid(GRID.crs, TRANSFORM, 30, 20)


@pytest.mark.parametrize(
    ("content", "why"), [(None, "no such file"), (b"", "empty file"), (b"x" * 99, "not a readable")]
)
def test_what_is_no_raster_is_refused(tmp_path: Path, content: bytes | None, why: str) -> None:
    path = tmp_path / "a.tif"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=why), open_raster(path):
        pass


def test_a_file_of_another_format_is_refused_whatever_its_name(tmp_path: Path) -> None:
    elsewhere = write_raster(tmp_path / "secret" / "a.tif", speckle((20, 30)))
    path = tmp_path / "scene.tif"
    rasterio.shutil.copy(elsewhere, path, driver="VRT")
    with rasterio.open(path) as dataset:  # GDAL alone looks at the content and follows it
        assert dataset.driver == "VRT"
    refused = pytest.raises(InputError, match=r"scene\.tif: not a readable .* as GeoTIFF")
    with refused, open_raster(path):
        pass


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # of writing it
def test_a_missing_georeference_is_left_to_the_caller_without_a_warning(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", speckle((20, 30)), transform=None, crs=None)
    with warnings.catch_warnings(action="error"), open_raster(path) as dataset:
        assert dataset.transform.is_identity


@pytest.mark.parametrize("layout", [{}, {"compress": "deflate", "tiled": True}])
def test_a_truncated_raster_is_refused_where_it_ends(
    tmp_path: Path, layout: dict[str, object]
) -> None:
    path = write_raster(tmp_path / "a.tif", speckle((600, 600)), **layout)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    why = r"a\.tif: (cannot be read to its end|not a readable)"
    with pytest.raises(InputError, match=why), open_raster(path) as dataset:
        read_window(dataset)


def test_reading_leaves_no_file_beside_somebody_s_data(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", speckle((20, 30)))
    with gdal_env(), open_raster(path) as dataset:
        dataset.stats()
    assert [file.name for file in tmp_path.iterdir()] == ["a.tif"]


def test_a_folder_that_is_not_there_is_an_output_error(tmp_path: Path) -> None:
    missing = create_raster(tmp_path / "absent" / "a.tif", **PROFILE)
    with pytest.raises(OutputError, match="cannot be written"), missing:
        pass


FULL = """
import sys, numpy as np
from pathlib import Path
from builtup.errors import OutputError
from builtup.jobs.files import atomic_path
from builtup.geo.rasters import create_raster
try:
    with atomic_path(Path(sys.argv[1])) as path:
        with create_raster(path, width=600, height=600, count=1, dtype="float32") as out:
            out.write(np.random.rand(1, 600, 600).astype("f4"))
except OutputError as e:
    print(e)
"""


#: Parts of blocks stay in GDAL's cache until the file is closed; the command line silences GDAL.
FULL_AT_CLOSING = """
import logging, sys
from pathlib import Path
import numpy as np
from affine import Affine
from rasterio.crs import CRS
from builtup.errors import OutputError
from builtup.geo.grid import Grid
from builtup.geo.rasters import create_cog, gdal_env
from rasterio.windows import Window

logging.getLogger("rasterio").setLevel(logging.CRITICAL)
grid = Grid(CRS.from_epsg(32638), Affine(10, 0, 3e5, 0, -10, 4e6), 600, 600)
try:
    path = Path(sys.argv[1])
    with gdal_env(), create_cog(path, grid, count=1, dtype="uint8", nodata=255) as out:
        for x in range(0, 600, 60):
            out.write(np.full((1, 600, 60), 7, "u1"), window=Window(x, 0, 60, 600))
except OutputError as e:
    print(e)
print(len(logging.getLogger("rasterio._env").filters), logging.getLogger("rasterio._env").level)
"""


def limit_file_size() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_an_output_that_does_not_fit_is_noticed_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk: the write fails in the same way."""
    final = tmp_path / "out" / "a.tif"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FULL, final],
        preexec_fn=limit_file_size,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(f"{final}: cannot be written")
    assert list(final.parent.iterdir()) == []


def test_a_block_that_does_not_fit_at_closing_is_noticed_too(tmp_path: Path) -> None:
    final = tmp_path / "out" / "a.tif"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FULL_AT_CLOSING, final],
        preexec_fn=limit_file_size,
        capture_output=True,
        text=True,
        check=True,
    )
    error, left = done.stdout.strip().splitlines()
    assert error.startswith(f"{final}: cannot be written")
    assert ".partial" not in error
    assert left == "0 0"  # the logger is as it was
    assert list(final.parent.iterdir()) == []


def test_a_cog_holds_what_was_written_in_any_order(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (200, 300)).astype(np.uint8)
    windows = [Window(y, x, 50, 100) for y in range(0, 200, 50) for x in range(0, 300, 100)]
    files = []
    for order in (windows, windows[::-1]):
        files.append(tmp_path / f"{len(files)}.tif")
        with gdal_env(), create_cog(files[-1], GRID, count=1, dtype="uint8", nodata=255) as out:
            for window in order:
                out.write(values[window.slices], 1, window=window.rasterio)
    with rasterio.open(files[0]) as dataset:
        np.testing.assert_array_equal(dataset.read(1), values)
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert files[0].read_bytes() == files[1].read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_overviews_of_a_cog_are_those_of_gdals_own_driver(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (700, 1500)).astype(np.uint8)
    grid = Grid(GRID.crs, GRID.transform, 1500, 700)
    ours, gdals = tmp_path / "ours.tif", tmp_path / "gdals.tif"
    with gdal_env(), create_cog(ours, grid, count=1, dtype="uint8", nodata=255) as out:
        out.write(values, 1)
    with rasterio.open(ours) as dataset:
        assert dataset.overviews(1) == [2, 4]
    plain = {"overviews": "NONE", "driver": "COG"}
    rasterio.shutil.copy(ours, tmp_path / "plain.tif", **plain)
    rasterio.shutil.copy(tmp_path / "plain.tif", gdals, driver="COG", overview_resampling="average")
    for level in (0, 1):
        with (
            rasterio.open(ours, overview_level=level) as a,
            rasterio.open(gdals, overview_level=level) as b,
        ):
            np.testing.assert_array_equal(a.read(), b.read())


def test_a_raster_is_read_on_another_grid_where_it_lies_on_one(tmp_path: Path) -> None:
    values = np.arange(200, dtype=np.uint8).reshape(10, 20)
    values[0, 0] = 255
    path = write_raster(tmp_path / "a.tif", values, nodata=255)
    own = Grid(GRID.crs, TRANSFORM, 20, 10)
    with open_on(path, own) as same:
        np.testing.assert_array_equal(read_window(same, None, 1), values)
    moved = own.window(3, 2, 20, 10)  # by whole pixels, beyond the raster's edges
    with open_on(path, moved) as warped:
        found = read_window(warped, None, 1)
        assert Grid.of(warped) == moved
    np.testing.assert_array_equal(found[:8, :17], values[2:, 3:])
    assert (found[8:] == 255).all() and (found[:, 17:] == 255).all()


def test_a_png_that_is_cut_off_is_refused_which_gdal_would_fill(tmp_path: Path) -> None:
    from PIL import Image

    values = np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    with open_raster(tmp_path / "a.png", ("PNG",)) as dataset:
        assert (dataset.read(1) == values).all()
    content = (tmp_path / "a.png").read_bytes()
    for end in (len(content) - 12, len(content) // 2, 40, 12):
        (tmp_path / "a.png").write_bytes(content[:end])
        with (
            pytest.raises(InputError, match=r"a\.png: cannot be read to its end \(cut off\)"),
            open_raster(tmp_path / "a.png", ("PNG",)),
        ):
            pass
    (tmp_path / "a.png").write_bytes(content + b"what some programs add")
    with open_raster(tmp_path / "a.png", ("PNG",)) as dataset:
        assert (dataset.read(1) == values).all()
