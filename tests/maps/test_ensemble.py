"""The mean of several runs is exact, streamed, and refuses what does not belong together."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from builtup.errors import BuiltupError, GridError, InputError
from builtup.geo.probability import NODATA
from builtup.maps import ensemble as module
from builtup.maps.ensemble import ensemble
from builtup.maps.ensemble_weights import weighted_mean
from builtup.maps.submission import to_submission
from builtup.runs.records import EnsembleRecord
from builtup.runs.results import PredictionTags, read_tags, write_tags
from helpers import CRS, TRANSFORM, write_polygons

CLASSES = ("background", "building")
SCENE = "s1a_38SLF_prob_20150101.tif"
arrays = st.lists(
    st.lists(st.integers(0, 255), min_size=6, max_size=6), min_size=1, max_size=5
).map(lambda rows: [np.array(row, np.uint8).reshape(1, 2, 3) for row in rows])


def write_run(
    root: Path,
    values: ArrayLike,
    scene: str = SCENE,
    threshold: float = 0.5,
    classes: tuple[str, ...] = CLASSES,
    shift: float = 0.0,
    temperature: float | None = None,
    city: str = "38SLF_Alpha",
    year: str = "",
) -> Path:
    """One scene of a run, as merge_tiles leaves it; give the run's folder."""
    array = np.atleast_2d(np.asarray(values, dtype=np.uint8))
    height, width = array.shape
    path = root / "raw" / scene
    path.parent.mkdir(parents=True, exist_ok=True)
    transform = TRANSFORM @ TRANSFORM.translation(shift, 0)
    profile = {"crs": CRS, "transform": transform, "width": width, "height": height}
    with rasterio.open(
        path, "w", driver="GTiff", count=1, dtype="uint8", nodata=NODATA, **profile
    ) as dataset:
        dataset.write(array, 1)
        name = path.stem.replace("prob", "{}")
        write_tags(
            dataset,
            PredictionTags(name, city, width, height, root.name, threshold, classes, year=year),
        )
    (root / "inference.json").write_text(json.dumps({"temperature": temperature}))
    return root


def average(tmp_path: Path, *members: Path, **options: Any) -> NDArray[np.uint8]:
    ensemble(
        input_paths=";".join(map(str, members)),
        output_path=tmp_path / "mean",
        num_workers=1,
        **options,
    )
    with rasterio.open(tmp_path / "mean" / "raw" / SCENE) as dataset:
        values: NDArray[np.uint8] = dataset.read(1)
        return values


@given(arrays, st.data())
def test_the_order_of_the_members_does_not_matter(
    members: list[NDArray[np.uint8]], data: st.DataObject
) -> None:
    weights = data.draw(
        st.lists(st.integers(0, 1000), min_size=len(members), max_size=len(members))
    )
    order = data.draw(st.permutations(range(len(members))))
    one = weighted_mean(members, weights)
    other = weighted_mean([members[i] for i in order], [weights[i] for i in order])
    assert (one == other).all()


@given(arrays, st.integers(0, 254), st.data())
def test_where_all_members_say_k_the_mean_is_k(
    members: list[NDArray[np.uint8]], k: int, data: st.DataObject
) -> None:
    weights = data.draw(
        st.lists(st.integers(1, 1_000_000), min_size=len(members), max_size=len(members))
    )
    same = [np.where(m == NODATA, m, np.uint8(k)) for m in members]
    mean = weighted_mean(same, weights)
    somewhere = (np.stack(members) != NODATA).any(axis=0)
    assert (mean == np.where(somewhere, k, NODATA)).all()


@given(arrays)
def test_the_mean_is_that_of_numpy(members: list[NDArray[np.uint8]]) -> None:
    masked = np.ma.masked_equal(np.stack(members).astype(np.float64), NODATA)
    expected = np.floor(masked.mean(axis=0) + 0.5).filled(NODATA)
    np.testing.assert_array_equal(weighted_mean(members, [1] * len(members)), expected)


def test_scenes_are_averaged_block_by_block_with_their_tags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(0)
    values = generator.integers(0, 256, (3, 40, 70), dtype=np.uint8)
    runs = [
        write_run(tmp_path / f"run{i}", v, threshold=0.3 + i / 10) for i, v in enumerate(values)
    ]
    whole = average(tmp_path, *runs, weights="1;2;1")
    monkeypatch.setattr(module, "BLOCK", 16)
    again = average(tmp_path / "small", *runs, weights="0.25;0.5;0.25")
    np.testing.assert_array_equal(whole, again)
    np.testing.assert_array_equal(whole[None], weighted_mean(list(values[:, None]), (1, 2, 1)))
    tags = read_tags(tmp_path / "mean" / "raw" / SCENE)
    assert tags.threshold == pytest.approx(0.4)
    assert tags.run_id.split(",") == [str(run) for run in runs]
    record = json.loads((tmp_path / "mean" / "ensemble.json").read_text())
    assert [member["weight"] for member in record["members"]] == [0.25, 0.5, 0.25]


