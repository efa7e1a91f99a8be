from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
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
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from rasterio import features
from scipy import ndimage
from shapely.geometry import shape

from builtup.errors import GridError, InputError, OutputError
from builtup.labels import writers
from builtup.labels.areas import ground_areas, metres_per_pixel
from builtup.labels.features import Features
from builtup.labels.outlines import Regions, trace
from builtup.labels.polygonize import polygonize
from builtup.labels.simplify import Simplifier, simplified
from builtup.raster.grid import Grid
from builtup.results import PredictionTags
from helpers import CRS, TRANSFORM, write_raster

masks = hnp.arrays(
    bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14), elements=st.booleans()
)


def traced(
    mask: NDArray[np.bool_], block: int = 1024, value: NDArray[np.uint8] | None = None
) -> Regions:
    """All regions of a mask as one."""
    values = np.zeros(mask.shape, np.uint8) if value is None else value
    found = trace(
        mask.shape[1], mask.shape[0], lambda w: (mask[w.slices], values[w.slices]), (block, block)
    )
    points = np.zeros((0, 2), np.int32)
    edges = np.zeros((0, 2, 2), np.int32)
    none = np.zeros(0, np.int64)
    all_of = Regions(np.zeros(0, object), none, none, points, edges, mask.shape[0])
    for regions in found:
        all_of = Regions(
            *(
                np.concatenate((getattr(all_of, name), getattr(regions, name)))
                for name in ("outlines", "pixels", "value_sum", "touching")
            ),
            edges,
            mask.shape[0],
        )
    return all_of


def generalised(
    mask: NDArray[np.bool_], pixels: float, block: int = 1024, square: bool = False
) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """The exact outlines of a mask and the simplified ones, in the same order."""
    simplifier = Simplifier(10 * pixels, (10, 10), square=square)
    exact, simple = Features.none(), Features.none()
    zeros = np.zeros(mask.shape, np.uint8)
    read = lambda w: (mask[w.slices], zeros[w.slices])  # noqa: E731
    for regions in trace(mask.shape[1], mask.shape[0], read, (block, block)):
        count = len(regions)
        ids = np.arange(len(exact), len(exact) + count, dtype=np.int32)
        features = Features(regions.outlines, ids, np.zeros(count), np.zeros(count))
        exact = exact.joined(features)
        simple = simple.joined(simplifier.add(features, regions))
    simple = simple.joined(simplifier.rest())
    order = np.argsort(simple.id)
    assert simple.id[order].tolist() == exact.id.tolist()  # each one once
    return exact.polygons, simple.polygons[order]


def blobs(size: int, sigma: float = 2.5, share: float = 0.3, seed: int = 0) -> NDArray[np.bool_]:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(size, size)), sigma)
    return np.asarray(noise > np.quantile(noise, 1 - share))


def write_city(
    root: Path,
    mask: NDArray[Any],
    prob: NDArray[np.uint8] | None = None,
    city: str = "38SLF_Alpha",
    transform: Affine = TRANSFORM,
    crs: str = CRS,
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


# --- outlines -----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(masks, st.integers(1, 15))
def test_outlines_by_blocks_are_those_of_the_whole_raster_at_once(
    mask: NDArray[np.bool_], block: int
) -> None:
    ours = traced(mask, block).outlines
    whole = [shape(g) for g, _ in features.shapes(mask.astype(np.uint8), mask, connectivity=4)]
    assert shapely.is_valid(ours).all()
    assert sorted(shapely.normalize(ours).tolist(), key=shapely.to_wkb) == sorted(
        # rings of shapes() may touch themselves, which a valid polygon says by a hole
        shapely.normalize(shapely.make_valid(np.array(whole, object))).tolist(),
        key=shapely.to_wkb,
    )


@settings(max_examples=40, deadline=None)
@given(masks, st.integers(1, 15), st.integers(0, 2**32 - 1))
def test_sums_over_regions_are_those_of_labelled_pixels(
    mask: NDArray[np.bool_], block: int, seed: int
) -> None:
    value = np.random.default_rng(seed).integers(0, 255, mask.shape).astype(np.uint8)
    regions = traced(mask, block, value)
    labels, count = ndimage.label(mask)
    assert len(regions) == count
    assert regions.pixels.tolist() == [int(p.area) for p in regions.outlines]
    for outline, total in zip(regions.outlines, regions.value_sum, strict=True):
        inside = features.rasterize([(outline, 1)], out_shape=mask.shape)
        assert total == value[inside == 1].astype(int).sum()
        assert len(np.unique(labels[inside == 1])) == 1


@pytest.mark.parametrize("block", [16, 37, 512])
def test_outlines_of_large_nested_regions_with_many_blocks(block: int) -> None:
    mask = blobs(150, sigma=1.2, share=0.55)
    ours = traced(mask, block)
    whole = [shape(g) for g, _ in features.shapes(mask.astype(np.uint8), mask, connectivity=4)]
    assert len(ours) == len(whole)
    assert sum(len(p.interiors) for p in ours.outlines) > 20
    assert (features.rasterize(ours.outlines, out_shape=mask.shape) == mask).all()
    assert {p.wkb for p in shapely.normalize(ours.outlines)} == {
        p.wkb for p in shapely.normalize(shapely.make_valid(np.array(whole, object)))
    }


def test_a_region_that_closes_on_itself_at_a_corner_has_a_hole_there() -> None:
    mask = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], bool)
    (outline,) = traced(mask).outlines
    assert outline.is_valid
    assert len(outline.interiors) == 1
    assert outline.area == 7


