"""The dates of a city are averaged where they are valid, on the grid that most of them have."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from rasterio.warp import Resampling, reproject

from builtup.errors import BuiltupError, InputError
from builtup.geo.probability import NODATA, level_of
from builtup.maps import cities
from builtup.maps.cities import all_agg_by_city
from builtup.runs.records import InferenceRecord
from builtup.runs.results import PredictionTags, read_tags, write_tags
from helpers import CRS, TRANSFORM

CLASSES = ("background", "building")


def write_date(
    root: Path,
    date: str,
    values: ArrayLike,
    city: str = "38SLF_Alpha",
    transform: Affine = TRANSFORM,
    threshold: float = 0.5,
    year: str = "",
    adapted: str = "",
    share: float | None = None,
) -> Path:
    """A scene's probabilities, as merge_tiles leaves them."""
    array = np.atleast_2d(np.asarray(values, dtype=np.uint8))
    height, width = array.shape
    path = root / "raw" / f"s1a_{city.split('_')[0]}_prob_{date}.tif"
    path.parent.mkdir(parents=True, exist_ok=True)
    scene = path.stem.replace("prob", "{}")
    profile = {"crs": CRS, "transform": transform, "width": width, "height": height}
    with rasterio.open(
        path, "w", driver="GTiff", count=1, dtype="uint8", nodata=NODATA, **profile
    ) as dataset:
        dataset.write(array, 1)
        own = (scene, city, width, height, "run", threshold, CLASSES)
        tags = PredictionTags(*own, year=year, adapted=adapted, share=share)
        write_tags(dataset, tags)
    return path


def read(root: Path, kind: str = "", city: str = "38SLF_Alpha") -> NDArray[np.generic]:
    with rasterio.open(root / "raw" / f"{city}{kind}.tif") as dataset:
        return dataset.read(1)


def aggregate(root: Path, **options: str) -> dict[str, int]:
    return all_agg_by_city(input_path=str(root), num_workers=1, **options).counts  # type: ignore


def test_dates_count_where_they_are_valid(tmp_path: Path) -> None:
    write_date(tmp_path, "20150101", [[254, 255, 255, 100]])
    write_date(tmp_path, "20150102", [[0, 200, 255, 101]])
    assert aggregate(tmp_path) == {"dates": 2}
    assert read(tmp_path, "_prob").tolist() == [[127, 200, 255, 101]]
    assert read(tmp_path, "_count").tolist() == [[2, 1, 0, 2]]
    assert read(tmp_path).tolist() == [[1, 1, 255, 0]]
    std = read(tmp_path, "_std")[0]
    assert std[0] == 0.5
    assert np.isnan(std[1:3]).all()
    assert std[3] == pytest.approx(0.5 / 254)


