"""Pseudo-labels: on each scene's grid, of its own map or its city's, and what they say of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.warp import Resampling, reproject
from shapely.geometry import Polygon

from builtup.errors import BuiltupError, InputError
from builtup.geo.probability import NODATA
from builtup.maps.cities import all_agg_by_city
from builtup.maps.pseudo_labels import pseudo_labels
from builtup.runs.records import InferenceRecord, Summary
from builtup.runs.results import PredictionTags, write_tags
from builtup.tiles.cut import generate_tiles
from builtup.tiles.stats import generate_tiles_stats
from builtup.tiles.table import read_tile_stats
from builtup.tiles.tile import read_tiles
from builtup.training.learnt_ground import LearntGround
from builtup.training.pseudo_record import PseudoRecord
from helpers import CRS, write_polygons
from tile_data import TRANSFORM, add_scene, moved

CITY, SHAPE = "38SLF_Alpha", (40, 48)
DATES = ("20150101", "20150202")
Levels = NDArray[np.uint8]


def predicted(root: Path, date: str, levels: Levels, transform: Affine = TRANSFORM) -> None:
    """A scene's probabilities, as merge_tiles leaves them."""
    path = root / "raw" / f"s1a_38SLF_prob_ASC_{date}.tif"
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = levels.shape
    tags = PredictionTags(f"s1a_38SLF_{{}}_ASC_{date}", CITY, width, height, "inference", 0.4)
    profile = {"crs": CRS, "transform": transform, "width": width, "height": height}
    with rasterio.open(
        path, "w", driver="GTiff", count=1, dtype="uint8", nodata=NODATA, **profile
    ) as out:
        out.write(levels, 1)
        write_tags(out, tags)