def test_the_memory_of_tracing_follows_the_blocks_not_the_raster() -> None:
    largest = []

    def read_noise(window: Any) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
        largest.append(window.width * window.height)
        stripes = (np.arange(window.y, window.y + window.height) % 64 < 20)[:, None]
        built_up = np.broadcast_to(stripes, (window.height, window.width)).copy()
        built_up[:, :1] = False
        return built_up, np.ones((window.height, window.width), np.uint8)

    found = [len(regions) for regions in trace(300, 6400, read_noise, (64, 64))]
    assert max(largest) == 64 * 64
    assert sum(found) >= 100
    assert max(found) <= 10  # handed out as they close


# --- areas --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32638", Affine(10, 0, 300_000, 0, -10, 4_000_000)),
        ("EPSG:4326", Affine(1e-4, 0, 44.0, 0, -1e-4, 36.0)),
        ("EPSG:3857", Affine(10, 0, 4_900_000, 0, -10, 6_600_000)),
        ("EPSG:2263", Affine(30, 0, 980_000, 0, -30, 200_000)),  # US survey feet
        ("EPSG:32638", Affine(8, 3, 300_000, 3, -8, 4_000_000)),  # turned
    ],
)
def test_areas_are_those_of_the_geodesic_polygon(crs: str, transform: Affine) -> None:
    from pyproj import CRS as ProjCRS
    from pyproj import Transformer

    grid = Grid(rasterio.crs.CRS.from_string(crs), transform, 100, 80)
    regions = traced(blobs(80))
    areas = ground_areas(regions.outlines, regions.pixels, grid)
    own = ProjCRS.from_string(crs)
    to_geodetic = Transformer.from_crs(own, own.geodetic_crs, always_xy=True)
    for outline, area in zip(regions.outlines, areas, strict=True):
        # a straight line of the CRS is no geodesic: follow it in short steps
        xy = shapely.get_coordinates(shapely.segmentize(outline.exterior, 1))
        ground = np.array([transform @ tuple(point) for point in xy])
        polygon = shapely.Polygon(np.column_stack(to_geodetic.transform(*ground.T)))
        whole, _ = own.get_geod().geometry_area_perimeter(polygon)
        share = outline.area / shapely.Polygon(outline.exterior).area
        assert area == pytest.approx(abs(whole) * share, rel=2e-5)


def test_metres_per_pixel_of_degrees_and_feet() -> None:
    degrees = Grid(
        rasterio.crs.CRS.from_epsg(4326), Affine(0.001, 0, 44, 0, -0.001, 60.05), 100, 100
    )
    width, height = metres_per_pixel(degrees)
    assert width == pytest.approx(55.8, abs=0.1)
    assert height == pytest.approx(111.4, abs=0.1)
    feet = Grid(rasterio.crs.CRS.from_epsg(2263), Affine(30, 0, 0, 0, -30, 0), 10, 10)
    assert metres_per_pixel(feet) == pytest.approx((9.144, 9.144), abs=1e-3)


