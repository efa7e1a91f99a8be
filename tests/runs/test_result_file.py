"""What a file or folder of results says of itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from builtup.errors import InputError
from builtup.runs.result_file import result_of
from builtup.runs.results import PredictionTags, write_tags


def test_a_raster_and_its_folder_name_the_run_and_what_names_none_is_refused(
    tmp_path: Path,
) -> None:
    (tmp_path / "raw").mkdir()
    path = tmp_path / "raw" / "38SLF_Alpha.tif"
    for run_id in ("", "abc"):
        profile = {"width": 3, "height": 2, "count": 1, "dtype": "uint8"}
        with rasterio.open(path, "w", driver="GTiff", **profile) as dataset:
            dataset.write(np.zeros((1, 2, 3), np.uint8))
            write_tags(dataset, PredictionTags("", "38SLF_Alpha", 3, 2, run_id, 0.37))
        if not run_id:
            with pytest.raises(InputError, match="names no run"):
                result_of(path)
    result = result_of(path)
    assert (result.runs, result.city, result.threshold) == (("abc",), "38SLF_Alpha", "0.37")
    folder = result_of(tmp_path)
    assert (folder.runs, folder.city, folder.sha256) == (("abc",), "", "")
    with pytest.raises(InputError, match="does not exist"):
        result_of(tmp_path / "nothing")