def levels_of(seed: int) -> Levels:
    return np.random.default_rng(seed).integers(0, 255, SHAPE, dtype=np.uint8)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two dates of a city, the second moved by half a pixel: scenes, tiles and predictions."""
    for number, date in enumerate(DATES):
        transform = moved(0.5 * number, 0)
        add_scene(tmp_path, date=date, shape=SHAPE, transform=transform)
        predicted(tmp_path / "maps", date, levels_of(number), transform)
    tile(tmp_path)
    training = tmp_path / "training"
    (training / "config").mkdir(parents=True)
    (training / "config" / "settings.json").write_text('{"files": [], "settings": {}}')
    LearntGround(folds=("38SZZ_Far",), named=("38SZZ_Far",)).write(training)
    Summary(finished=True, trained_on=("38SZZ_Far",), val_cities=("38SYY_Near",)).write(training)
    InferenceRecord(run_id="inference", training_run=str(training)).write(tmp_path / "maps")
    all_agg_by_city(input_path=str(tmp_path / "maps"), num_workers=1)
    return tmp_path


def tile(root: Path) -> None:
    generate_tiles(
        input_path=root / "images_3b", output_path=root / "tiles" / "images", tile_size=32,
        overlap=8, materialize=False, num_workers=1,
    )  # fmt: skip


def label(root: Path, **options: Any) -> PseudoRecord:
    pseudo_labels(
        input_path=str(root / "maps"), tiles_path=root / "tiles", output_path=root / "pseudo",
        num_workers=1, **options,
    )  # fmt: skip
    return PseudoRecord.read(root / "pseudo")


def layer(root: Path, name: str, date: str = DATES[0]) -> Levels:
    kind = {"masks": "mask"}.get(name, name)
    with rasterio.open(root / "pseudo" / name / CITY / f"s1a_38SLF_{kind}_ASC_{date}.tif") as found:
        values: Levels = found.read(1)
    return values


def test_soft_labels_are_the_probabilities_and_masks_cut_them_at_the_threshold(data: Path) -> None:
    record = label(data)
    soft, mask = layer(data, "soft"), layer(data, "masks")
    assert np.array_equal(soft, levels_of(0))
    assert np.array_equal(mask == 1, (soft >= 102) & (soft != 255))  # ⌈254 · .4⌉
    assert (record.mode, record.source, record.threshold, record.scenes) == (
        "soft",
        "scene",
        0.4,
        2,
    )
    assert record.kept == 1 and record.low is None
    assert record.built_up == pytest.approx(np.mean([levels_of(i) >= 102 for i in (0, 1)]))


def test_hard_labels_are_where_the_map_is_sure(data: Path) -> None:
    record = label(data, mode="hard", low=0.25, high=0.75)
    level, mask = levels_of(0), layer(data, "masks")
    assert np.array_equal(mask == 0, level <= 63) and np.array_equal(mask == 1, level >= 191)
    assert not (data / "pseudo" / "soft").exists()
    both = np.stack([levels_of(i) for i in (0, 1)])
    assert record.kept == pytest.approx(np.mean((both <= 63) | (both >= 191)))
    assert (record.low, record.high) == (0.25, 0.75)


def test_labels_of_a_city_are_its_mean_warped_back_to_each_date(data: Path) -> None:
    label(data, source="city")
    with rasterio.open(data / "maps" / "raw" / f"{CITY}_prob.tif") as mean:
        assert np.array_equal(layer(data, "soft"), mean.read(1))  # on its grid
        warped = np.full(SHAPE, NODATA, np.uint8)
        reproject(
            mean.read(1), warped, src_transform=mean.transform, src_crs=CRS, src_nodata=NODATA,
            dst_transform=moved(0.5, 0), dst_crs=CRS, dst_nodata=NODATA,
            resampling=Resampling.bilinear,
        )  # fmt: skip
    assert np.array_equal(layer(data, "soft", DATES[1]), warped)
    assert not np.array_equal(warped, layer(data, "soft"))


def test_ground_on_which_dates_disagree_has_no_label(data: Path) -> None:
    record = label(data, source="city", max_std=0.2)
    with rasterio.open(data / "maps" / "raw" / f"{CITY}_std.tif") as found:
        apart = found.read(1) > 0.2
    soft = layer(data, "soft")
    assert apart.any() and (soft[apart] == 255).all() and (soft[~apart] != 255).any()
    assert (layer(data, "masks")[apart] == 255).all()
    assert 0.1 < record.kept < 0.9 and record.max_std == 0.2


def test_the_record_names_the_teacher_and_the_ground_it_has_learnt_from(data: Path) -> None:
    record = label(data)
    assert (record.teacher, record.inference) == ("training", "inference")
    assert record.learnt == LearntGround(folds=("38SZZ_Far",), named=("38SZZ_Far",))
    assert record.tuned_on == ("38SYY_Near", "38SZZ_Far")
    assert record.quality is None
    told = json.loads((data / "pseudo" / "pseudo.json").read_text())
    assert told["version"] == 1 and told["learnt"]["folds"] == ["38SZZ_Far"]


def test_an_unknown_teacher_is_said(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    (data / "maps" / InferenceRecord.NAME).unlink()
    assert label(data).learnt is None
    assert "what its network (unknown) has learnt from is not known" in caplog.text


def test_quality_is_measured_where_truth_is_known(data: Path) -> None:
    x, y = TRANSFORM @ (0, 0)
    square = [(x, y), (x + 200, y), (x + 200, y - 400), (x, y - 400)]
    write_polygons(data / "truth" / "Alpha_2015" / f"{CITY}.shp", [Polygon(square)], CRS)
    record = label(data, gt_path=str(data / "truth"))
    assert record.quality is not None and set(record.quality) == {CITY, "pooled"}
    built = [levels_of(i) >= 102 for i in (0, 1)]
    true = [np.zeros(SHAPE, bool) for _ in built]
    true[0][:, :20] = true[1][:, :20] = True
    true[1][:, 20] = False
    hits = sum(int((b & t).sum()) for b, t in zip(built, true, strict=True))
    precision = hits / sum(int(b.sum()) for b in built)
    assert record.quality["pooled"]["precision"] == pytest.approx(precision, abs=0.03)


def test_what_is_written_is_a_folder_of_tiles_to_learn_from(data: Path) -> None:
    label(data)
    pseudo = data / "pseudo"
    generate_tiles_stats(
        input_path=pseudo, output_path=pseudo, folds="blocks", gap=2, num_workers=1
    )
    tiles = read_tile_stats(pseudo / "tile_stats.csv")
    ids = [tile.tile_id for tile in read_tiles(data / "tiles" / "images" / "tiles.csv")]
    assert [t.tile.tile_id for t in tiles] == ids
    assert [t.tile_id for t in read_tiles(pseudo / "soft" / "tiles.csv")] == ids
    assert all(0 < t.target_ratio < 1 for t in tiles)


def test_nothing_is_done_twice(data: Path) -> None:
    label(data)
    path = data / "pseudo" / "soft" / CITY / f"s1a_38SLF_soft_ASC_{DATES[0]}.tif"
    before = path.stat().st_mtime_ns
    record = label(data)
    assert path.stat().st_mtime_ns == before
    assert record == PseudoRecord.read(data / "pseudo") and record.kept == 1
    label(data, source="city")
    assert path.stat().st_mtime_ns > before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "softest"}, "mode=softest: unknown; use soft, hard, tags or negatives"),
        ({"source": "town"}, "source=town: unknown; use scene or city"),
        ({"mode": "hard", "low": 0.8, "high": 0.2}, "low below high"),
        ({"max_std": 0.1}, "max_std: is of the dates of a city"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    data: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(BuiltupError, match=message):
        label(data, **options)
    assert not (data / "pseudo").exists()


def test_a_scene_without_a_prediction_and_a_city_without_a_map_are_refused(data: Path) -> None:
    (data / "maps" / "raw" / f"{CITY}_prob.tif").unlink()
    with pytest.raises(InputError, match="no such map of the city; run all_agg_by_city"):
        label(data, source="city")
    (data / "maps" / "raw" / f"s1a_38SLF_prob_ASC_{DATES[1]}.tif").unlink()
    with pytest.raises(InputError, match=r"no probability raster of scene s1a_38SLF_\{\}_ASC_2015"):
        label(data)
    with pytest.raises(InputError, match="no such map of the city"):  # nothing is left
        label(data, source="city", on_error="skip")
    assert not (data / "pseudo").exists()
    assert label(data, on_error="skip").scenes == 1
