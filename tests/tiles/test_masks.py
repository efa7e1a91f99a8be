"""Masks: the same as GDAL's on the whole grid, whatever the windows."""

from __future__ import annotations

import logging
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.features
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from builtup.errors import InputError
from builtup.geo import burn
from builtup.geo.burn import BlockBurner, Burner
from builtup.geo.grid import Grid
from builtup.geo.vectors import PolygonSet, read_polygons, reproject
from builtup.geo.windows import Window, aligned
from builtup.jobs.steps import Summary
from builtup.tiles import masks as module
from builtup.tiles.masks import rasterize
from helpers import CRS, TRANSFORM, city_polygons, real_data, write_polygons, write_scene

UTM = rasterio.crs.CRS.from_string(CRS)
SIZE = 96


def run(folder: Path, **options: object) -> Summary:
    settings = {"num_workers": 1, **options}
    return rasterize(input_path=folder / "in", output_path=folder / "out", **settings)  # type: ignore[arg-type]


def only_mask(folder: Path) -> NDArray[np.uint8]:
    (path,) = (folder / "out").rglob("*.tif")
    with rasterio.open(path) as dataset:
        return dataset.read(1)


def on_ground(polygon: shapely.Polygon, transform: Affine = TRANSFORM) -> shapely.Polygon:
    """A polygon drawn in pixels, in ground coordinates."""
    t = transform
    return shapely.transform(
        polygon, lambda xy: np.stack([t.c + t.a * xy[:, 0], t.f + t.e * xy[:, 1]], axis=1)
    )


def whole(
    polygons: list[shapely.Polygon], all_touched: bool, transform: Affine = TRANSFORM
) -> NDArray[np.uint8]:
    """GDAL's mask of the whole grid at once, by rasterio."""
    shapes = [(polygon, 1) for polygon in polygons]
    return rasterio.features.rasterize(
        shapes, (SIZE, SIZE), transform=transform, all_touched=all_touched, dtype="uint8"
    )


def by_windows(
    polygons: list[shapely.Polygon],
    all_touched: bool,
    window: tuple[int, int],
    transform: Affine = TRANSFORM,
) -> NDArray[np.uint8]:
    found = PolygonSet(Path("a.shp"), np.array(polygons, dtype=object), UTM)
    burner = Burner.of(found, Grid(UTM, transform, SIZE, SIZE), all_touched=all_touched)
    mask = np.full((SIZE, SIZE), 99, dtype=np.uint8)
    for part in aligned(SIZE, SIZE, window):
        mask[part.slices] = burner.burn(part)
    return mask


@st.composite
def random_polygons(draw: st.DrawFn) -> list[shapely.Polygon]:
    """Hulls of random points, within and beyond the raster, from less than a pixel to all of it."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    polygons = []
    for _ in range(draw(st.integers(1, 12))):
        centre, size = generator.uniform(-10, SIZE + 10, 2), generator.choice([0.5, 3, 20, 90])
        points = centre + generator.uniform(-size, size, (draw(st.integers(3, 9)), 2))
        polygons.append(on_ground(shapely.convex_hull(shapely.multipoints(points))))
    return polygons


@pytest.mark.parametrize("uncut", [0, 16, 256])
@given(
    polygons=random_polygons(),
    all_touched=st.booleans(),
    window=st.sampled_from([(16, 16), (16, 48), (7, 96), (96, 96)]),
)
def test_masks_by_windows_equal_gdal_s_of_the_whole_grid(
    uncut: int, polygons: list[shapely.Polygon], all_touched: bool, window: tuple[int, int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(burn, "LARGEST_UNCUT", uncut)
        made = by_windows(polygons, all_touched, window)
    np.testing.assert_array_equal(made, whole(polygons, all_touched))


@given(
    boxes=st.lists(
        st.tuples(*2 * [st.integers(-5, SIZE)], *2 * [st.integers(1, 40)]), min_size=1, max_size=9
    ),
    all_touched=st.booleans(),
    noise=st.sampled_from([0.0, 1e-8]),
)
def test_boxes_on_pixel_edges_are_burnt_as_they_are(
    boxes: list[tuple[int, int, int, int]], all_touched: bool, noise: float
) -> None:
    """Outlines of a mask give the mask again, also after a reprojection's rounding."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    polygons = []
    generator = np.random.default_rng(0)
    for x, y, width, height in boxes:
        mask[max(0, y) : max(0, y + height), max(0, x) : max(0, x + width)] = 1
        corners = shapely.get_coordinates(on_ground(shapely.box(x, y, x + width, y + height)))[:-1]
        polygons.append(shapely.Polygon(corners + generator.normal(0, noise, corners.shape)))
    np.testing.assert_array_equal(by_windows(polygons, all_touched, (16, 32)), mask)


def test_holes_stay_empty_and_overlaps_stay_full() -> None:
    ring = shapely.box(10, 10, 50, 50) - shapely.box(20, 20, 40, 40)
    polygons = [on_ground(p) for p in (ring, shapely.box(5, 5, 15, 15), shapely.box(8, 8, 12, 12))]
    mask = by_windows(polygons, False, (16, 16))
    assert mask[30, 30] == 0
    assert mask[9, 9] == mask[14, 14] == 1
    np.testing.assert_array_equal(mask, whole(polygons, False))


