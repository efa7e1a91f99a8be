from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio.raw
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio import features
from shapely.geometry import shape

from builtup.errors import ConfigError, GridError, InputError, OutputError
from builtup.geo import vector_writers as writers
from builtup.maps.polygonize import polygonize
from builtup.maps.products import map_lines
from builtup.options import PolygonOptions
from builtup.runs.results import PredictionTags, read_tags
from helpers import CRS, TRANSFORM, write_raster
from traced import blobs, masks


def write_city(
    root: Path,
    mask: NDArray[Any],
    prob: NDArray[np.uint8] | None = None,
    city: str = "38SLF_Alpha",
    transform: Affine = TRANSFORM,
    crs: str | None = CRS,
) -> Path:
    """A city's mask and probability as all_agg_by_city leaves them; returns the mask's path."""
    values = np.asarray(mask).astype(np.uint8)
    if prob is None:
        prob = np.where(values == 255, 255, 60 + 140 * (values == 1)).astype(np.uint8)
    tags = PredictionTags("", city, values.shape[1], values.shape[0], "run", 0.5).as_gdal()
    for name, array in ((f"{city}.tif", values), (f"{city}_prob.tif", prob)):
        path = write_raster(root / "raw" / name, array, transform, crs, nodata=255)
        with rasterio.open(path, "r+") as dataset:
            dataset.update_tags(**tags)
    return root / "raw" / f"{city}.tif"


def read(path: Path) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    meta, _, wkb, fields = pyogrio.raw.read(path, layer=path.stem)
    return shapely.from_wkb(wkb), dict(zip(meta["fields"], fields, strict=True))


def digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("38*"))
    }


