from __future__ import annotations

import logging
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from builtup.geo.write_errors import failed_writes

LOG = logging.getLogger("rasterio._env")

#: Parts of blocks stay in GDAL's cache until the file is closed, where there is no room for them.
FULL_AT_CLOSING = """
import sys
import numpy as np, rasterio
from rasterio.windows import Window
from builtup.geo.write_errors import failed_writes

layout = {"dtype": "uint8", "tiled": True, "blockxsize": 512, "blockysize": 512}
try:
    with failed_writes() as failures, rasterio.Env(GDAL_CACHEMAX=64 * 2**20):
        with rasterio.open(
            sys.argv[1], "w", driver="GTiff", width=600, height=600, count=1, **layout
        ) as out:
            for x in range(0, 600, 60):
                out.write(np.full((1, 600, 60), 7, "u1"), window=Window(x, 0, 60, 600))
    print("rasterio said nothing")
finally:
    print(len(failures), "failures logged")
"""


def limit_file_size() -> None:
    """A limit on the size of files stands for a full disk: the write fails in the same way."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))


def test_rasterio_does_not_raise_by_itself_what_fails_at_closing_but_logs_it(
    tmp_path: Path,
) -> None:
    """Once this fails because rasterio raises, geo/write_errors.py can go, and with it what
    geo/rasters.py does with it; once it fails because nothing is logged, it must listen elsewhere.
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FULL_AT_CLOSING, tmp_path / "a.tif"],
        preexec_fn=limit_file_size,
        capture_output=True,
        text=True,
        check=False,
    )
    said, logged = done.stdout.strip().splitlines()
    assert said == "rasterio said nothing"
    assert int(logged.split()[0]) > 0
    assert (tmp_path / "a.tif").stat().st_size <= 200_000


@pytest.mark.parametrize(
    ("level", "message", "is_failure"),
    [
        (logging.INFO, "GDAL signalled an error: err_no=3, msg='Write error at scanline 7'", True),
        (logging.INFO, "GDAL signalled an error: err_no=1, msg='No space left on device'", True),
        (logging.INFO, "GDAL signalled an error: err_no=1, msg='Unknown CRS'", False),
        (logging.INFO, "Sharing deferred write", False),
        (logging.ERROR, "CPLE_AppDefined in anything at all", True),
    ],
)
def test_of_what_rasterio_logs_failed_writes_are_told_apart(
    level: int, message: str, is_failure: bool
) -> None:
    with failed_writes() as failures:
        LOG.log(level, message)
    assert failures == ([message] if is_failure else [])
    LOG.error("afterwards")
    assert len(failures) == is_failure


def test_contexts_within_each_other_each_get_all_and_leave_the_logger_as_it_was() -> None:
    before = LOG.level, list(LOG.filters)
    LOG.setLevel(logging.CRITICAL)  # as the command line has it
    try:
        with failed_writes() as outer:
            with failed_writes() as inner:
                LOG.error("one")
            LOG.error("two")
        assert (inner, outer) == (["one"], ["one", "two"])
        assert LOG.level == logging.CRITICAL
    finally:
        LOG.setLevel(before[0])
    assert (LOG.level, list(LOG.filters)) == before