def test_dates_of_one_run_only_are_kept(tmp_path: Path) -> None:
    other = SCENE.replace("0101", "0113")
    runs = [write_run(tmp_path / "a", [[10, 20]]), write_run(tmp_path / "b", [[20, 40]])]
    write_run(tmp_path / "b", [[7, 9]], scene=other)
    assert average(tmp_path, *runs).tolist() == [[15, 30]]
    with rasterio.open(tmp_path / "mean" / "raw" / other) as dataset:
        assert dataset.read(1).tolist() == [[7, 9]]


def test_an_ensemble_is_handed_in_like_any_result(tmp_path: Path) -> None:
    values = np.zeros((30, 30), np.uint8)
    values[5:15, 5:15] = 254
    runs = [write_run(tmp_path / name, values) for name in "ab"]
    average(tmp_path, *runs)
    steps = to_submission(input_path=str(tmp_path / "mean"), num_workers=1)
    assert [step.step for step in steps] == ["all_agg_by_city", "polygonize"]
    assert (tmp_path / "mean" / "raw" / "38SLF_Alpha.shp").is_file()


def test_a_finished_ensemble_is_not_made_again(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, [[1, 2]]) for name in "ab"]
    average(tmp_path, *runs)
    again = ensemble(
        input_paths=f"{runs[0]};{runs[1]}", output_path=tmp_path / "mean", num_workers=1
    )
    assert (again.done, again.up_to_date) == (0, 1)
    other = ensemble(
        input_paths=f"{runs[0]};{runs[1]}", output_path=tmp_path / "mean", weights="1;3"
    )
    assert other.done == 1


# --- what is refused ----------------------------------------------------------------------------


def test_another_grid_is_refused(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "a", [[1, 2]]), write_run(tmp_path / "b", [[1, 2]], shift=0.5)]
    with pytest.raises(GridError, match=r"b/raw/.*: not on the grid of .*a \(grids up to 0.5"):
        average(tmp_path, *runs)
    assert not (tmp_path / "mean").exists()


def test_other_classes_are_refused(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "a", [[1]]), write_run(tmp_path / "b", [[1]], classes=("a", "b"))]
    with pytest.raises(InputError, match="classes a, b in 1 bands, those of"):
        average(tmp_path, *runs)


def test_different_thresholds_are_averaged_and_named_or_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runs = [write_run(tmp_path / "a", [[1]]), write_run(tmp_path / "b", [[1]], threshold=0.25)]
    with pytest.raises(
        BuiltupError, match=r"thresholds 0\.500, 0\.250 differ; give threshold=mean"
    ):
        average(tmp_path, *runs, threshold="")
    with caplog.at_level(logging.INFO):
        average(tmp_path, *runs, weights="1;3")
    assert "threshold 0.312: the mean, by weight, of 0.500 (" in caplog.text
    average(tmp_path, *runs, threshold="0.7")
    assert read_tags(tmp_path / "mean" / "raw" / SCENE).threshold == 0.7