# --- simplification -----------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.2, 4), st.floats(0.2, 0.7), st.integers(3, 20))
def test_simplified_outlines_are_valid_and_do_not_overlap(
    seed: int, pixels: float, share: float, block: int
) -> None:
    mask = np.random.default_rng(seed).random((18, 18)) < share
    exact, simple = generalised(mask, pixels, block)
    assert shapely.is_valid(simple).all()
    assert (shapely.get_type_id(simple) == 3).all()
    one, other = shapely.STRtree(simple).query(simple)
    common = shapely.intersection(simple[one[one < other]], simple[other[one < other]])
    assert shapely.area(common).sum() == pytest.approx(0, abs=1e-9)
    for before, after in zip(exact, simple, strict=True):
        assert {*shapely.get_coordinates(after)[:, 0]} <= {*shapely.get_coordinates(before)[:, 0]}
        assert len(before.interiors) == len(after.interiors)
        assert shapely.hausdorff_distance(before.boundary, after.boundary) <= pixels + 1e-9


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 12), st.integers(13, 40))
def test_simplification_does_not_depend_on_how_regions_are_batched(
    seed: int, block: int, other_block: int
) -> None:
    mask = blobs(40, sigma=1, share=0.45, seed=seed)
    one, other = (
        shapely.normalize(generalised(mask, 1.5, size)[1]) for size in (block, other_block)
    )
    assert {p.wkb for p in one} == {p.wkb for p in other}


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.2, 0.6), st.integers(4, 24), st.sampled_from([0.6, 1.2]))
def test_squared_outlines_are_valid_keep_apart_and_do_not_depend_on_batches(
    seed: int, share: float, block: int, sigma: float
) -> None:
    mask = blobs(24, sigma=sigma, share=share, seed=seed)
    _, made = generalised(mask, 1.0, block, square=True)
    assert shapely.is_valid(made).all()
    one, other = shapely.STRtree(made).query(made)
    common = shapely.intersection(made[one[one < other]], made[other[one < other]])
    assert shapely.area(common).sum() == pytest.approx(0, abs=1e-9)
    _, whole = generalised(mask, 1.0, square=True)
    assert {p.wkb for p in shapely.normalize(made)} == {p.wkb for p in shapely.normalize(whole)}


def test_a_large_region_is_exact_only_beside_the_neighbour_that_it_would_meet() -> None:
    mask = np.zeros((60, 60), bool)
    mask[np.add.outer(np.arange(60), np.arange(60)) >= 60] = True  # a stair of 60 steps
    mask[10, 44:49] = mask[10:14, 44] = True  # in a corner of it, across a corner
    mask[11:13, 45:47] = False
    mask &= ~np.pad(np.zeros((1, 1), bool), ((0, 59), (0, 59)))
    exact, simple = generalised(mask, 1.0)
    assert shapely.is_valid(simple).all()
    counts = shapely.get_num_coordinates(exact), shapely.get_num_coordinates(simple)
    largest = int(np.argmax(shapely.area(exact)))
    assert counts[1][largest] < 0.5 * counts[0][largest]


def test_an_outline_that_would_cross_itself_keeps_only_what_it_needs() -> None:
    mask = np.zeros((80, 80), bool)
    for row in range(0, 80, 4):  # a comb of stairs, one pixel apart at the tips
        columns = np.arange(80)
        mask[np.minimum(row + (columns // 3) % 2, 79), columns] = True
    mask[:, 0] = True
    exact, simple = generalised(mask, 1.5)
    assert shapely.is_valid(simple).all()
    assert shapely.get_num_coordinates(simple).sum() < shapely.get_num_coordinates(exact).sum()


def test_regions_keep_the_corners_where_they_touch() -> None:
    steps = np.kron(np.eye(3, dtype=bool), np.tri(8, dtype=bool))
    exact, simple = generalised(steps, 1.5)
    for polygons in (exact, simple):
        assert shapely.touches(polygons[:-1], polygons[1:]).all()
    assert shapely.get_num_coordinates(simple).sum() < shapely.get_num_coordinates(exact).sum()


def test_simplification_counts_metres_in_both_directions() -> None:
    mask = np.tri(12, dtype=bool)
    outlines = traced(mask).outlines
    none = np.zeros((0, 2), np.int32)
    corners = shapely.get_num_coordinates(outlines)[0]

    def left(tolerance: float, width: float, height: float) -> int:
        simple = simplified(outlines, none, tolerance, (width, height))
        return int(shapely.get_num_coordinates(simple)[0])

    # the line along a stair is half of, up to the whole of, √½ of a step from its corners
    assert left(3, 10, 10) == left(3, 10, 1000) == corners
    assert left(8, 10, 10) < corners
    assert left(3, 10, 1) < corners
    assert simplified(outlines, none, 0, (10, 10)) is outlines


# --- the step -----------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(masks, st.integers(0, 2**32 - 1))
def test_rasterising_the_shapefile_gives_the_mask(
    tmp_path_factory: pytest.TempPathFactory, built_up: NDArray[np.bool_], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("city")
    mask = np.where(np.random.default_rng(seed).random(built_up.shape) < 0.1, 255, built_up)
    path = write_city(folder, mask)
    polygonize(input_path=str(folder), min_area=10**9)
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
    summary = polygonize(input_path=str(tmp_path), min_area=400, simplify=10)
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


def test_a_second_run_does_nothing_and_other_settings_redo(tmp_path: Path) -> None:
    write_city(tmp_path, blobs(60))
    assert polygonize(input_path=str(tmp_path)).done == 1
    first = digests(tmp_path / "raw")
    assert polygonize(input_path=str(tmp_path)).up_to_date == 1
    assert polygonize(input_path=str(tmp_path), simplify=0).done == 1
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
        "import sys; from builtup.labels.polygonize import polygonize; "
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
        "import sys, builtup.labels.polygonize; "
        "sys.exit(bool({'torch', 'mlflow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
