from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from builtup.errors import BuiltupError, InputError
from builtup.jobs.steps import Summary
from builtup.tiles.cut import generate_tiles
from builtup.tiles.tile import read_tile, read_tiles
from tile_data import TRANSFORM, add_scene


def cut(root: Path, kind: str = "images_3b", target: str = "tiles", **options: object) -> Summary:
    defaults = {"tile_size": 32, "overlap": 8, "materialize": True, "num_workers": 1}
    return generate_tiles(
        input_path=root / kind, output_path=root / target, **{**defaults, **options}
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("materialize", [True, False])
def test_tiles_are_windows_of_their_scene(tmp_path: Path, materialize: bool) -> None:
    image, _ = add_scene(tmp_path)
    cut(tmp_path, materialize=materialize)
    tiles = read_tiles(tmp_path / "tiles/tiles.csv")
    assert [(t.x, t.y) for t in tiles][:5] == [(0, 0), (19, 0), (38, 0), (58, 0), (0, 19)]
    assert max(t.x + t.width for t in tiles) == 90
    assert max(t.y + t.height for t in tiles) == 70
    for t in tiles:
        expected = image[:, t.y : t.y + t.height, t.x : t.x + t.width]
        np.testing.assert_array_equal(read_tile(t), expected)
        assert t.tile_id == f"s1a_38SLF_ASC_20150101_{t.x}_{t.y}"
        assert (t.city, t.scene, t.date) == ("38SLF_Alpha", "s1a_38SLF_{}_ASC_20150101", "20150101")


@settings(max_examples=12)
@given(st.integers(5, 90), st.integers(5, 90), st.integers(16, 40), st.integers(0, 15))
def test_tiles_cover_their_scene_without_padding(
    tmp_path_factory: pytest.TempPathFactory, width: int, height: int, size: int, overlap: int
) -> None:
    root = tmp_path_factory.mktemp("cover")
    add_scene(root, shape=(height, width))
    cut(root, tile_size=size, overlap=overlap, materialize=False)
    covered = np.zeros((height, width), dtype=bool)
    for t in read_tiles(root / "tiles/tiles.csv"):
        assert (t.width, t.height) == (min(size, width), min(size, height))
        covered[t.window.slices] = True
    assert covered.all()


def test_a_scene_smaller_than_a_tile_is_one_tile(tmp_path: Path) -> None:
    image, _ = add_scene(tmp_path, shape=(20, 25))
    cut(tmp_path)
    (tile,) = read_tiles(tmp_path / "tiles/tiles.csv")
    np.testing.assert_array_equal(read_tile(tile), image)


def test_tile_files_keep_georeference_nodata_and_bands(tmp_path: Path) -> None:
    add_scene(tmp_path)
    cut(tmp_path)
    cut(tmp_path, "masks", "mask_tiles")
    file = tmp_path / "tiles/s1a_38SLF_3b_ASC_20150101_tiles/tile_19_38.tif"
    with rasterio.open(file) as tile:
        assert tile.crs.to_epsg() == 32638
        assert tile.transform == TRANSFORM * rasterio.Affine.translation(19, 38)
        assert np.isnan(tile.nodata)
    mask = tmp_path / "mask_tiles/s1a_38SLF_mask_ASC_20150101_tiles/tile_19_38.tif"
    with rasterio.open(mask) as tile:
        assert (tile.nodata, tile.dtypes) == (255, ("uint8",))


def test_image_and_mask_tiles_share_their_ids(tmp_path: Path) -> None:
    add_scene(tmp_path)
    cut(tmp_path)
    cut(tmp_path, "masks", "mask_tiles")
    images, masks = (read_tiles(tmp_path / f / "tiles.csv") for f in ("tiles", "mask_tiles"))
    assert [t.tile_id for t in images] == [t.tile_id for t in masks]


def test_a_second_run_does_nothing_and_a_changed_setting_redoes_all(tmp_path: Path) -> None:
    add_scene(tmp_path)
    add_scene(tmp_path, date="20150201")
    assert cut(tmp_path).done == 2
    assert "nothing to do, 2 scenes up to date" in cut(tmp_path).line()
    assert cut(tmp_path, tile_size=40).done == 2


def test_one_changed_scene_redoes_that_scene_only(tmp_path: Path) -> None:
    add_scene(tmp_path)
    add_scene(tmp_path, date="20150201")
    cut(tmp_path)
    changed, _ = add_scene(tmp_path, date="20150201", image=np.ones((3, 70, 90), np.float32))
    summary = cut(tmp_path)
    assert (summary.done, summary.up_to_date) == (1, 1)
    last = read_tiles(tmp_path / "tiles/tiles.csv")[-1]
    np.testing.assert_array_equal(read_tile(last), changed[:, -32:, -32:])


def test_a_scene_that_is_gone_leaves_the_list(tmp_path: Path, caplog: object) -> None:
    add_scene(tmp_path)
    add_scene(tmp_path, date="20150201")
    cut(tmp_path)
    (tmp_path / "images_3b/Alpha_2015/s1a_38SLF_3b_ASC_20150101.tif").unlink()
    caplog.set_level("INFO")  # type: ignore[attr-defined]
    assert "1 list" in cut(tmp_path).line()
    assert {t.date for t in read_tiles(tmp_path / "tiles/tiles.csv")} == {"20150201"}
    assert "no longer in tiles.csv" in caplog.text  # type: ignore[attr-defined]


def test_switching_materialize_points_the_list_elsewhere(tmp_path: Path) -> None:
    add_scene(tmp_path)
    cut(tmp_path)
    assert all(t.materialized for t in read_tiles(tmp_path / "tiles/tiles.csv"))
    cut(tmp_path, materialize=False)
    paths = {t.path for t in read_tiles(tmp_path / "tiles/tiles.csv")}
    assert paths == {tmp_path / "images_3b/Alpha_2015/s1a_38SLF_3b_ASC_20150101.tif"}


def test_the_list_is_found_when_the_whole_tree_moves(tmp_path: Path) -> None:
    add_scene(tmp_path / "a")
    cut(tmp_path / "a", materialize=False)
    (tmp_path / "a").rename(tmp_path / "b")
    tiles = read_tiles(tmp_path / "b/tiles/tiles.csv")
    assert all(t.path.is_relative_to(tmp_path / "b") for t in tiles)


def test_paths_hold_through_a_linked_output_folder(tmp_path: Path) -> None:
    (tmp_path / "disk/deep/er").mkdir(parents=True)
    add_scene(tmp_path)
    (tmp_path / "tiles").symlink_to(tmp_path / "disk/deep/er")
    cut(tmp_path, materialize=False)
    assert read_tile(read_tiles(tmp_path / "tiles/tiles.csv")[0]).shape == (3, 32, 32)


def test_a_truncated_scene_is_refused_by_name_and_leaves_nothing(tmp_path: Path) -> None:
    add_scene(tmp_path)
    file = tmp_path / "images_3b/Alpha_2015/s1a_38SLF_3b_ASC_20150101.tif"
    file.write_bytes(file.read_bytes()[:20_000])
    with pytest.raises(InputError, match=str(file)):
        cut(tmp_path)
    assert not list((tmp_path / "tiles").rglob("*tile*"))


def test_on_error_skip_lists_the_bad_scene_and_cuts_the_others(tmp_path: Path) -> None:
    add_scene(tmp_path)
    add_scene(tmp_path, date="20150201")
    bad = tmp_path / "images_3b/Alpha_2015/s1a_38SLF_3b_ASC_20150101.tif"
    bad.write_bytes(bad.read_bytes()[:20_000])
    summary = cut(tmp_path, on_error="skip")
    assert (summary.done, len(summary.skipped)) == (1, 1)
    assert {t.date for t in read_tiles(tmp_path / "tiles/tiles.csv")} == {"20150201"}


def test_an_overlap_as_large_as_the_tile_is_refused(tmp_path: Path) -> None:
    add_scene(tmp_path)
    with pytest.raises(BuiltupError, match="overlap=32"):
        cut(tmp_path, overlap=32)


def test_a_folder_without_scenes_or_with_both_kinds_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no 3-band scenes and no masks"):
        cut(tmp_path, "empty")
    add_scene(tmp_path / "both")
    with pytest.raises(InputError, match="scenes and masks"):
        cut(tmp_path, "both")


def test_several_processes_write_the_same_bytes_as_one(tmp_path: Path) -> None:
    for date in ("20150101", "20150201"):
        add_scene(tmp_path, date=date)
    cut(tmp_path, target="one")
    cut(tmp_path, target="two", num_workers=2)
    ones = sorted(p for p in (tmp_path / "one").rglob("*") if p.is_file())
    for one in ones:
        two = tmp_path / "two" / one.relative_to(tmp_path / "one")
        if one.suffix == ".json":
            assert json.loads(one.read_text()) == json.loads(two.read_text())
        assert one.read_bytes() == two.read_bytes()
    assert len(ones) > 20


@pytest.mark.parametrize("materialize", [True, False])
def test_the_list_says_the_year_of_cities_that_have_several(
    tmp_path: Path, materialize: bool
) -> None:
    add_scene(tmp_path, "Alpha_2015")
    add_scene(tmp_path, "Beta_2015", "38RPV")
    cut(tmp_path, materialize=materialize)
    listed = tmp_path / "tiles/tiles.csv"
    assert listed.read_text().startswith("tile_id,city,scene,date,x,y,width,height,path\n")
    assert {t.year for t in read_tiles(listed)} == {""}
    add_scene(tmp_path, "Alpha_2020", date="20191230")
    cut(tmp_path, materialize=materialize)
    assert listed.read_text().startswith("tile_id,city,scene,date,x,y,width,height,path,year\n")
    assert {(t.city, t.date, t.year) for t in read_tiles(listed)} == {
        ("38SLF_Alpha", "20150101", "2015"),
        ("38SLF_Alpha", "20191230", "2020"),
        ("38RPV_Beta", "20150101", ""),
    }
