"""Opening rasters, here or elsewhere: GeoTIFFs only, and tried again where a network fails.

What stands beside a raster counts where it lies here (`builtup.geo.side_files`); elsewhere each
look for such a file would be a request, and none is made.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from builtup.errors import InputError
from builtup.geo.locations import Location
from builtup.geo.rasters import gdal_env, gdal_message
from builtup.geo.side_files import SIDE_FILES
from builtup.geo.windows import Window
from builtup.jobs.retries import Retries
from builtup.jobs.store import s3_endpoint

__all__ = ["Raster", "as_float", "gdal_endpoint", "open_location"]

Result = TypeVar("Result")

#: What another try does not change.
_FINAL = re.compile(
    r"response code: 40[0134]|Access ?Denied|NoSuchKey|NoSuchBucket|InvalidAccessKey|"
    r"specified (key|bucket) does not exist|"
    r"not recognized as being in a supported|No valid .* credentials",
    re.IGNORECASE,
)
#: What TIFFs say whose end is missing; over a network only the last try tells it from a lost one.
_CUT_SHORT = re.compile(r"got \d+ bytes, expected \d+")
#: Time limits in seconds; GDAL itself tries again where a server says that it is busy.
_NETWORK = {
    "GDAL_HTTP_CONNECTTIMEOUT": 20,
    "GDAL_HTTP_TIMEOUT": 120,
    "GDAL_HTTP_MAX_RETRY": 2,
    "GDAL_HTTP_RETRY_DELAY": 1,
}
#: Between tries at what is read over a network.
RETRIES = Retries()


class Raster:
    """An open raster, read by windows; one elsewhere is opened again where a read fails."""

    def __init__(self, location: Location, retries: Retries = RETRIES) -> None:
        self.location = location
        self.retries = retries
        self.dataset: DatasetReader = self._persistent(self._open)

    def read(self, window: Window, band: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """A window of a band, as it is stored, or put into `out` (height, width).

        InputError where it cannot be read.
        """
        values: NDArray[Any] = self._persistent(lambda: self._read(window, band, out))
        return values

    def read_mask(self, window: Window, band: int) -> NDArray[np.uint8]:
        """GDAL's mask of a window of a band, (height, width), 0 where it hides a pixel."""
        mask: NDArray[np.uint8] = self._persistent(
            lambda: self._opened().read_masks(band, window=window.rasterio)
        )
        return mask

    def close(self) -> None:
        """Close it."""
        self.dataset.close()

    def _open(self) -> DatasetReader:
        drivers = None if self.location.any_format else "GTiff"
        if self.location.remote:
            return rasterio.open(self.location.name, driver=drivers)
        with rasterio.Env(**SIDE_FILES):
            return rasterio.open(self.location.name, driver=drivers)

    def _read(self, window: Window, band: int, out: NDArray[Any] | None) -> NDArray[Any]:
        return self._opened().read(band, window=window.rasterio, out=out)

    def _opened(self) -> DatasetReader:
        if self.dataset.closed:
            self.dataset = self._open()
        return self.dataset

    def _persistent(self, action: Callable[[], Result]) -> Result:
        location = self.location
        if not location.remote:
            try:
                return action()
            except RasterioError as e:
                raise self._error(e, 1) from e
        options: dict[str, Any] = _NETWORK | gdal_endpoint()
        tries = 0

        def action_elsewhere() -> Result:
            nonlocal tries
            tries += 1
            if tries > 1:
                # what failed is remembered by GDAL otherwise
                options["CPL_VSIL_CURL_NON_CACHED"] = location.name
                if hasattr(self, "dataset"):
                    self.dataset.close()
            with gdal_env(**options):  # of this thread: GDAL's options are
                return action()

        try:
            return self.retries.call(action_elsewhere, _may_pass, location.shown, _reason)
        except RasterioError as e:
            raise self._error(e, tries) from e

    def _error(self, e: Exception, tries: int) -> InputError:
        shown, opened = self.location.shown, hasattr(self, "dataset")
        if self.location.remote:
            times = f" in {tries} tries" if tries > 1 else ""
            remedy = "check the address, the network and your rights; run again to go on"
            if _CUT_SHORT.search(_reason(e)):
                remedy = "check that it is whole, or upload it again; run again to go on"
            return InputError(shown, f"cannot be read{times} ({_reason(e)})", remedy)
        gone = not os.path.exists(self.location.name)  # noqa: PTH110, a name may be too long
        if opened or gone:
            problem = "no such file" if gone else f"cannot be read to its end ({_reason(e)})"
            return InputError(shown, problem, "copy or download it again, then run again to go on")
        if self.location.path.stat().st_size == 0:
            return InputError(shown, "empty file (0 bytes)", "copy or download it again")
        if not os.access(self.location.name, os.R_OK):
            problem = "may not be read (Permission denied)"
            return InputError(shown, problem, "give yourself the right to read it (chmod)")
        return InputError(
            shown, f"not a readable GeoTIFF ({_reason(e)})", "copy it again, or export a GeoTIFF"
        )


@contextmanager
def open_location(location: Location, retries: Retries = RETRIES) -> Iterator[Raster]:
    """Open a raster; InputError, in one line, where that cannot be."""
    raster = Raster(location, retries)
    try:
        yield raster
    finally:
        raster.close()


def as_float(stored: NDArray[Any]) -> NDArray[np.float32]:
    """Stored values as float32; infinite, and so invalid, is what that cannot hold: ±1.8e308, the
    no-data value of others' float64 rasters."""
    with np.errstate(over="ignore"):
        return stored.astype(np.float32, copy=False)


def gdal_endpoint() -> dict[str, str]:
    """Where an object store answers, as GDAL's options: it does not know AWS_ENDPOINT_URL.

    What GDAL was told by its own variables is left alone.
    """
    endpoint = s3_endpoint()
    if endpoint is None or "AWS_S3_ENDPOINT" in os.environ:
        return {}
    protocol, host = endpoint
    # other stores than Amazon's have no name in DNS for each bucket
    style = os.environ.get("AWS_VIRTUAL_HOSTING", "FALSE")
    secure = "NO" if protocol == "http" else "YES"
    return {"AWS_S3_ENDPOINT": host, "AWS_HTTPS": secure, "AWS_VIRTUAL_HOSTING": style}


def _may_pass(e: Exception) -> bool:
    return isinstance(e, RasterioError) and not _FINAL.search(_reason(e))


def _reason(e: Exception) -> str:
    """GDAL's message without a query, which may hold a signature."""
    return re.sub(r"\?\S*", "", gdal_message(e, None))[:160]