def test_scenes_of_one_run_may_have_their_own_thresholds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As `predict` writes them: the scenes to which it adapted the network are cut elsewhere."""
    caplog.set_level("INFO")
    names = (SCENE, SCENE.replace("2015", "2016"))
    assert names[0] != names[1]
    for name, cut in zip(names, (0.4, 0.5), strict=True):
        for run, more in (("a", 0.0), ("b", 0.2)):
            write_run(tmp_path / run, [[100]], scene=name, threshold=cut + more)
    runs = (tmp_path / "a", tmp_path / "b")
    average(tmp_path, *runs, weights="3;1")
    raw = tmp_path / "mean" / "raw"
    assert [read_tags(raw / n).threshold for n in names] == [pytest.approx(x) for x in (0.45, 0.55)]
    assert "each scene has the mean, by weight, of its runs' thresholds" in caplog.text
    assert record_of(tmp_path)["threshold"] is None
    average(tmp_path, *runs, threshold="0.7")
    assert {read_tags(raw / n).threshold for n in names} == {0.7}
    with pytest.raises(BuiltupError, match=r"thresholds 0\.400, 0\.500, 0\.600, 0\.700 differ"):
        average(tmp_path, *runs, threshold="")


def test_probabilities_with_and_without_temperature_are_refused(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "a", [[1]]), write_run(tmp_path / "b", [[1]], temperature=1.5)]
    with pytest.raises(InputError, match=r"probabilities with temperature 1\.5, those of"):
        average(tmp_path, *runs)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("1", "1 for 2 runs"),
        ("1;x", "give numbers separated by ;"),
        ("1;-1", "none may be negative"),
        ("0;0", "one must be above 0"),
        ("fit", "give gt_path"),
    ],
)
def test_wrong_weights_are_refused(tmp_path: Path, weights: str, message: str) -> None:
    runs = [write_run(tmp_path / name, [[1, 2]]) for name in "ab"]
    with pytest.raises(BuiltupError, match=message):
        average(tmp_path, *runs, weights=weights)


def test_one_run_is_no_ensemble_and_a_run_without_scenes_none_either(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", [[1]])
    with pytest.raises(BuiltupError, match="an ensemble needs two or more"):
        ensemble(input_paths=str(run), output_path=tmp_path / "mean")
    (tmp_path / "b" / "raw").mkdir(parents=True)
    with pytest.raises(InputError, match="run merge_tiles first"):
        average(tmp_path, run, tmp_path / "b")


# --- fitted weights -----------------------------------------------------------------------------


def write_town(split: Path, folder: str = "Alpha_2015") -> None:
    """Ground truth: rows and columns 4 to 12."""
    left, top = TRANSFORM @ (4, 4)
    inside = 0.5  # all_touched burns what the edges touch
    box = shapely.box(left + inside, top - 80 + inside, left + 80 - inside, top - inside)
    write_polygons(split / folder / "38SLF_Alpha.shp", [box])


def test_fitted_weights_prefer_the_run_that_is_right_and_name_its_city(tmp_path: Path) -> None:
    truth = np.zeros((20, 20), np.uint8)
    truth[4:12, 4:12] = 1
    generator = np.random.default_rng(1)
    runs = [
        write_run(tmp_path / "right", np.where(truth, 230, 20)),
        write_run(tmp_path / "noise", generator.integers(0, 255, truth.shape)),
    ]
    write_town(tmp_path / "gt")
    average(tmp_path, *runs, weights="fit", gt_path=str(tmp_path / "gt"))
    record = json.loads((tmp_path / "mean" / "ensemble.json").read_text())
    weights = [member["weight"] for member in record["members"]]
    assert weights[0] > 0.9
    assert record["tuned_on"] == record["weights_tuned_on"] == ["38SLF_Alpha"]


@pytest.mark.parametrize("what", ["weights", "threshold"])
def test_a_run_that_has_seen_the_ground_of_the_fit_is_named(
    what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    truth = np.zeros((20, 20), np.uint8)
    truth[4:12, 4:12] = 1
    runs = [write_run(tmp_path / name, np.where(truth, 230, 20)) for name in ("seen", "new")]
    (runs[0] / "inference.json").unlink()
    EnsembleRecord(members=(), threshold=0.5, tuned_on=("38SLF_Alpha",)).write(runs[0])
    write_town(tmp_path / "gt")
    average(tmp_path, *runs, **{what: "fit"}, gt_path=str(tmp_path / "gt"))
    said = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert said == [
        f"{what}=fit: {runs[0]} was tuned on 38SLF_Alpha, and looks better there than it is; fit "
        f"the {what} on ground that no run has seen"
    ]


def test_a_run_that_the_fit_leaves_out_and_that_alone_holds_a_scene_is_named(
    tmp_path: Path,
) -> None:
    truth = np.zeros((20, 20), np.uint8)
    truth[4:12, 4:12] = 1
    runs = [
        write_run(tmp_path / "right", np.where(truth, 254, 0)),
        write_run(tmp_path / "wrong", np.where(truth, 0, 254)),
    ]
    write_run(runs[1], truth, scene=SCENE.replace("0101", "0113"))
    write_town(tmp_path / "gt")
    with pytest.raises(
        BuiltupError, match=r"weights=fit: .*wrong has weight 0, and its scene \S+0113 is in no run"
    ):
        average(tmp_path, *runs, weights="fit", gt_path=str(tmp_path / "gt"))


@pytest.mark.parametrize("first", [0, 1, 2])
def test_a_scene_is_of_the_year_that_any_run_knows(tmp_path: Path, first: int) -> None:
    """A run of one year, one of the chain over two, and one of `predict` over two."""
    runs = [
        write_run(tmp_path / "one", [[10]]),
        write_run(tmp_path / "chain", [[10]], year="2020"),
        write_run(tmp_path / "predict", [[10]], city="38SLF_Alpha_2020", year="2020"),
    ]
    average(tmp_path, *runs[first:], *runs[:first])
    tags = read_tags(tmp_path / "mean" / "raw" / SCENE)
    assert (tags.base_city, tags.year) == ("38SLF_Alpha", "2020")


def test_weights_are_fitted_on_the_polygons_of_the_scene_s_year(tmp_path: Path) -> None:
    truth = np.zeros((20, 20), np.uint8)
    truth[4:12, 4:12] = 1
    for name, year in (("told", "2020"), ("untold", "")):
        runs = [
            write_run(tmp_path / name / "right", np.where(truth, 230, 20), year=year),
            write_run(tmp_path / name / "wrong", np.where(truth, 20, 230), year=year),
        ]
        write_town(tmp_path / name / "gt", "Alpha_2020")
        far = shapely.box(0, 0, 1, 1)
        write_polygons(tmp_path / name / "gt" / "Alpha_2015" / "38SLF_Alpha.shp", [far])
        fit = {"weights": "fit", "gt_path": str(tmp_path / name / "gt")}
        if not year:
            with pytest.raises(InputError, match=r"38SLF_Alpha stands in .*Alpha_2020 as well"):
                average(tmp_path / name, *runs, **fit)
            continue
        average(tmp_path / name, *runs, **fit)
        record = json.loads((tmp_path / name / "mean" / "ensemble.json").read_text())
        assert record["members"][0]["weight"] > 0.9


def test_a_mean_of_a_mean_names_the_runs_behind_it(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / name, [[value]]) for name, value in zip("ab", (0, 200), strict=True)
    ]
    average(tmp_path / "first", *runs)
    average(tmp_path, tmp_path / "first" / "mean", runs[1])
    record = EnsembleRecord.find(tmp_path / "mean")
    assert record is not None and [m.run_id for m in record.members] == ["a,b", "b"]
    assert record.runs == ("a", "b")


def test_the_mean_does_not_take_the_place_of_a_member(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, [[value]]) for name, value in (("mean", 0), ("b", 200))]
    before = (runs[0] / "raw" / SCENE).read_bytes()
    with pytest.raises(BuiltupError, match=r"holds the predictions of .*; give another folder"):
        average(tmp_path, *runs)
    assert (runs[0] / "raw" / SCENE).read_bytes() == before
    assert not (runs[0] / "ensemble.json").exists()


# --- blank members, fitted thresholds -------------------------------------------------------------


def record_of(tmp_path: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((tmp_path / "mean" / "ensemble.json").read_text())
    return found


def test_drop_blank_leaves_out_the_one_that_finds_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runs = [
        write_run(tmp_path / "a", [[200, 10]]),
        write_run(tmp_path / "blank", [[126, 0]]),  # 127 is .5
        write_run(tmp_path / "c", [[10, 140]]),
    ]
    assert average(tmp_path, *runs).tolist() == [[112, 50]]
    assert "left_out" not in record_of(tmp_path)
    with caplog.at_level(logging.INFO):
        kept = average(tmp_path, *runs, drop_blank=True)
    assert kept.tolist() == [[105, 75]]
    assert "s1a_38SLF_20150101: left out, blank where the others are not" in caplog.text
    assert record_of(tmp_path)["left_out"] == {"s1a_38SLF_{}_20150101": [str(tmp_path / "blank")]}
    assert "runs were left out of 1 of 1 scenes as blank" in caplog.text
    assert read_tags(tmp_path / "mean" / "raw" / SCENE).run_id == f"{runs[0]},{runs[2]}"
    again = average(tmp_path, *runs, drop_blank=True)  # done already: the record says the same
    assert (again == kept).all() and "left_out" in record_of(tmp_path)


def test_where_two_of_three_find_nothing_none_is_left_out(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / name, [[value]])
        for name, value in zip("abc", (0, 0, 200), strict=True)
    ]
    assert average(tmp_path, *runs, drop_blank=True).tolist() == [[67]]
    assert "left_out" not in record_of(tmp_path)


def test_a_threshold_is_fitted_to_the_mean_on_ground_with_polygons(tmp_path: Path) -> None:
    values = np.full((8, 8), 40, np.uint8)
    values[2:4, 2:4] = 90
    runs = [write_run(tmp_path / name, values + i) for i, name in enumerate("ab")]
    x, y = TRANSFORM @ (2, 2)
    square = shapely.box(x + 2, y - 18, x + 18, y - 2)
    write_polygons(tmp_path / "truth" / "Alpha_2015" / "38SLF_Alpha.shp", [square], CRS)
    average(tmp_path, *runs, threshold="fit", gt_path=str(tmp_path / "truth"))
    threshold = read_tags(tmp_path / "mean" / "raw" / SCENE).threshold
    assert 41 / 254 < threshold <= 91 / 254
    assert record_of(tmp_path)["threshold_tuned_on"] == ["38SLF_Alpha"]
    assert record_of(tmp_path)["tuned_on"] == ["38SLF_Alpha"]
    with pytest.raises(BuiltupError, match="threshold=fit: no ground truth; give gt_path"):
        average(tmp_path, *runs, threshold="fit")
    with pytest.raises(BuiltupError, match="threshold=best: not a number; use mean, fit, or one"):
        average(tmp_path, *runs, threshold="best")
