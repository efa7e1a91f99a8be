from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from builtup.errors import GridError, InputError
from builtup.jobs.steps import Summary
from builtup.sensors.catalogue import SENSORS
from builtup.sensors.radar.sentinel1 import SENTINEL1
from builtup.sensors.sensor import Axis
from builtup.tiles.normalisation import read_sensor
from builtup.tiles.stats import generate_tiles_stats
from builtup.tiles.table import read_tile_stats
from helpers import write_raster
from tile_data import add_scene, labels, moved, power, tile_all


def measure(folder: Path, **options: Any) -> Summary:
    defaults = {"output_path": folder, "gap": 6, "num_workers": 1}
    return generate_tiles_stats(input_path=folder, **{**defaults, **options})


@pytest.mark.parametrize("materialize", [True, False])
def test_rows_hold_what_numpy_computes(tmp_path: Path, materialize: bool) -> None:
    image, mask = add_scene(tmp_path)
    folder = tile_all(tmp_path, materialize=materialize)
    measure(folder)
    with (folder / "tile_stats.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == 12
    for row in rows:
        x, y, w, h = (int(row[k]) for k in ("x", "y", "width", "height"))
        part, label = image[:, y : y + h, x : x + w], mask[y : y + h, x : x + w]
        assert float(row["valid_fraction"]) == pytest.approx(np.isfinite(part[0]).mean())
        assert float(row["target_ratio"]) == pytest.approx((label[label != 255] == 1).mean())
        assert row["skip"] == "false"
        values = part.astype(np.float64)
        for band in (1, 2, 3):
            for what in ("min", "max", "mean", "std"):
                expected = getattr(np, f"nan{what}")(values[band - 1])
                assert float(row[f"img_{what}_{band}"]) == pytest.approx(expected, rel=1e-8)


def test_the_columns_are_those_of_the_contract(tmp_path: Path) -> None:
    add_scene(tmp_path)
    folder = tile_all(tmp_path)
    measure(folder)
    header = (folder / "tile_stats.csv").read_text().splitlines()[0].split(",")
    assert ",".join(header[:9]) == "tile_id,city,scene,date,x,y,width,height,path"
    assert ",".join(header[9:12]) == "fold_index,image_path,mask_path"
    assert ",".join(header[12:14]) == "valid_fraction,target_ratio"
    assert header[14:-1] == [
        f"img_{what}_{band}" for what in ("min", "max", "mean", "std") for band in (1, 2, 3)
    ]
    assert header[-1] == "skip"


def test_the_level_of_what_was_measured_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image, _ = add_scene(tmp_path)
    with caplog.at_level("INFO"):
        measure(tile_all(tmp_path))
    (line,) = (r.getMessage() for r in caplog.records if "medians" in r.getMessage())
    assert line.startswith("medians of the tiles, in decibels: VH -")
    expected = 10 * np.log10(np.nanmedian(image[1]))
    assert float(line.split("VV ")[1].split(",")[0]) == pytest.approx(expected, abs=0.3)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_decibels_that_were_merged_as_power_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add_scene(tmp_path, image=10 * np.log10(power((70, 90))))
    measure(tile_all(tmp_path))
    (warning,) = (r.getMessage() for r in caplog.records if r.levelname == "WARNING")
    assert "at or below -50 decibels, which linear power does not" in warning


def test_a_tile_without_labels_or_data_is_skipped(tmp_path: Path) -> None:
    image = power((70, 90), gap=35)
    mask = labels(image)
    mask[:, 80:] = 255
    add_scene(tmp_path, image=image, mask=mask)
    folder = tile_all(tmp_path)
    measure(folder)
    tiles = read_tile_stats(folder / "tile_stats.csv")
    assert [t.skip for t in tiles] == [t.tile.x == 0 for t in tiles]
    assert all(t.valid_fraction == 0 and t.target_ratio == 0 for t in tiles if t.skip)


def test_image_and_mask_come_back_side_by_side(tmp_path: Path) -> None:
    add_scene(tmp_path)
    folder = tile_all(tmp_path)
    measure(folder, output_path=tmp_path / "elsewhere")
    for t in read_tile_stats(tmp_path / "elsewhere/tile_stats.csv"):
        assert t.tile.path.parent.parent == folder / "images"
        assert t.mask.path.parent.parent == folder / "masks"
        assert t.mask.path.name == t.tile.path.name
        assert t.mask.tile_id == t.tile.tile_id


def test_everything_is_written_and_a_second_run_does_nothing(tmp_path: Path) -> None:
    add_scene(tmp_path)
    folder = tile_all(tmp_path)
    assert "1 scene, 12 tiles" in measure(folder).line()
    names = {p.name for p in folder.iterdir() if p.is_file()}
    assert names == {
        *("tile_stats.csv", "stats.json", "folds.json", "folds.gpkg", "histograms.png"),
    }
    assert "nothing to do" in measure(folder).line()


def test_one_changed_mask_redoes_its_scene_only(tmp_path: Path) -> None:
    add_scene(tmp_path)
    add_scene(tmp_path, date="20150201")
    measure(tile_all(tmp_path))
    add_scene(tmp_path, date="20150201", mask=np.ones((70, 90), np.uint8))
    folder = tile_all(tmp_path)
    summary = measure(folder)
    assert (summary.done, summary.up_to_date) == (1, 1)
    ratios = {t.tile.date: t.target_ratio for t in read_tile_stats(folder / "tile_stats.csv")}
    assert ratios["20150201"] == 1
    assert ratios["20150101"] < 1


def test_a_lost_output_comes_back_without_reading_the_tiles_again(tmp_path: Path) -> None:
    add_scene(tmp_path)
    folder = tile_all(tmp_path)
    measure(folder)
    before = (folder / "tile_stats.csv").read_bytes()
    (folder / "tile_stats.csv").unlink()
    assert "1 list, 12 tiles" in measure(folder).line()
    assert (folder / "tile_stats.csv").read_bytes() == before


def test_damaged_figures_are_measured_again(tmp_path: Path) -> None:
    add_scene(tmp_path)
    add_scene(tmp_path, date="20150201")
    folder = tile_all(tmp_path)
    measure(folder)
    part = folder / ".stats/s1a_38SLF_ASC_20150201.npz"
    table, figures = (folder / "tile_stats.csv").read_bytes(), part.read_bytes()
    part.write_bytes(bytes(len(figures)))
    summary = measure(folder)
    assert (summary.done, summary.up_to_date) == (1, 1)
    assert part.read_bytes() == figures
    assert (folder / "tile_stats.csv").read_bytes() == table


def test_a_scene_that_is_gone_leaves_tables_and_folds(tmp_path: Path) -> None:
    add_scene(tmp_path)
    add_scene(tmp_path, date="20150201")
    measure(tile_all(tmp_path))
    for folder, kind in (("images_3b", "3b"), ("masks", "mask")):
        (tmp_path / folder / "Alpha_2015" / f"s1a_38SLF_{kind}_ASC_20150101.tif").unlink()
    folder = tile_all(tmp_path)
    measure(folder)
    assert {t.tile.date for t in read_tile_stats(folder / "tile_stats.csv")} == {"20150201"}
    assert list(json.loads((folder / "folds.json").read_text())["scenes"]) == [
        "s1a_38SLF_{}_ASC_20150201"
    ]


def test_a_scene_without_masks_is_refused_or_skipped(tmp_path: Path) -> None:
    add_scene(tmp_path)
    add_scene(tmp_path, date="20150201")
    (tmp_path / "masks/Alpha_2015/s1a_38SLF_mask_ASC_20150101.tif").unlink()
    folder = tile_all(tmp_path)
    with pytest.raises(InputError, match="0 of the 12 tiles"):
        measure(folder)
    assert not (folder / "tile_stats.csv").exists()
    summary = measure(folder, on_error="skip")
    assert (summary.done, len(summary.skipped)) == (1, 1)
    assert {t.tile.date for t in read_tile_stats(folder / "tile_stats.csv")} == {"20150201"}


def test_a_mask_tile_without_its_image_is_refused(tmp_path: Path) -> None:
    add_scene(tmp_path)
    folder = tile_all(tmp_path)
    listed = folder / "images/tiles.csv"
    listed.write_text("".join(listed.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(InputError, match=r"images/tiles\.csv: 11 of the 12 tiles .* have an image"):
        measure(folder)


def test_masks_of_other_scenes_may_stand_beside(tmp_path: Path) -> None:
    add_scene(tmp_path)
    add_scene(tmp_path, date="20150201")
    (tmp_path / "images_3b/Alpha_2015/s1a_38SLF_3b_ASC_20150101.tif").unlink()
    folder = tile_all(tmp_path)
    assert measure(folder).done == 1


def test_masks_on_another_grid_are_refused(tmp_path: Path) -> None:
    _, mask = add_scene(tmp_path)
    path = tmp_path / "masks/Alpha_2015/s1a_38SLF_mask_ASC_20150101.tif"
    write_raster(path, mask, moved(0.5, 0), nodata=255)
    folder = tile_all(tmp_path)
    with pytest.raises(GridError, match="pixels apart"):
        measure(folder)


def test_a_missing_tile_is_named(tmp_path: Path) -> None:
    add_scene(tmp_path)
    folder = tile_all(tmp_path)
    gone = folder / "masks/s1a_38SLF_mask_ASC_20150101_tiles/tile_19_19.tif"
    gone.unlink()
    with pytest.raises(InputError, match=str(gone)):
        measure(folder)
    assert not (folder / "tile_stats.csv").exists()


def test_bytes_do_not_depend_on_processes_or_repetition(tmp_path: Path) -> None:
    for date in ("20150101", "20150201"):
        add_scene(tmp_path, date=date)
    add_scene(tmp_path, city="Beta_2015", tile="37SGF", crs="EPSG:32637")
    folder = tile_all(tmp_path)
    for target, workers in (("one", 1), ("two", 2)):
        measure(folder, output_path=tmp_path / target, num_workers=workers)
    for name in ("tile_stats.csv", "stats.json", "folds.json", "folds.gpkg", "histograms.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_masks_of_three_classes_pass_through_with_the_share_of_each(tmp_path: Path) -> None:
    _, mask = add_scene(tmp_path)
    three = mask.copy()
    three[:20, 60:] = 2
    add_scene(tmp_path, date="20150201", mask=three)
    folder = tile_all(tmp_path)
    assert "2 scenes, 24 tiles" in measure(folder).line()
    with (folder / "tile_stats.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert list(rows[0])[13:18] == ["target_ratio", "share_0", "share_1", "share_2", "img_min_1"]
    for t in read_tile_stats(folder / "tile_stats.csv"):
        whole = three if t.tile.date == "20150201" else mask
        label = whole[t.tile.window.slices]
        known = label[label != 255]
        for share, number in zip(t.shares, range(3), strict=True):
            assert share == pytest.approx((known == number).mean(), rel=1e-8, abs=1e-12)
        assert t.target_ratio == pytest.approx((known == 1).mean(), rel=1e-8)
    assert "nothing to do" in measure(folder).line()


def test_another_sensor_has_its_own_bands_gaps_and_axis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heights = replace(
        SENTINEL1,
        name="heights",
        bands=("height", "slope"),
        read=(2,),
        invalid=lambda bands, nodata: bands[0] < 0,
        axis=Axis(0.0, 90.0, "degrees", lambda values: values),
    )
    image = np.stack([np.full((70, 90), 7.0), np.full((70, 90), 30.0)]).astype(np.float32)
    image[1, :, :10] = -1
    add_scene(tmp_path, image=image, mask=np.zeros((70, 90), np.uint8))
    monkeypatch.setitem(SENSORS, "heights", heights)
    for path in (tmp_path / "images_3b").rglob("*.tif"):
        with rasterio.open(path, "r+") as dataset:
            dataset.update_tags(BUILTUP_SENSOR="heights")
    folder = tile_all(tmp_path)
    measure(folder)
    with (folder / "tile_stats.csv").open() as f:
        row = next(iter(csv.DictReader(f)))
    assert float(row["valid_fraction"]) == pytest.approx(22 / 32)
    assert (row["img_mean_1"], row["img_mean_2"]) == ("7", "30") and "img_mean_3" not in row
    stats = json.loads((folder / "stats.json").read_text())
    assert stats["sensor"] == "heights" and stats["pixels"]["all"] == 70 * 80
    assert read_sensor(folder) is heights


def test_what_a_scene_says_of_its_gaps_is_the_sensors_rule(tmp_path: Path) -> None:
    image = power((70, 90))
    image[:2, :10] = 0  # both polarisations: no measurement
    image[1, 20:30] = -9999
    add_scene(tmp_path, image=image)
    folder = tile_all(tmp_path)
    measure(folder)
    first = read_tile_stats(folder / "tile_stats.csv")[0]
    assert first.valid_fraction == pytest.approx((32 - 5) * (10 + 2) / 32**2)