def test_rotated_grids_are_burnt_too() -> None:
    turned = TRANSFORM @ Affine.rotation(30)
    centre = shapely.Point(turned @ (48, 48)).buffer(200)
    np.testing.assert_array_equal(
        by_windows([centre], True, (32, 32), turned), whole([centre], True, turned)
    )


def test_mask_is_on_the_scene_s_grid_with_255_where_it_is_invalid(tmp_path: Path) -> None:
    vv = np.full((40, 50), 0.1, np.float32)
    vv[:, :8] = np.nan
    write_scene(tmp_path / "in", vv=vv, vh=vv)
    box = shapely.box(2, 5, 20, 10)
    write_polygons(city_polygons(tmp_path / "in"), [on_ground(box)])
    summary = run(tmp_path)
    expected = np.zeros((40, 50), np.uint8)
    expected[5:10, 2:20] = 1
    expected[:, :8] = 255
    np.testing.assert_array_equal(only_mask(tmp_path), expected)
    path = tmp_path / "out" / "Alpha_2015" / "s1a_38SLF_mask_ASC_20150101.tif"
    with rasterio.open(path) as dataset:
        assert (dataset.nodata, dataset.dtypes) == (255, ("uint8",))
        assert (dataset.transform, dataset.crs.to_epsg()) == (TRANSFORM, 32638)
    assert summary.counts == {"polygons": 1}


def test_outside_the_labelled_area_is_255(tmp_path: Path) -> None:
    write_scene(tmp_path / "in")
    shp = city_polygons(tmp_path / "in")
    write_polygons(shp, [on_ground(shapely.box(10, 10, 40, 20))])
    write_polygons(
        shp.with_name("38SLF_Alpha_labelled_area.shp"), [on_ground(shapely.box(5, 5, 30, 30))]
    )
    run(tmp_path)
    expected = np.full((64, 64), 255, np.uint8)
    expected[5:30, 5:30] = 0
    expected[10:20, 10:30] = 1
    np.testing.assert_array_equal(only_mask(tmp_path), expected)


def test_all_touched_burns_more_than_centres(tmp_path: Path) -> None:
    write_scene(tmp_path / "in")
    write_polygons(city_polygons(tmp_path / "in"), [on_ground(shapely.Point(30, 30).buffer(7.3))])
    areas = {}
    for all_touched in (True, False):
        run(tmp_path, all_touched=all_touched)
        areas[all_touched] = int((only_mask(tmp_path) == 1).sum())
    assert areas[True] > areas[False] == pytest.approx(np.pi * 7.3**2, rel=0.05)


def test_polygons_in_degrees_are_reprojected(tmp_path: Path) -> None:
    write_scene(tmp_path / "in")
    shp = city_polygons(tmp_path / "in")
    ground = [
        on_ground(shapely.box(10, 12, 30, 25)),
        on_ground(shapely.Point(50.3, 49.6).buffer(5.2)),
    ]
    degrees = reproject(read_polygons(write_polygons(shp, ground)), "EPSG:4326")
    write_polygons(shp, degrees.geometries, "EPSG:4326")
    run(tmp_path)
    expected = rasterio.features.rasterize(
        ground, (64, 64), transform=TRANSFORM, all_touched=True, dtype="uint8"
    )
    np.testing.assert_array_equal(only_mask(tmp_path), expected)


def test_repaired_geometries_are_counted(tmp_path: Path) -> None:
    write_scene(tmp_path / "in")
    bowtie = shapely.Polygon([(10, 10), (20, 20), (20, 10), (10, 20)])
    write_polygons(city_polygons(tmp_path / "in"), [on_ground(bowtie)])
    summary = run(tmp_path)
    assert summary.counts["repaired"] == 1
    assert "1 repaired" in summary.line()


def test_polygons_beside_the_scene_are_a_warning_with_the_distance(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    vv, _ = write_scene(tmp_path / "in")
    shp = write_polygons(city_polygons(tmp_path / "in"), [on_ground(shapely.box(564, 0, 570, 10))])
    with caplog.at_level(logging.WARNING):
        run(tmp_path)
    (record,) = caplog.records
    message = record.getMessage()
    assert str(shp) in message
    assert str(vv) in message
    assert "5.0 km away" in message
    assert not only_mask(tmp_path).any()


def test_the_distance_on_a_scene_in_degrees_is_in_kilometres(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    transform = Affine(1e-4, 0, 43, 0, -1e-4, 36)
    write_scene(tmp_path / "in", transform=transform, crs="EPSG:4326")
    north = shapely.box(43, 36.5, 43.1, 36.6)
    write_polygons(city_polygons(tmp_path / "in"), [north], "EPSG:4326")
    with caplog.at_level(logging.WARNING):
        run(tmp_path)
    assert "(55.5 km away)" in caplog.text  # half a degree of latitude


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('GEOGCS["nonsense"]', "not understood"),
        ('LOCAL_CS["arbitrary",UNIT["metre",1]]', "cannot be brought to that of the scene"),
    ],
)
def test_a_bad_crs_is_refused_or_skipped(tmp_path: Path, text: str, why: str) -> None:
    for city, tile in (("Alpha_2015", "38SLF"), ("Beta_2015", "38RNV")):
        write_scene(tmp_path / "in", city, tile)
        shape = on_ground(shapely.box(10, 10, 30, 30))
        write_polygons(city_polygons(tmp_path / "in", city, tile), [shape])
    shp = city_polygons(tmp_path / "in")
    shp.with_suffix(".prj").write_text(text)
    with pytest.raises(InputError) as caught:
        run(tmp_path)
    assert str(caught.value).startswith(f"{shp}: ")
    assert why in str(caught.value)
    summary = run(tmp_path, on_error="skip")
    assert len(summary.skipped) == 1
    assert [path.parent.name for path in (tmp_path / "out").rglob("*.tif")] == ["Beta_2015"]