def test_deviation_is_that_of_numpy(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    dates = generator.integers(0, 256, (5, 33, 21), dtype=np.uint8)
    for i, values in enumerate(dates):
        write_date(tmp_path, f"2015010{i}", values)
    aggregate(tmp_path)
    p = np.where(dates == NODATA, np.nan, dates / 254)
    expected = np.where((dates != NODATA).sum(0) >= 2, np.nanstd(p, axis=0), np.nan)
    np.testing.assert_allclose(read(tmp_path, "_std"), expected, atol=1e-6)
    mean = np.nanmean(np.where(dates == NODATA, np.nan, dates.astype(float)), axis=0)
    np.testing.assert_array_equal(read(tmp_path, "_prob"), np.floor(mean + 0.5))


@given(st.integers(0, 254))
def test_level_is_exact_at_multiples_of_one_in_254(k: int) -> None:
    assert level_of(k / 254) == k
    assert level_of(float(np.nextafter(k / 254, -1))) == k


@given(st.floats(0, 1))
def test_level_is_the_least_value_at_the_threshold(threshold: float) -> None:
    level = level_of(threshold)
    assert level / 254 >= threshold - 1e-9
    assert level == 0 or (level - 1) / 254 < threshold


def test_one_date_gives_its_own_mask_at_the_given_threshold(tmp_path: Path) -> None:
    write_date(tmp_path, "20150101", [[10, 76, 77, 255]])
    aggregate(tmp_path, threshold="0.3")  # 76.2: 77 is the least built-up value
    assert read(tmp_path).tolist() == [[0, 0, 1, 255]]
    assert np.isnan(read(tmp_path, "_std")).all()
    assert read_tags(tmp_path / "raw" / "38SLF_Alpha.tif").threshold == 0.3


# of 1,000 pixels 700 look built-up: the share is 5/6 where it was 1/2 (as test_prior_shift
# reckons), so that odds of 1 : 5 are enough to be mapped, and .2 are 1 : 4
UNLIKE = np.repeat([51, 203], [300, 700]).reshape(20, 50)


def test_a_threshold_follows_the_share_of_the_city(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    write_date(tmp_path, "20150101", UNLIKE, share=0.5)
    aggregate(tmp_path)
    tags = read_tags(tmp_path / "raw" / "38SLF_Alpha.tif")
    assert tags.threshold == pytest.approx(1 / 6, abs=0.01) and tags.share == 0.5
    assert read(tmp_path).all()
    assert "38SLF_Alpha 0.1" in caplog.text and "(the network's 0.500, where 50.0 %" in caplog.text
    aggregate(tmp_path, threshold="0.5")
    tags = read_tags(tmp_path / "raw" / "38SLF_Alpha.tif")
    assert tags.threshold == 0.5 and tags.share is None
    assert read(tmp_path).sum() == 700


def test_a_city_adapted_to_keeps_its_threshold(tmp_path: Path) -> None:
    write_date(tmp_path, "20150101", UNLIKE, share=0.5)
    write_date(tmp_path, "20150102", UNLIKE, adapted="scene")
    aggregate(tmp_path)
    tags = read_tags(tmp_path / "raw" / "38SLF_Alpha_prob.tif")
    assert tags.threshold == 0.5 and tags.share is None


def test_the_blocks_of_a_large_city_that_tell_its_share_are_spread_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cities, "BLOCK", 16)
    values = np.tile(np.repeat([51, 203], 16).astype(np.uint8), (64, 4))
    write_date(tmp_path / "all", "20150101", values, share=0.5)
    aggregate(tmp_path / "all")
    monkeypatch.setattr(cities, "TELLING_BLOCKS", 11)
    write_date(tmp_path / "some", "20150101", values, share=0.5)
    aggregate(tmp_path / "some")
    of_all, of_some = (
        read_tags(tmp_path / name / "raw" / "38SLF_Alpha.tif").threshold for name in ("all", "some")
    )
    assert of_all == pytest.approx(0.5, abs=0.01)  # half and half, as in training
    assert of_some == pytest.approx(of_all, abs=0.1) and of_some != of_all


def test_the_grid_of_most_dates_is_kept_and_the_others_are_warped_onto_it(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    drifted = TRANSFORM @ Affine.translation(0.4, -0.3) * Affine.scale(1.00027)
    first = generator.integers(0, 255, (40, 50), dtype=np.uint8)
    first[5:15, 5:15] = NODATA
    write_date(tmp_path, "20150101", first, transform=drifted)
    nudged = TRANSFORM @ Affine.translation(0.001, 0)
    write_date(tmp_path, "20150102", np.full((42, 48), NODATA), transform=nudged)
    write_date(tmp_path, "20150103", np.full((42, 48), NODATA))
    assert aggregate(tmp_path) == {"dates": 3, "warped": 1}
    expected = np.full((42, 48), NODATA, np.uint8)
    reproject(
        first,
        expected,
        src_transform=drifted,
        src_crs=CRS,
        dst_transform=nudged,
        dst_crs=CRS,
        src_nodata=NODATA,
        dst_nodata=NODATA,
        resampling=Resampling.bilinear,
    )
    np.testing.assert_array_equal(read(tmp_path, "_prob"), expected)
    assert 0 < (expected == NODATA).sum() < expected.size
    with rasterio.open(tmp_path / "raw" / "38SLF_Alpha.tif") as dataset:
        assert dataset.transform == nudged


def test_of_two_grids_the_earliest_date_has_its_way(tmp_path: Path) -> None:
    write_date(tmp_path, "20150202", np.zeros((4, 5)))
    write_date(tmp_path, "20150101", np.zeros((6, 7)))
    aggregate(tmp_path)
    assert read(tmp_path).shape == (6, 7)


def test_every_city_has_its_four_cogs_and_their_tags(tmp_path: Path) -> None:
    write_date(tmp_path, "20150101", np.full((20, 30), 200))
    write_date(tmp_path, "20150101", np.full((20, 30), 20), city="38RPV_Beta")
    summary = all_agg_by_city(input_path=str(tmp_path), num_workers=2)
    assert (summary.done, summary.noun) == (2, "cities")
    for city in ("38SLF_Alpha", "38RPV_Beta"):
        for kind in ("_prob", "_std", "_count", ""):
            with rasterio.open(tmp_path / "raw" / f"{city}{kind}.tif") as dataset:
                assert dataset.dtypes == ("float32" if kind == "_std" else "uint8",)
                assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
                assert math.isnan(dataset.nodata) if kind == "_std" else dataset.nodata == NODATA
                assert read_tags(dataset) == PredictionTags("", city, 30, 20, "run", 0.5, CLASSES)
    again = all_agg_by_city(input_path=str(tmp_path), num_workers=2)
    assert (again.done, again.up_to_date) == (0, 2)
    changed = all_agg_by_city(input_path=str(tmp_path), num_workers=1, threshold="0.6")
    assert changed.done == 2


def test_dates_of_different_thresholds_need_one_to_be_given(tmp_path: Path) -> None:
    write_date(tmp_path, "20150101", np.full((2, 2), 200), threshold=0.4)
    write_date(tmp_path, "20150102", np.full((2, 2), 200), threshold=0.5)
    with pytest.raises(InputError, match=r"threshold 0\.5, that of .*0101\.tif is 0\.4; give"):
        aggregate(tmp_path)
    assert aggregate(tmp_path, threshold="0.5") == {"dates": 2}


def test_where_some_dates_were_adapted_to_theirs_is_the_threshold(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_date(tmp_path, "20150101", np.full((2, 2), 120), threshold=0.4)
    adapted = "scene, weight 0.8, 262144 pixels"
    write_date(tmp_path, "20150102", np.full((2, 2), 120), threshold=0.5, adapted=adapted)
    assert aggregate(tmp_path) == {"dates": 2}
    tags = read_tags(tmp_path / "raw" / "38SLF_Alpha.tif")
    assert (tags.threshold, tags.adapted) == (0.5, adapted)
    assert "adapted to some of its dates only; threshold 0.500" in caplog.text
    assert not read(tmp_path).any()


@pytest.mark.parametrize("threshold", ["high", "1.5", "0", "nan"])
def test_a_threshold_without_sense_is_refused(tmp_path: Path, threshold: str) -> None:
    write_date(tmp_path, "20150101", np.zeros((2, 2)))
    with pytest.raises(BuiltupError, match=f"threshold={threshold}"):
        aggregate(tmp_path, threshold=threshold)


def test_without_scene_rasters_the_remedy_is_named(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    with pytest.raises(InputError, match="run merge_tiles first"):
        aggregate(tmp_path)


def test_more_dates_than_a_byte_counts(tmp_path: Path) -> None:
    for i in range(260):
        write_date(tmp_path, str(20150000 + i), [[254 * (i < 130), NODATA if i else 7]])
    assert aggregate(tmp_path) == {"dates": 260}
    assert read(tmp_path, "_count").tolist() == [[260, 1]]
    assert read(tmp_path, "_prob").tolist() == [[127, 7]]
    assert read(tmp_path, "_std")[0, 0] == 0.5


# --- more than two classes ----------------------------------------------------------------------

THREE = ("water", "building", "street")


def write_three(root: Path, date: str, values: ArrayLike) -> Path:
    """A scene's probabilities of three classes (3, H, W)."""
    array = np.asarray(values, dtype=np.uint8)
    _, height, width = array.shape
    path = root / "raw" / f"s1a_38SLF_prob_{date}.tif"
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"crs": CRS, "transform": TRANSFORM, "width": width, "height": height}
    with rasterio.open(
        path, "w", driver="GTiff", count=3, dtype="uint8", nodata=NODATA, **profile
    ) as dataset:
        dataset.write(array)
        dataset.descriptions = THREE
        own = (f"s1a_38SLF_{{}}_{date}", "38SLF_Alpha", width, height, "run", 0.1, THREE)
        write_tags(dataset, PredictionTags(*own).of_kind("scene"))
    return path


def test_of_more_than_two_classes_the_likeliest_is_mapped(tmp_path: Path) -> None:
    # building is above its threshold everywhere, and the likeliest in one pixel only
    write_three(tmp_path, "20150101", [[[200, 20, 255]], [[44, 214, 255]], [[10, 20, 255]]])
    write_three(tmp_path, "20150102", [[[100, 30, 255]], [[54, 194, 255]], [[100, 30, 255]]])
    assert aggregate(tmp_path) == {"dates": 2}
    np.testing.assert_array_equal(read(tmp_path), [[0, 1, NODATA]])
    deviation = read(tmp_path, "_std")
    np.testing.assert_allclose(deviation[0, :2], [5 / 254, 10 / 254], rtol=1e-6)
    with rasterio.open(tmp_path / "raw" / "38SLF_Alpha_prob.tif") as prob:
        assert prob.descriptions == THREE
        assert prob.read()[:, 0, 0].tolist() == [150, 49, 55]
    kinds = {"": "classes", "_prob": "prob", "_std": "std", "_count": "count"}
    for end, kind in kinds.items():
        tags = read_tags(tmp_path / "raw" / f"38SLF_Alpha{end}.tif")
        assert (tags.kind, tags.mapped, tags.decision) == (kind, "building", "argmax")


def test_two_classes_say_what_they_always_said(tmp_path: Path) -> None:
    write_date(tmp_path, "20150101", [[254, 0]])
    aggregate(tmp_path)
    with rasterio.open(tmp_path / "raw" / "38SLF_Alpha.tif") as mask:
        known = {name for name in mask.tags() if name.startswith("BUILTUP_")}
    names = ("CITY", "GRID", "RUN_ID", "THRESHOLD", "CLASSES")  # an empty scene is none
    assert known == {f"BUILTUP_{name}" for name in names}


def test_the_probability_says_its_scale_and_unit(tmp_path: Path) -> None:
    write_date(tmp_path, "20150101", [[127, 254, 255]])
    aggregate(tmp_path)
    with rasterio.open(tmp_path / "raw" / "38SLF_Alpha_prob.tif") as dataset:
        assert (dataset.scales, dataset.offsets) == ((1 / 254,), (0,))
        assert dataset.units == ("probability",)
        assert dataset.read(1).tolist() == [[127, 254, 255]]


def test_doubts_are_logged_and_stand_in_the_tags(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for city in ("38SLF_Alpha", "38SMB_Beta"):
        write_date(tmp_path, "20150101", np.full((40, 50), 90), city=city)
    InferenceRecord(doubts=("it has seen nothing",)).write(tmp_path)
    aggregate(tmp_path)
    found = read_tags(tmp_path / "raw" / "38SLF_Alpha.tif").doubts
    assert found[0] == "it has seen nothing"
    assert [text.split(" (")[0] for text in found[1:]] == [
        "the probabilities hardly vary",
        "nothing is mapped as building",
    ]
    assert caplog.messages[0] == "doubt about 38SLF_Alpha, 38SMB_Beta: it has seen nothing"
    caplog.clear()
    summary = all_agg_by_city(input_path=str(tmp_path))
    assert summary.done == 0 and len(caplog.messages) == 3  # said again


def test_parts_of_one_day_beside_each_other_are_one_date(tmp_path: Path) -> None:
    """Two bursts with a column in common on two days, and one day of the second alone."""
    east = TRANSFORM @ Affine.translation(3, 0)
    for day, (left, right) in {
        "20150101": ([10, 20, 30, 100], [200, 50, 255, 60]),
        "20150113": ([10, 20, 30, 100], [200, 50, 70, 60]),
    }.items():
        write_date(tmp_path, day, [left])
        write_date(tmp_path, f"{day}t030926", [right], transform=east)
    write_date(tmp_path, "20150125", [[200, 50, 70, 60]], transform=east)
    assert aggregate(tmp_path) == {"dates": 3, "rasters": 5}
    assert read(tmp_path, "_count").tolist() == [[2, 2, 2, 3, 3, 2, 3]]
    # where they overlap a day is the mean of its parts: 150, 150, 200
    assert read(tmp_path, "_prob").tolist() == [[10, 20, 30, 167, 50, 70, 60]]
    with rasterio.open(tmp_path / "raw" / "38SLF_Alpha.tif") as dataset:
        assert dataset.transform == TRANSFORM
        assert read_tags(dataset).width == 7


def test_dates_of_years_in_one_map_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_date(tmp_path, "20150101", [[1, 2]])
    write_date(tmp_path, "20200101", [[1, 2]])
    aggregate(tmp_path)
    assert "38SLF_Alpha: one map of dates from 20150101 to 20200101, which are" in caplog.text


def test_maps_of_scenes_that_are_gone_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_date(tmp_path, "20150101", [[1, 2]]).rename(tmp_path / "raw" / "38SLF_Alpha_2.tif")
    write_date(tmp_path, "20150101", [[1, 2]])
    for _ in range(2):
        aggregate(tmp_path)
    assert caplog.text.count("of no scene there: 38SLF_Alpha_2; they stay as they are") == 2


def test_years_are_maps_apart_or_one_of_their_mean(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_date(tmp_path, "20150101", [[10, 200]], year="2015")
    write_date(tmp_path, "20200101", [[20, 100]], year="2020")
    write_date(tmp_path, "20200113", [[40, 100]], year="2020")
    assert aggregate(tmp_path) == {"dates": 3}
    later = "38SLF_Alpha_2020"
    assert read(tmp_path, "_prob").tolist() == [[10, 200]]
    assert read(tmp_path, "_prob", later).tolist() == [[30, 100]]
    assert read(tmp_path, "", later).tolist() == [[0, 0]]
    raw = tmp_path / "raw"
    told = [read_tags(raw / f"{key}_count.tif") for key in ("38SLF_Alpha", later)]
    assert [(t.city, t.year, t.base_city) for t in told] == [
        ("38SLF_Alpha", "2015", "38SLF_Alpha"),
        (later, "2020", "38SLF_Alpha"),
    ]
    assert "years=mean averages them" in caplog.text and "one map of dates" not in caplog.text

    caplog.clear()
    assert aggregate(tmp_path, years="mean") == {"dates": 3}
    assert read(tmp_path, "_prob").tolist() == [[23, 133]]
    assert read_tags(raw / "38SLF_Alpha.tif").year == ""
    (said,) = caplog.messages  # a mean that was asked for is no news
    assert f"of no scene there: {later}; they stay" in said
    assert aggregate(tmp_path) == {"dates": 1}  # that of the later year stands there
    with pytest.raises(BuiltupError, match="years=both: unknown; use apart or mean"):
        aggregate(tmp_path, years="both")


def test_maps_that_predict_named_stay_as_they_are(tmp_path: Path) -> None:
    write_date(tmp_path, "20150101", [[10, 200]], year="2015")
    late = write_date(tmp_path, "20200101", [[20, 100]])
    with rasterio.open(late, "r+") as dataset:
        dataset.update_tags(BUILTUP_CITY="38SLF_Alpha_2020", BUILTUP_YEAR="2020")
    aggregate(tmp_path)
    assert read_tags(tmp_path / "raw" / "38SLF_Alpha.tif").year == "2015"
    assert read(tmp_path, "_prob", "38SLF_Alpha_2020").tolist() == [[20, 100]]
    (tmp_path / "raw" / "s1a_38SLF_prob_20150101.tif").unlink()
    for path in (tmp_path / "raw").glob("38SLF_Alpha*"):
        path.unlink()
    aggregate(tmp_path)  # of one year alone
    assert [p.name for p in sorted((tmp_path / "raw").glob("38SLF_Alpha*.tif"))][:1] == [
        "38SLF_Alpha_2020.tif"
    ]


def test_the_same_dates_under_another_choice_of_years_are_another_map(tmp_path: Path) -> None:
    """Of one year only: the pixels are the same, what the map says of itself is not."""
    write_date(tmp_path, "20150101", [[10, 200]], year="2015")
    for years, said in (("apart", "2015"), ("mean", ""), ("apart", "2015")):
        assert aggregate(tmp_path, years=years) == {"dates": 1}
        assert read_tags(tmp_path / "raw" / "38SLF_Alpha_prob.tif").year == said


def test_the_raster_of_a_scene_never_makes_room_for_a_map(tmp_path: Path) -> None:
    path = write_date(tmp_path, "20150101", [[10, 200]])
    values = path.read_bytes()
    moved = path.with_name("beta_prob.tif")
    path.rename(moved)
    with rasterio.open(moved, "r+") as dataset:  # the scene beta of a city, beside a city beta
        dataset.update_tags(BUILTUP_SCENE="beta_{}", BUILTUP_CITY="beta", BUILTUP_KIND="scene")
    before = moved.read_bytes()
    with pytest.raises(InputError, match="has the name of the city beta"):
        all_agg_by_city(input_path=str(tmp_path), num_workers=1)
    assert moved.read_bytes() == before and values
