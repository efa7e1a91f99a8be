from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pyogrio.raw
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from PIL import Image
from rasterio import features
from scipy import ndimage

from builtup.errors import ConfigError, InputError
from builtup.geo.windows import tiling
from builtup.maps.class_map import write_class_map
from builtup.maps.submission import to_submission
from builtup.maps.validate import validate
from builtup.options import PolygonOptions
from builtup.prediction.tiles import TileWork, predict_tiles, select_all
from builtup.prediction.windows import Stream
from builtup.runs.results import PredictionTags, write_tags
from builtup.sensors.classes import BUILT_UP
from helpers import TRANSFORM, write_polygons, write_raster
from tile_data import add_scene, power, tile_all

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


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


@pytest.mark.parametrize("materialize", [True, False])
def test_two_years_of_a_city_are_two_maps_scored_by_their_own_polygons(
    tmp_path: Path, materialize: bool
) -> None:
    """From scenes in folders <City>_<year> to scores; the town of 2015 has moved by 2020."""
    split, folder = tmp_path / "split", tmp_path / "out"
    for year, column in (("2015", 20), ("2020", 60)):
        for day in ("0101", "0113"):
            image = power((70, 90), gap=0) * np.float32(1e-3)
            image[1, 10:30, column : column + 20] = 1
            add_scene(tmp_path, f"Alpha_{year}", date=f"{year}{day}", image=image)
        left, top = TRANSFORM @ (column, 10)
        town = shapely.box(left + 1, top - 199, left + 199, top - 1)
        write_polygons(split / f"Alpha_{year}" / "38SLF_Alpha.shp", [town])
    selection = select_all(tile_all(tmp_path, materialize=materialize) / "images")
    stream = Stream(lambda bands: (bands[:, 1:2] > 0.5).float(), bands=1, window=32, overlap=8)
    predict_tiles(TileWork(selection, stream, 0.5, BUILT_UP, folder=folder), selection.tiles)

    def scores(years: str) -> dict[str, float]:
        to_submission(input_path=str(folder), years=years, num_workers=1)
        validate(preds_path=str(folder), gt_path=split)
        found = json.loads((folder / "validation.json").read_text())["scores"]
        return {name: row["f1"] for name, row in found.items() if name.startswith("38SLF")}

    assert scores("apart") == {"38SLF_Alpha": 1, "38SLF_Alpha_2020": 1}
    assert (folder / "raw" / "38SLF_Alpha_2020.gpkg").is_file()
    first = digests(folder)
    with pytest.raises(InputError, match=r"ground truth of 38SLF_Alpha stands in"):
        scores("mean")
    with rasterio.open(folder / "raw" / "38SLF_Alpha_count.tif") as dataset:
        assert (dataset.read(1) == 4).all()
    assert scores("apart") == {"38SLF_Alpha": 1, "38SLF_Alpha_2020": 1}
    assert digests(folder) == first


def test_a_city_of_one_year_gives_the_bytes_of_tiles_that_know_none(tmp_path: Path) -> None:
    for name in ("apart", "mean"):
        write_tiles(tmp_path / name, probabilities(1), "20150101")
        to_submission(input_path=str(tmp_path / name), years=name, num_workers=1)
    assert digests(tmp_path / "apart") == digests(tmp_path / "mean")
    assert set(digests(tmp_path / "apart")) >= {"38SLF_Alpha.tif", "38SLF_Alpha.shp"}


# --- chips ----------------------------------------------------------------------------------------


def write_chip(folder: Path, name: str, level: NDArray[np.uint8], threshold: float = 0.5) -> None:
    """The probabilities of an image without a place, as inference leaves them."""
    height, width = level.shape
    classes = ("background", "building")
    tags = PredictionTags(
        f"{name}_{{}}", "test", width, height, "run", threshold, classes, kind="scene", sensor="rgb"
    )
    write_raster(folder / f"raw/{name}_prob.tif", level, None, None, nodata=255)
    with rasterio.open(folder / f"raw/{name}_prob.tif", "r+") as dataset:
        dataset.update_tags(**tags.as_gdal())


def unpacked(tar: Path, folder: Path) -> dict[str, Path]:
    """By tar, the program."""
    folder.mkdir()
    subprocess.run(["tar", "-xf", tar, "-C", folder], check=True)
    return {path.name: path for path in sorted(folder.iterdir())}


def test_chips_have_their_names_and_0_and_1_as_other_programs_read_them(tmp_path: Path) -> None:
    levels = {"9f2": probabilities(1), "0ab": probabilities(2)[:, :60]}
    for name, level in levels.items():
        write_chip(tmp_path, name, level)
    *_, summary = to_submission(input_path=str(tmp_path), format="chips", num_workers=1)
    assert summary.counts == {"chips": 2}
    files = unpacked(tmp_path / "raw/submission.tar", tmp_path / "out")
    assert list(files) == ["0ab.tif", "9f2.tif"]
    for name, level in levels.items():
        with Image.open(files[f"{name}.tif"]) as picture:
            values = np.asarray(picture)
            assert picture.mode == "L"
        known = level < 255
        assert values.dtype == np.uint8
        assert (values == ((level >= 127) & known)).all()
        assert values[known].any()
        assert not values.all()
    assert not list((tmp_path / "raw").glob("*.shp"))