@settings(max_examples=15, deadline=None)
@given(masks, st.integers(0, 2**32 - 1))
def test_rasterising_the_shapefile_gives_the_mask(
    tmp_path_factory: pytest.TempPathFactory, built_up: NDArray[np.bool_], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("city")
    mask = np.where(np.random.default_rng(seed).random(built_up.shape) < 0.1, 255, built_up)
    path = write_city(folder, mask)
    polygonize(input_path=str(folder), polygons=PolygonOptions(min_area=10**9))
    outlines, _ = read(path.with_suffix(".shp"))
    burnt = np.zeros(mask.shape, np.uint8)
    if len(outlines):
        burnt = features.rasterize(outlines, out_shape=mask.shape, transform=TRANSFORM)
    assert ((mask == 1) == burnt).all()
    assert not len(read(path.with_suffix(".gpkg"))[0])  # all below the least area


def test_both_files_carry_id_city_area_and_mean_probability(tmp_path: Path) -> None:
    mask = np.zeros((30, 40), np.uint8)
    mask[2:6, 3:8] = 1  # 20 pixels
    mask[4, 5] = 0
    mask[10:12, 10] = 1  # 2 pixels
    mask[20:30, 20:40] = 1
    prob = np.zeros(mask.shape, np.uint8)
    prob[2:6, 3:8] = np.arange(20).reshape(4, 5)
    prob[10:12, 10] = 254
    prob[20:30, 20:40] = 127
    path = write_city(tmp_path, mask, prob)
    summary = polygonize(
        input_path=str(tmp_path), polygons=PolygonOptions(min_area=400, simplify=10)
    )
    assert summary.counts == {"polygons": 3, "simplified": 2}
    outlines, fields = read(path.with_suffix(".shp"))
    assert list(fields) == ["id", "city", "area_m2", "mean_prob"]
    assert fields["id"].tolist() == [1, 2, 3]
    assert set(fields["city"]) == {"38SLF_Alpha"}
    assert outlines[0].area == 1900
    assert len(outlines[0].interiors) == 1
    # UTM enlarges or shrinks areas by up to 0.2 %
    assert fields["area_m2"] == pytest.approx([1900, 200, 20000], rel=2e-3)
    assert fields["mean_prob"] == pytest.approx([(190 - 12) / 19 / 254, 1, 0.5])
    _, kept = read(path.with_suffix(".gpkg"))
    assert kept["id"].tolist() == [1, 3]
    assert kept["area_m2"].tolist() == fields["area_m2"][[0, 2]].tolist()
    with rasterio.open(path) as dataset:
        assert pyogrio.read_info(path.with_suffix(".shp"))["crs"] == dataset.crs.to_string()
        assert (
            pyogrio.read_info(path.with_suffix(".gpkg"), layer=path.stem)["crs"]
            == dataset.crs.to_string()
        )


def test_of_several_classes_the_probability_of_buildings_is_averaged(tmp_path: Path) -> None:
    mask = np.ones((4, 4), np.uint8)
    path = write_city(tmp_path, mask)
    bands = np.stack([np.full(mask.shape, 200, np.uint8), np.full(mask.shape, 127, np.uint8)])
    write_raster(path.with_name("38SLF_Alpha_prob.tif"), bands, nodata=255)
    polygonize(input_path=str(tmp_path))
    assert read(path.with_suffix(".shp"))[1]["mean_prob"].tolist() == [0.5]


def test_the_outlines_file_is_cut_at_the_blocks_of_no_raster(tmp_path: Path) -> None:
    mask = np.zeros((1100, 1100), np.uint8)
    mask[5:1090, 5:1090] = 1
    path = write_city(tmp_path, mask)
    polygonize(input_path=str(tmp_path))
    (outline,), _ = read(path.with_suffix(".shp"))
    assert len(outline.exterior.coords) == 5


def test_a_city_without_built_up_ground_gives_empty_files(tmp_path: Path) -> None:
    path = write_city(tmp_path, np.full((20, 20), 255, np.uint8))
    assert polygonize(input_path=str(tmp_path)).counts["polygons"] == 0
    for suffix in (".shp", ".gpkg"):
        outlines, fields = read(path.with_suffix(suffix))
        assert len(outlines) == 0
        assert list(fields) == ["id", "city", "area_m2", "mean_prob"]


@pytest.mark.parametrize(
    ("size", "sigma", "share", "options"),
    [
        (1024, 7, 0.06, PolygonOptions()),  # towns
        (1024, 2.7, 0.06, PolygonOptions()),  # specks
        (1024, 2.7, 0.06, PolygonOptions(simplify=40)),
        (700, 3, 0.6, PolygonOptions()),  # one giant region with islands in its holes
        (700, 3, 0.6, PolygonOptions(min_area=100, simplify=30, min_hole=0, square=True)),
    ],
)
def test_large_masks_give_exact_outlines_and_valid_polygons_that_do_not_overlap(
    tmp_path: Path, size: int, sigma: float, share: float, options: PolygonOptions
) -> None:
    mask = blobs(size, sigma, share)
    path = write_city(tmp_path, mask)
    polygonize(input_path=str(tmp_path), polygons=options)
    outlines, fields = read(path.with_suffix(".shp"))
    whole = features.shapes(mask.astype(np.uint8), mask, connectivity=4, transform=TRANSFORM)
    expected = shapely.make_valid(np.array([shape(found) for found, _ in whole], object))
    assert {p.wkb for p in shapely.normalize(outlines)} == {
        p.wkb for p in shapely.normalize(expected)
    }
    made, kept = read(path.with_suffix(".gpkg"))
    assert set(kept["id"]) == set(fields["id"][fields["area_m2"] >= options.sized().min_area])
    assert shapely.is_valid(made).all()
    assert (shapely.get_type_id(made) == 3).all()
    one, other = shapely.STRtree(made).query(made, predicate="intersects")
    one, other = one[one < other], other[one < other]
    common = shapely.area(shapely.intersection(made[one], made[other]))
    assert common.sum() == pytest.approx(0, abs=1e-3)  # of hundreds of km²


def test_a_second_run_does_nothing_and_other_settings_redo(tmp_path: Path) -> None:
    write_city(tmp_path, blobs(60))
    assert polygonize(input_path=str(tmp_path)).done == 1
    first = digests(tmp_path / "raw")
    assert polygonize(input_path=str(tmp_path)).up_to_date == 1
    assert polygonize(input_path=str(tmp_path), polygons=PolygonOptions(simplify=0)).done == 1
    second = digests(tmp_path / "raw")
    assert {name for name in first if first[name] != second[name]} == {"38SLF_Alpha.gpkg"}
    assert polygonize(input_path=str(tmp_path)).done == 1
    assert digests(tmp_path / "raw") == first


def test_the_bytes_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    for folder, workers in ((tmp_path / "one", 1), (tmp_path / "two", 2)):
        for number, city in enumerate(("38SLF_Alpha", "38RPV_Beta")):
            write_city(folder, blobs(50, seed=number), city=city)
        assert polygonize(input_path=str(folder), num_workers=workers).done == 2
    assert digests(tmp_path / "one" / "raw") == digests(tmp_path / "two" / "raw")


def test_killed_at_any_moment_and_run_again_it_gives_the_same_bytes(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        write_city(folder, blobs(700, sigma=1.5))
    started = time.monotonic()
    polygonize(input_path=str(whole))
    length = time.monotonic() - started
    code = (
        "import sys; from builtup.maps.polygonize import polygonize; "
        "print('ready', flush=True); polygonize(input_path=sys.argv[1])"
    )
    for share in (0.3, 0.7):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(killed)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(share * length)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        if (killed / "raw" / "38SLF_Alpha.shp").exists():  # never parts of a shapefile
            assert len(read(killed / "raw" / "38SLF_Alpha.shp")[0])
    polygonize(input_path=str(killed))
    assert digests(killed / "raw") == digests(whole / "raw")
    assert not list((killed / "raw").glob(".*partial*"))


def test_the_names_of_scenes_and_other_rasters_are_not_taken_for_cities(tmp_path: Path) -> None:
    write_city(tmp_path, blobs(20))
    for name in ("38SLF_Alpha_std.tif", "38SLF_Alpha_count.tif", "s1a_38SLF_prob_20150101.tif"):
        write_raster(tmp_path / "raw" / name, np.zeros((3, 3), np.uint8))
    assert polygonize(input_path=str(tmp_path)).done == 1


# --- refusals -----------------------------------------------------------------------------------


def test_predictions_without_city_masks_are_refused(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    with pytest.raises(InputError, match="no city masks in it; run all_agg_by_city first"):
        polygonize(input_path=str(tmp_path))


def test_a_mask_without_its_probability_is_refused_or_skipped(tmp_path: Path) -> None:
    path = write_city(tmp_path, blobs(20))
    path.with_name("38SLF_Alpha_prob.tif").unlink()
    with pytest.raises(InputError, match=r"38SLF_Alpha_prob\.tif: no such file"):
        polygonize(input_path=str(tmp_path))
    write_city(tmp_path, blobs(20), city="38RPV_Beta")
    summary = polygonize(input_path=str(tmp_path), on_error="skip")
    assert (summary.done, len(summary.skipped)) == (1, 1)


def test_a_probability_on_another_grid_is_refused(tmp_path: Path) -> None:
    path = write_city(tmp_path, blobs(20))
    write_raster(path.with_name("38SLF_Alpha_prob.tif"), np.zeros((20, 21), np.uint8))
    with pytest.raises(GridError, match=r"not on the grid of 38SLF_Alpha_prob\.tif"):
        polygonize(input_path=str(tmp_path))


def test_a_mask_without_a_crs_is_refused(tmp_path: Path) -> None:
    path = write_city(tmp_path, np.ones((4, 4)), crs=None)
    with pytest.raises(InputError, match="has no CRS; assign it"):
        polygonize(input_path=str(tmp_path))
    assert not path.with_suffix(".shp").exists()


@pytest.mark.parametrize("name", ['A "b"', "O'Brien", "São [1]"])
def test_a_city_may_have_quotes_in_its_name(tmp_path: Path, name: str) -> None:
    path = write_city(tmp_path, np.ones((4, 4)), city=f"38SLF_{name}")
    polygonize(input_path=str(tmp_path))
    for suffix in (".shp", ".gpkg"):
        assert read(path.with_suffix(suffix))[1]["city"].tolist() == [f"38SLF_{name}"]


def test_a_mask_that_is_built_up_over_no_data_is_refused(tmp_path: Path) -> None:
    mask = blobs(20)
    path = write_city(tmp_path, mask, np.full(mask.shape, 255, np.uint8))
    with pytest.raises(InputError, match=r"built up where .* has no data"):
        polygonize(input_path=str(tmp_path))
    assert not path.with_suffix(".shp").exists()
    assert not list((tmp_path / "raw").glob(".*partial*"))


def test_more_than_a_shapefile_holds_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_city(tmp_path, blobs(40))
    monkeypatch.setattr(writers, "_SHAPEFILE_BYTES", 1000)
    with pytest.raises(OutputError, match="more than the 2 GB that a shapefile holds"):
        polygonize(input_path=str(tmp_path))
    assert not path.with_suffix(".shp").exists()


def test_polygonising_needs_neither_torch_nor_mlflow() -> None:
    code = (
        "import sys, builtup.maps.polygonize; "
        "sys.exit(bool({'torch', 'mlflow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def write_classes(root: Path, sensor: str = "", crs: str | None = CRS) -> Path:
    """A map of ground, building and car in two bands of rows, and its probability of each."""
    classes = np.zeros((40, 40), np.uint8)
    classes[4:20, 4:30] = 1
    classes[20:24, 4:12] = 2
    classes[30:, 30:] = 255
    path = write_city(root, classes, np.zeros((3, 40, 40), np.uint8), transform=TENTHS, crs=crs)
    levels = np.stack([np.where(classes == k, 100 + 50 * k, 10) for k in range(3)])
    levels[:, classes == 255] = 255
    tags = replace(
        PredictionTags("", "38SLF_Alpha", 40, 40, "run", 0.5, ("ground", "building", "car")),
        sensor=sensor,
    )
    for name, kind in (("38SLF_Alpha.tif", "classes"), ("38SLF_Alpha_prob.tif", "prob")):
        with rasterio.open(root / "raw" / name, "r+") as dataset:
            dataset.update_tags(**tags.of_kind(kind).as_gdal())
            if kind == "prob":
                dataset.write(levels.astype(np.uint8))
    return path


#: Pixels of 10 cm.
TENTHS = Affine(0.1, 0, 500000, 0, -0.1, 4100000)


def test_each_class_that_is_asked_for_gets_polygons(tmp_path: Path) -> None:
    path = write_classes(tmp_path, "rgb")
    polygonize(input_path=str(tmp_path), polygons=PolygonOptions(classes="all", min_area=0))
    for suffix in (".shp", ".gpkg"):
        outlines, fields = read(path.with_suffix(suffix))
        assert list(fields) == ["id", "city", "class", "area_m2", "mean_prob"]
        assert fields["class"].tolist() == ["ground", "building", "car"]
        assert fields["id"].tolist() == [1, 2, 3]
        assert fields["mean_prob"] == pytest.approx([100 / 254, 150 / 254, 200 / 254])
        assert shapely.area(outlines[1:]) == pytest.approx([4.16, 0.32])
    polygonize(input_path=str(tmp_path), polygons=PolygonOptions(classes="car", min_area=0))
    assert read(path.with_suffix(".gpkg"))[1]["class"].tolist() == ["car"]
    with pytest.raises(ConfigError, match=r"no class boat; choose all, or from ground, building"):
        polygonize(input_path=str(tmp_path), polygons=PolygonOptions(classes="boat"))


def test_sizes_of_maps_of_images_fit_pixels_of_a_decimetre(tmp_path: Path) -> None:
    path = write_classes(tmp_path, "rgb")
    polygonize(input_path=str(tmp_path), polygons=PolygonOptions(classes="building;car"))
    assert read(path.with_suffix(".gpkg"))[1]["class"].tolist() == ["building"]  # .32 m² is small
    where, _ = map_lines(tmp_path)
    small = "smaller than min_area, and in the .shp alone: 1"
    assert where.endswith(f": 1 polygon, 0.00 ha; {small}")
    polygonize(input_path=str(tmp_path), polygons=PolygonOptions(min_area=5))
    assert map_lines(tmp_path)[0].endswith(f": 0 polygons, 0.00 ha; {small}")


def test_a_map_of_images_without_a_crs_gets_no_polygons_and_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_classes(tmp_path, "rgb", crs=None)
    assert polygonize(input_path=str(tmp_path)).done == 0
    assert "38SLF_Alpha: has no CRS, so its map gets no polygons" in caplog.text
    assert not path.with_suffix(".gpkg").exists()
    where, how = map_lines(tmp_path)
    assert where.endswith("raw: no polygons for want of a CRS")
    assert how.startswith("open 38SLF_Alpha.tif in a GIS")
    write_classes(tmp_path, crs=None)
    with pytest.raises(InputError, match="has no CRS; assign it"):
        polygonize(input_path=str(tmp_path))


def test_the_confidence_is_the_probability_of_any_class(tmp_path: Path) -> None:
    path = write_classes(tmp_path, "rgb")
    with rasterio.open(path.with_name("38SLF_Alpha_prob.tif")) as dataset:
        best, tags = dataset.read().max(axis=0), read_tags(dataset)
    best[30:, 30:] = 255
    path.with_name("38SLF_Alpha_prob.tif").unlink()
    other = write_raster(
        path.with_name("38SLF_Alpha_confidence.tif"), best, TENTHS, CRS, nodata=255
    )
    with rasterio.open(other, "r+") as dataset:
        dataset.update_tags(**replace(tags, kind="confidence").as_gdal())
    polygonize(input_path=str(tmp_path), polygons=PolygonOptions(classes="all", min_area=0))
    expected = [100 / 254, 150 / 254, 200 / 254]
    assert read(path.with_suffix(".shp"))[1]["mean_prob"] == pytest.approx(expected)


def test_of_two_classes_the_other_one_has_the_rest_of_the_probability(tmp_path: Path) -> None:
    mask = np.zeros((10, 10), np.uint8)
    mask[:5] = 1
    path = write_city(tmp_path, mask, np.where(mask == 1, 200, 54).astype(np.uint8))
    polygonize(input_path=str(tmp_path), polygons=PolygonOptions(classes="all"))
    fields = read(path.with_suffix(".shp"))[1]
    assert fields["class"].tolist() == ["background", "building"]
    assert fields["mean_prob"] == pytest.approx([200 / 254, 200 / 254])
