from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyogrio.raw
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio import features
from scipy import ndimage

from builtup.geo.windows import tiling
from builtup.maps.submission import to_submission
from builtup.runs.results import PredictionTags
from helpers import TRANSFORM, write_raster


def write_tiles(folder: Path, prob: NDArray[np.uint8], date: str) -> None:
    """A scene's predicted tiles, as inference leaves them."""
    height, width = prob.shape
    scene = f"s1a_38SLF_{{}}_ASC_{date}"
    tags = PredictionTags(scene, "38SLF_Alpha", width, height, "run", 0.5, ("building",))
    for window in tiling(width, height, 32, 8):
        path = folder / "raw" / f"s1a_38SLF_ASC_{date}_tiles" / f"tile_{window.x}_{window.y}.tif"
        transform = TRANSFORM @ Affine.translation(window.x, window.y)
        write_raster(path, prob[window.slices], transform, nodata=255)
        with rasterio.open(path, "r+") as dataset:
            dataset.update_tags(**tags.as_gdal())


def probabilities(seed: int) -> NDArray[np.uint8]:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(70, 90)), 2)
    prob = np.clip(100 + 60 * noise / noise.std(), 0, 254).astype(np.uint8)
    prob[:20, :15] = 255
    return prob


def digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((folder / "raw").iterdir())
        if path.is_file()
    }


def test_tiles_of_two_dates_become_polygons_that_rasterise_to_the_mask(tmp_path: Path) -> None:
    for date in ("20150101", "20150113"):
        write_tiles(tmp_path, probabilities(int(date)), date)
    summaries = to_submission(input_path=str(tmp_path), num_workers=1)
    assert [s.step for s in summaries] == ["merge_tiles", "all_agg_by_city", "polygonize"]
    assert [s.done for s in summaries] == [2, 1, 1]
    with rasterio.open(tmp_path / "raw" / "38SLF_Alpha.tif") as dataset:
        mask, transform = dataset.read(1), dataset.transform
    _, _, wkb, _ = pyogrio.raw.read(tmp_path / "raw" / "38SLF_Alpha.shp")
    outlines = shapely.from_wkb(wkb)
    assert len(outlines) > 5
    burnt = features.rasterize(outlines, out_shape=mask.shape, transform=transform)
    assert ((mask == 1) == burnt).all()
    assert set(np.unique(mask)) == {0, 1, 255}
    again = to_submission(input_path=str(tmp_path), num_workers=1)
    assert [s.done for s in again] == [0, 0, 0]


def test_another_threshold_redoes_what_depends_on_it(tmp_path: Path) -> None:
    write_tiles(tmp_path, probabilities(1), "20150101")
    to_submission(input_path=str(tmp_path), num_workers=1)
    first = digests(tmp_path)
    summaries = to_submission(input_path=str(tmp_path), threshold="0.3", num_workers=1)
    assert [s.done for s in summaries] == [0, 1, 1]
    second = digests(tmp_path)
    assert first["38SLF_Alpha.shp"] != second["38SLF_Alpha.shp"]
    assert first["s1a_38SLF_prob_ASC_20150101.tif"] == second["s1a_38SLF_prob_ASC_20150101.tif"]
    to_submission(input_path=str(tmp_path), num_workers=1)
    assert digests(tmp_path) == first


def test_results_of_a_run_in_a_remote_store_are_uploaded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from builtup.maps import cities, mosaic, polygonize, submission
    from builtup.runs import results

    write_tiles(tmp_path, probabilities(1), "20150101")
    uploaded = []
    remote = results.Results(tmp_path, "some_run", remote=True)
    monkeypatch.setattr(submission, "resolve_results", lambda path, run: remote)
    for module in (cities, mosaic, polygonize, submission):
        monkeypatch.setattr(
            module, "upload_results", lambda r: uploaded.append(r) if r.remote else None
        )
    to_submission(run_id="some_run", num_workers=1)
    assert uploaded == [remote]
    assert (tmp_path / "raw" / "38SLF_Alpha.shp").exists()