def test_the_same_chips_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_chip(tmp_path, name, probabilities(ord(name)))
    *_, summary = to_submission(input_path=str(tmp_path), format="chips", num_workers=1)
    tar = tmp_path / "raw/submission.tar"
    first = tar.read_bytes()
    *_, again = to_submission(input_path=str(tmp_path), format="chips", num_workers=1)
    assert (summary.done, again.done, again.up_to_date) == (1, 0, 1)
    tar.unlink()
    to_submission(input_path=str(tmp_path), format="chips", num_workers=1)
    assert tar.read_bytes() == first
    to_submission(input_path=str(tmp_path), format="chips", threshold="0.9", num_workers=1)
    assert tar.read_bytes() != first
    with tarfile.open(tar) as entries:
        assert [(e.name, e.mtime, e.uid, e.uname) for e in entries] == [
            ("a.tif", 0, 0, ""), ("b.tif", 0, 0, ""),
        ]  # fmt: skip


def test_tiles_are_merged_into_chips_first(tmp_path: Path) -> None:
    prob = probabilities(3)
    write_tiles(tmp_path, prob, "20150101")
    to_submission(input_path=str(tmp_path), format="chips", num_workers=1)
    (chip,) = unpacked(tmp_path / "raw/submission.tar", tmp_path / "out").values()
    assert chip.name == "s1a_38SLF_ASC_20150101.tif"
    with rasterio.open(chip) as dataset:
        assert (dataset.read(1) == ((prob >= 127) & (prob < 255))).all()
        assert dataset.transform == TRANSFORM


def test_of_images_without_probabilities_the_classes_are_handed_in(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).integers(0, 3, (20, 30)).astype(np.uint8)
    numbers[0] = 255
    names = ("ground", "building", "water")
    tags = PredictionTags("", "9f2", 30, 20, "run", 0.5, names, kind="classes", sensor="rgb")
    write_raster(tmp_path / "raw/9f2.tif", numbers, None, None, nodata=255)
    with rasterio.open(tmp_path / "raw/9f2.tif", "r+") as dataset:
        dataset.update_tags(**tags.as_gdal())
    to_submission(input_path=str(tmp_path), format="chips", num_workers=1)
    (chip,) = unpacked(tmp_path / "raw/submission.tar", tmp_path / "out").values()
    assert chip.name == "9f2.tif"
    with Image.open(chip) as picture:
        assert (np.asarray(picture) == (numbers == 1)).all()
    with pytest.raises(InputError, match="classes, which were decided already; leave threshold"):
        to_submission(input_path=str(tmp_path), format="chips", threshold="0.3")


def test_images_with_a_place_become_polygons_as_they_are(tmp_path: Path) -> None:
    """Each is a map of its own, whose name no average over dates takes."""
    raw, level = tmp_path / "raw", probabilities(1)
    prob = raw / "yard_prob.tif"
    height, width = level.shape
    tags = PredictionTags(
        "yard_{}", "yard", width, height, "run", 0.5, BUILT_UP.names, kind="scene", sensor="rgb"
    )
    write_raster(prob, level, nodata=255)
    with rasterio.open(prob, "r+") as dataset:
        write_tags(dataset, tags)
    write_class_map(prob, raw / "yard.tif", raw / "yard_confidence.tif", tags)
    before = digests(tmp_path)
    (summary,) = to_submission(input_path=str(tmp_path), num_workers=1)
    assert summary.step == "polygonize" and before.items() <= digests(tmp_path).items()
    shapes = pyogrio.raw.read(raw / "yard.shp")[2]
    drawn = features.rasterize(shapely.from_wkb(shapes), level.shape, transform=TRANSFORM)
    assert (drawn == ((level >= 127) & (level < 255))).all()
    for options in ({"threshold": "0.3"}, {"years": "mean"}):
        with pytest.raises(InputError, match="an image, whose map is decided already"):
            to_submission(input_path=str(tmp_path), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "zip"}, "format=zip: unknown; choose polygons or chips"),
        ({"format": "chips", "years": "mean"}, "format=chips: the classes of each scene"),
        ({"format": "chips", "polygons": PolygonOptions(square=True)}, "format=chips: the classes"),
        ({"format": "chips", "threshold": "2"}, "threshold=2: out of range"),
    ],
)
def test_options_that_do_not_fit_the_format(tmp_path: Path, options, message: str) -> None:
    write_chip(tmp_path, "a", probabilities(1))
    with pytest.raises(ConfigError, match=message):
        to_submission(input_path=str(tmp_path), **options)
    assert not (tmp_path / "raw/submission.tar").exists()


def test_a_chip_that_cannot_be_read_leaves_no_tar(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_chip(tmp_path, name, np.tile(probabilities(4), (4, 4)))
    path = tmp_path / "raw/b_prob.tif"
    path.write_bytes(path.read_bytes()[:-30_000])
    with pytest.raises(InputError, match=r"b_prob\.tif"):
        to_submission(input_path=str(tmp_path), format="chips", num_workers=1)
    assert not (tmp_path / "raw/submission.tar").exists()


def test_without_scenes_there_is_nothing_to_hand_in(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    with pytest.raises(InputError, match="run the inference first"):
        to_submission(input_path=str(tmp_path), format="chips")
