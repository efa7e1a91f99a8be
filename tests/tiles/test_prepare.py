from __future__ import annotations

import time
from pathlib import Path

import pytest
from shapely import box

from builtup.errors import InputError
from builtup.jobs.steps import Summary
from builtup.tiles.folds import Folds
from builtup.tiles.prepare import prepare
from builtup.tiles.table import read_tile_stats
from builtup.tiles.tile import read_tiles
from helpers import city_polygons, write_polygons, write_scene


def write_split(root: Path, city: str = "Alpha_2015", tile: str = "38SLF") -> None:
    write_scene(root, city=city, tile=tile)
    shapes = [box(300_100, 3_999_700, 300_300, 3_999_900)]
    write_polygons(city_polygons(root, city, tile), shapes)


def run(root: Path, **options: object) -> list[Summary]:
    return prepare(
        input_path=root / "input",
        output_path=root / "output",
        tiles_path=root / "input",
        num_workers=1,
        **options,  # type: ignore[arg-type]
    )


def test_all_steps_run_for_train_and_test(tmp_path: Path) -> None:
    write_split(tmp_path / "input/train")
    write_scene(tmp_path / "input/test", city="Beta_2015", tile="38RNV")
    assert [s.step for s in run(tmp_path)] == [
        "train/generate_3b_images",
        "train/rasterize",
        "train/generate_tiles/images",
        "train/generate_tiles/masks",
        "train/generate_tiles_stats",
        "test/generate_3b_images",
        "test/generate_test_tiles",
    ]
    (tile,) = read_tile_stats(tmp_path / "input/train_tiles/tile_stats.csv")
    assert tile.valid_fraction == 1
    assert 0.08 < tile.target_ratio < 0.12  # 20 x 20 of 64 x 64 pixels, and what they touch
    assert Folds.read(tmp_path / "input/train_tiles").kind == "blocks"
    (test_tile,) = read_tiles(tmp_path / "input/test_tiles/images/tiles.csv")
    assert test_tile.city == "38RNV_Beta"


def test_a_second_run_does_nothing_and_says_so(tmp_path: Path) -> None:
    write_split(tmp_path / "input/train")
    write_scene(tmp_path / "input/test", city="Beta_2015", tile="38RNV")
    run(tmp_path)
    started = time.process_time()
    assert all("nothing to do" in s.line() for s in run(tmp_path))
    assert time.process_time() - started < 2


@pytest.mark.parametrize(("present", "missing"), [("train", "test"), ("test", "train")])
def test_a_missing_split_is_left_out_aloud(
    tmp_path: Path, present: str, missing: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_split(tmp_path / "input" / present)
    caplog.set_level("INFO")
    assert {s.step.split("/")[0] for s in run(tmp_path)} == {present}
    assert f"{missing} is left out" in caplog.text


def test_an_empty_test_split_is_left_out_aloud(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_split(tmp_path / "input/train")
    (tmp_path / "input/test").mkdir()
    caplog.set_level("INFO")
    assert {s.step.split("/")[0] for s in run(tmp_path)} == {"train"}
    assert "no scene below it, test is left out" in caplog.text


def test_an_empty_train_split_is_named_itself(tmp_path: Path) -> None:
    (tmp_path / "input/train").mkdir(parents=True)
    write_scene(tmp_path / "input/test", city="Beta_2015", tile="38RNV")
    with pytest.raises(InputError, match=r"input/train: no VV–VH scene below it"):
        run(tmp_path)


def test_each_step_is_told_as_it_ends(tmp_path: Path) -> None:
    write_split(tmp_path / "input/train")
    gone, _ = write_scene(tmp_path / "input/test", city="Beta_2015", tile="38RNV")
    gone.unlink()
    told: list[str] = []
    with pytest.raises(InputError, match="VH without VV"):
        run(tmp_path, tell=lambda summary: told.append(summary.step))
    assert told[0] == "train/generate_3b_images"
    assert told[-1] == "train/generate_tiles_stats"


def test_no_split_at_all_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "input").mkdir()
    with pytest.raises(InputError, match="neither train nor test"):
        run(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        run(tmp_path / "nowhere")


def test_bad_input_is_skipped_and_listed_on_request(tmp_path: Path) -> None:
    write_split(tmp_path / "input/train")
    vv, _ = write_scene(tmp_path / "input/train", date="20150201")
    vv.unlink()
    with pytest.raises(InputError, match="VH without VV"):
        run(tmp_path)
    summaries = run(tmp_path, on_error="skip")
    assert any("VH without VV" in str(p) for p in summaries[0].skipped)
    assert len(read_tile_stats(tmp_path / "input/train_tiles/tile_stats.csv")) == 1
