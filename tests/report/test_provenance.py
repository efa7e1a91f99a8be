"""Which cities the page marks as seen before they were scored, and that `validate` agrees."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from builtup.maps.cities import all_agg_by_city
from builtup.maps.ensemble import ensemble
from builtup.maps.validate import validate
from builtup.report.provenance import find_provenance
from builtup.report.write import report
from builtup.runs.records import member_runs
from builtup.runs.results import PredictionTags, Results
from helpers import TRANSFORM, write_raster
from report_data import Contents, Maps, add_city, add_run, probability

TOWNS = (("38SLF", "Alpha"), ("38SLG", "Beta"))


def summary_of(folder: Path, **said: object) -> None:
    (folder / "config").mkdir()
    (folder / "config" / "settings.json").write_text("{}")
    (folder / "summary.json").write_text(json.dumps({"threshold": 0.5, **said}))


def predict(seed: int, training: str, images: Path) -> str:
    """A run that predicted both towns, one scene each, as merge_tiles leaves it."""
    own, run_id, folder = add_run("Inferences", config="test_demo", training_run=training)
    own.log_param(run_id, "cfg/data_path", str(images))
    values = probability(seed=seed)
    for tile, name in TOWNS:
        scene = f"s1a_{tile}_prob_ASC_20150101"
        path = write_raster(folder / "raw" / f"{scene}.tif", values, TRANSFORM, nodata=255)
        tags = PredictionTags(
            scene.replace("prob", "{}"), f"{tile}_{name}", *values.shape[::-1], run_id, 0.5
        )
        _tag(path, tags)
    (folder / "inference.json").write_text(json.dumps({"training_run": training}))
    return run_id


def _tag(path: Path, tags: PredictionTags) -> None:
    import rasterio

    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(**tags.as_gdal())


@pytest.fixture
def mean(project: Path) -> tuple[Path, Maps, tuple[str, str]]:
    """The folder of a mean of two runs, of which one's training learnt from Alpha, and the runs."""
    runs = []
    for tile, name in TOWNS:
        maps = add_city(project / "x", tile, name)
    for seed, learnt in enumerate((["38SLF_Alpha"], ["38SZZ_Omega"])):
        _, training, folder = add_run("Trainings", config="demo")
        summary_of(folder, trained_on=learnt, val_fold=None)
        runs.append(predict(seed, training, maps.images))
    ensemble(input_paths=";".join(runs), output_path=Path("ens"), num_workers=1)
    all_agg_by_city(input_path="ens", num_workers=1)
    return Path("ens"), maps, (runs[0], runs[1])


def test_a_mean_s_page_marks_the_cities_that_validate_marks(
    mean: tuple[Path, Maps, tuple[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    folder, maps, runs = mean
    assert "38SLF_Alpha (tuned on)" in validate(preds_path=str(folder), gt_path=maps.truth)
    page = Contents(report(input_path=str(folder)).read_text(encoding="utf-8"))
    rows = dict(re.findall(r'<th scope="row">(38S\w+)(.*?)</th>', page.html))
    assert ">tuned on<" in rows["38SLF_Alpha"] and "badge" not in rows["38SLG_Beta"]
    assert "Not scores of unseen cities: 38SLF_Alpha (tuned on)." in page.text
    assert "not in the tracking database" not in page.text
    assert all(f"run {run}, config test_demo, training run" in page.text for run in runs)
    assert "b-image" in " ".join(a.get("class", "") for a in page.of("img"))
    assert "no such run" not in caplog.text


def test_members_given_as_folders_are_known_by_the_run_that_their_rasters_name(
    mean: tuple[Path, Maps, tuple[str, str]],
) -> None:
    from builtup.runs import tracking

    _, _, runs = mean
    folders = [tracking.run_artifacts(run) for run in runs]
    ensemble(input_paths=";".join(map(str, folders)), output_path=Path("of_folders"), num_workers=1)
    assert member_runs(Path("of_folders")) == runs
    ensemble(input_paths=f"ens/raw/..;{folders[0]}", output_path=Path("of_means"), num_workers=1)
    assert set(member_runs(Path("of_means"))) == set(runs)


@pytest.mark.parametrize(
    ("held_out", "alpha", "beta"),
    [
        ("38SLF_Alpha", (), ("trained on",)),
        ("38SLG_Beta", (), ("trained on",)),  # an inference of another fold than was left out
        ("", (), ("trained on",)),
    ],
)
def test_a_city_learnt_from_is_marked_whatever_fold_the_inference_names(
    project: Path, held_out: str, alpha: tuple[str, ...], beta: tuple[str, ...]
) -> None:
    _, training, folder = add_run("Trainings", config="demo")
    summary_of(folder, trained_on=["38SLG_Beta"], val_fold="38SLF_Alpha")
    record = {"training_run": training, "held_out": held_out}
    (project / "inference.json").write_text(json.dumps(record))
    found = find_provenance(Results(project), [0.5])
    assert (found.marks("38SLF_Alpha"), found.marks("38SLG_Beta")) == (alpha, beta)


@pytest.mark.parametrize(("held_out", "marks"), [("A/r0c0", ()), ("A/r0c1", ("trained on",))])
def test_the_other_blocks_of_a_city_do_not_count_where_one_is_mapped(
    project: Path, held_out: str, marks: tuple[str, ...]
) -> None:
    _, training, folder = add_run("Trainings", config="demo")
    summary_of(folder, trained_on=["A/r0c1", "A/r1c0"], val_fold="A/r0c0")
    record = {"training_run": training, "held_out": held_out}
    (project / "inference.json").write_text(json.dumps(record))
    assert find_provenance(Results(project), [0.5]).marks("A") == marks


def test_a_summary_that_does_not_say_what_was_learnt_from_is_said_on_the_page(
    project: Path,
) -> None:
    _, training, folder = add_run("Trainings", config="demo")
    summary_of(folder)
    (project / "inference.json").write_text(json.dumps({"training_run": training}))
    doubts = find_provenance(Results(project), [0.5]).doubts
    assert any("does not say what was learnt from" in doubt for doubt in doubts)


def test_thresholds_that_follow_the_cities_are_the_training_s(project: Path) -> None:
    _, training, folder = add_run("Trainings", config="demo")
    own = {"threshold": 0.5, "threshold_tuned_on": ["B"], "val_cities": ["B"]}
    summary_of(folder, trained_on=["A"], **own)
    (project / "inference.json").write_text(json.dumps({"training_run": training}))
    other, moved = (find_provenance(Results(project), [0.03], follow=f) for f in (False, True))
    assert any("not cut at the training's threshold" in doubt for doubt in other.doubts)
    assert not any("threshold" in doubt for doubt in moved.doubts)
    assert "threshold" in moved.tuned_on and "threshold" not in other.tuned_on


def test_of_maps_by_the_largest_probability_no_threshold_is_spoken_of(project: Path) -> None:
    _, training, folder = add_run("Trainings", config="aerial/small_cpu")
    own = {"threshold": 0.03, "threshold_tuned_on": ["B"], "val_cities": ["B"]}
    summary_of(folder, trained_on=["A"], **own)
    (project / "inference.json").write_text(json.dumps({"training_run": training}))
    cut, largest = (find_provenance(Results(project), list(of)) for of in ((0.5,), ()))
    assert any("not cut at the training's threshold" in doubt for doubt in cut.doubts)
    assert not largest.doubts
    assert [name for name, _ in cut.facts if "threshold" in name]
    assert not [name for name, _ in largest.facts if "threshold" in name]
    assert largest.marks("B") == ("tuned on: weights",)