def test_a_folder_without_scenes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for on_error in ("stop", "skip"):
        with pytest.raises(InputError, match="in: no VV–VH scene below it"):
            run(tmp_path, on_error=on_error)


def test_a_city_without_polygons_is_refused_with_the_expected_file(tmp_path: Path) -> None:
    write_scene(tmp_path / "in")
    with pytest.raises(InputError, match=r"38SLF_Alpha\.shp: no such file"):
        run(tmp_path)
    assert not (tmp_path / "out").exists()
    summary = run(tmp_path, on_error="skip")
    assert len(summary.skipped) == 1


def test_an_empty_labelled_area_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    write_scene(tmp_path / "in")
    shp = write_polygons(city_polygons(tmp_path / "in"), [on_ground(shapely.box(1, 1, 9, 9))])
    write_polygons(shp.with_name("38SLF_Alpha_labelled_area.shp"), [])
    with pytest.raises(InputError, match=r"labelled_area\.shp: empty"):
        run(tmp_path)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_small_blocks_give_the_same_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_scene(tmp_path / "in", vv=np.full((70, 75), 0.1))
    write_polygons(city_polygons(tmp_path / "in"), [on_ground(shapely.Point(35, 33).buffer(29))])
    run(tmp_path)
    once = only_mask(tmp_path)
    monkeypatch.setattr(module, "WINDOW", (16, 32))
    monkeypatch.setattr(module, "BLOCK", 16)
    run(tmp_path, all_touched=False)
    run(tmp_path, all_touched=True)
    np.testing.assert_array_equal(only_mask(tmp_path), once)


@pytest.mark.skipif(shutil.which("gdal_rasterize") is None, reason="gdal-bin is not installed")
def test_mask_equals_gdal_rasterize(tmp_path: Path) -> None:
    write_scene(tmp_path / "in")
    generator = np.random.default_rng(3)
    shapes = [
        on_ground(shapely.Point(*generator.uniform(0, 64, 2)).buffer(generator.uniform(0.3, 6)))
        for _ in range(30)
    ]
    shp = write_polygons(city_polygons(tmp_path / "in"), shapes)
    run(tmp_path)
    bounds = [str(value) for value in Grid(UTM, TRANSFORM, 64, 64).bounds]
    command = ["gdal_rasterize", "-q", "-at", "-burn", "1", "-ot", "Byte", "-ts", "64", "64"]
    subprocess.run([*command, "-te", *bounds, shp, tmp_path / "gdal.tif"], check=True)
    with rasterio.open(tmp_path / "gdal.tif") as dataset:
        np.testing.assert_array_equal(only_mask(tmp_path), dataset.read(1))


def test_real_labels_outside_the_campus_are_unknown(tmp_path: Path) -> None:
    summary = rasterize(input_path=real_data() / "train", output_path=tmp_path, num_workers=1)
    assert summary.counts["polygons"] == 626 + 3
    with rasterio.open(next(tmp_path.rglob("s1a_50TMK_mask*.tif"))) as dataset:
        mask = dataset.read(1)
    assert set(np.unique(mask)) == {0, 1, 255}
    known = mask != 255
    assert 0.05 < known.mean() < 0.2  # one campus of 3 km² in 36 km²
    assert 0.2 < mask[known].mean() < 0.6


def test_windows_cut_from_blocks_are_those_burnt_by_themselves() -> None:
    generator = np.random.default_rng(3)
    centres = generator.uniform(0, 300, (60, 2))
    shapes = shapely.buffer(shapely.points(centres * 10), generator.uniform(5, 400, 60))
    grid = Grid(UTM, Affine(10, 0, 0, 0, 10, 0), 300, 300)
    burner = Burner.of(PolygonSet(Path("a.shp"), shapes, UTM), grid, all_touched=True)
    blocks = BlockBurner(burner, (128, 96))
    for window in aligned(300, 300, (32, 48)):
        np.testing.assert_array_equal(blocks.burn(window), burner.burn(window))
    with pytest.raises(ValueError, match="one block"):
        blocks.burn(Window(100, 0, 64, 10))
