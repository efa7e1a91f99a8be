from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform
from shapely import box

from builtup.errors import LeakageError
from builtup.tiles.folds import check_folds
from builtup.tiles.leakage import leaks, reproject
from tile_data import add_scene, moved, prepared

NEIGHBOUR = {"city": "Beta_2015", "tile": "38SMF"}


def test_distant_cities_pass(tmp_path: Path) -> None:
    add_scene(tmp_path)
    add_scene(tmp_path, **NEIGHBOUR, transform=moved(5000, 0))
    folds, tiles = prepared(tmp_path)
    for fold in (0, 1):
        check_folds(folds, tiles, fold)


@pytest.mark.parametrize(("distance", "leaky"), [(80, True), (95, True), (96, False), (97, False)])
def test_cities_nearer_than_the_gap_are_refused(tmp_path: Path, distance: int, leaky: bool) -> None:
    # 90 pixels wide: at 96 the six pixels of the gap lie between
    image = np.full((3, 70, 90), 0.1, np.float32)
    mask = np.zeros((70, 90), np.uint8)
    add_scene(tmp_path, image=image, mask=mask)
    add_scene(tmp_path, **NEIGHBOUR, transform=moved(distance, 0), image=image, mask=mask)
    folds, tiles = prepared(tmp_path, gap=7)
    if leaky:
        with pytest.raises(LeakageError, match=r"s1a_38SLF_\{\}_ASC_20150101.*s1a_38SMF"):
            check_folds(folds, tiles, folds.index_of("Beta"))
    else:
        check_folds(folds, tiles, folds.index_of("Beta"))


def test_the_error_names_tiles_on_both_sides_and_the_remedy(tmp_path: Path) -> None:
    add_scene(tmp_path)
    add_scene(tmp_path, **NEIGHBOUR, transform=moved(60, 0))
    folds, tiles = prepared(tmp_path)
    with pytest.raises(LeakageError) as caught:
        check_folds(folds, tiles, folds.index_of("Beta"))
    text = str(caught.value)
    for part in ("fold 38SMF_Beta", "s1a_38SLF_ASC_20150101_38_0", "38SMF", "folds_drop"):
        assert part in text
    assert "s1a_38SLF_ASC_20150101_0_0" not in text


def test_folds_drop_leaves_out_the_common_ground_and_nothing_else(tmp_path: Path) -> None:
    add_scene(tmp_path)
    add_scene(tmp_path, **NEIGHBOUR, transform=moved(60, 0))
    folds, tiles = prepared(tmp_path)
    beta = folds.index_of("Beta")
    kept = folds.training_tiles(tiles, beta, drop_common=True)
    assert {t.tile.x for t in kept} == {0, 19}
    check_folds(folds, tiles, beta, folds_drop=True)


def _in_zone_37(width: int, height: int) -> Affine:
    """A grid of zone 37 over the ground of the tests, which lies in zone 38."""
    (x,), (y,) = transform(CRS.from_epsg(32638), CRS.from_epsg(32637), [300_000], [4_000_000])
    return Affine(10, 0, x, 0, -10, y)


def test_common_ground_is_found_across_utm_zones(tmp_path: Path) -> None:
    add_scene(tmp_path)
    add_scene(
        tmp_path,
        city="Beta_2015",
        tile="37SGF",
        transform=_in_zone_37(90, 70),
        crs="EPSG:32637",
    )
    folds, tiles = prepared(tmp_path)
    with pytest.raises(LeakageError, match="37SGF"):
        check_folds(folds, tiles, folds.index_of("Beta"))


def test_reprojection_agrees_with_gdal() -> None:
    source, target = CRS.from_epsg(32638), CRS.from_epsg(32637)
    (found,) = reproject([box(300_000, 4_000_000, 300_500, 4_000_500)], source, target)
    (left, right), (bottom, top) = transform(
        source, target, [300_000, 300_500], [4_000_000, 4_000_500]
    )
    assert found.distance(box(left, bottom, left, bottom)) < 1e-3
    assert found.distance(box(right, top, right, top)) < 1e-3


@pytest.mark.parametrize("shift", [(0, 0), (0.4, -0.3), (10, 4)])
def test_blocks_with_their_gap_never_leak_even_between_shifted_dates(
    tmp_path: Path, shift: tuple[float, float]
) -> None:
    add_scene(tmp_path)
    add_scene(tmp_path, date="20150201", transform=moved(*shift))
    folds, tiles = prepared(tmp_path)
    for fold in range(4):
        check_folds(folds, tiles, fold)


def test_a_training_list_that_reaches_into_the_block_is_found(tmp_path: Path) -> None:
    # as if another program had chosen the tiles: the block's own gap is forgotten
    from dataclasses import replace

    add_scene(tmp_path)
    folds, tiles = prepared(tmp_path, gap=6)
    no_gap = replace(folds, blocks=tuple(replace(b, gap=(0.0, 0.0)) for b in folds.blocks))
    assert leaks(no_gap, tiles, no_gap.training_tiles(tiles, 0), 0)
    with pytest.raises(LeakageError):
        check_folds(no_gap, tiles, 0)


def test_no_validation_means_no_leak(tmp_path: Path) -> None:
    add_scene(tmp_path)
    add_scene(tmp_path, **NEIGHBOUR, transform=moved(60, 0))
    folds, tiles = prepared(tmp_path)
    check_folds(folds, tiles, None)
