"""The step `report`: what stands on the page, and what never does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import rasterio

from builtup.errors import InputError, RunError
from builtup.geo.vector_writers import mapped_total
from builtup.maps.validate import validate
from builtup.report import write
from builtup.report.write import Extras, report
from helpers import TRANSFORM
from report_data import Contents, add_city, add_run, probability

HOSTILE = "<script>alert(1)<"  # a file name may hold anything but a slash


def contents(path: Path) -> Contents:
    return Contents(path.read_text(encoding="utf-8"))


@pytest.fixture
def maps(tmp_path):
    return add_city(tmp_path)


def write_page(maps, **options) -> Contents:
    options = {"gt_path": str(maps.truth), "images_path": str(maps.images), **options}
    return contents(report(input_path=str(maps.folder), **options))


def test_the_page_asks_nothing_of_the_network(maps):
    page = write_page(maps)
    for tag, attributes in page.elements:
        if tag == "a" and attributes["href"].startswith("raw/"):
            continue  # a file beside the page, that a reader may open
        for key in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
            assert attributes.get(key, "#").startswith(("#", "data:image/")), attributes
    assert not {"link", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.elements}
    assert not re.search(r"@import|url\(|https?:", re.sub(r"base64,[^\"]+", "", page.html))
    policy = next(a["content"] for a in page.of("meta") if "content" in a and "http-equiv" in a)
    assert "default-src 'none'" in policy


def test_every_picture_has_a_description_and_every_control_a_name(maps):
    page = write_page(maps)
    assert all(a.get("alt") for a in page.of("img"))
    assert all(a.get("aria-label") for a in page.of("svg"))
    inside = re.findall(r"<label[^>]*>.*?</label>", page.html, re.DOTALL)
    assert sum(label.count("<input") for label in inside) == len(page.of("input"))


def test_scores_are_those_of_validate_with_intervals_around_them(maps):
    validate(preds_path=str(maps.folder), gt_path=maps.truth)
    scores = json.loads((maps.folder / "validation.json").read_text())["scores"]["38SLF_Alpha"]
    text = write_page(maps).text
    for key in ("f1", "iou", "precision", "recall", "average_precision", "brier", "polygon_f1"):
        assert f"{scores[key]:.3f}" in text, key
    low, high = map(float, re.search(r"(0\.\d{3})–(0\.\d{3}|1\.000)", text).groups())
    assert low < scores["f1"] < high


def test_ground_truth_is_that_of_validate_where_none_is_given(maps):
    validate(preds_path=str(maps.folder), gt_path=maps.truth)
    assert str(maps.truth) in write_page(maps, gt_path="").text


def test_polygon_scores_of_other_maps_are_not_shown(maps, caplog):
    validate(preds_path=str(maps.folder), gt_path=maps.truth)
    path = maps.folder / "validation.json"
    values = json.loads(path.read_text())
    values["cities"]["38SLF_Alpha"]["confusion_matrix"][0][0] += 1
    values["scores"]["38SLF_Alpha"]["polygon_f1"] = 0.123
    path.write_text(json.dumps(values))
    assert "0.123" not in write_page(maps).text
    assert "run validate again" in caplog.text


def test_without_truth_and_images_there_are_maps_and_it_is_said(maps):
    page = write_page(maps, gt_path="", images_path="")
    assert "No ground truth was given" in page.text
    classes = " ".join(a.get("class", "") for a in page.of("img"))
    assert "b-probability" in classes and "ly-builtup" in classes
    assert "b-image" not in classes and "ly-missed" not in classes
    assert "ly-polygons" in " ".join(a["class"] for a in page.of("svg"))


def test_what_is_mapped_stands_with_its_area_files_and_doubts(maps):
    with rasterio.open(maps.rasters().mask, "r+") as dataset:
        dataset.update_tags(BUILTUP_DOUBTS="nothing is mapped; it has seen nothing")
    text = write_page(maps).html
    city = maps.rasters().city
    count, area = mapped_total(maps.rasters().mask.with_suffix(".gpkg"))
    assert f"<td>{area / 1e4:,.1f}</td><td>{count}</td>" in text
    for end in (".gpkg", ".tif", "_prob.tif"):
        assert f'href="raw/{city}{end}"' in text
        assert (maps.folder / "raw" / f"{city}{end}").is_file()
    assert f"Doubt about {city}: it has seen nothing." in text


def test_several_cities_have_a_row_each_and_two_together(tmp_path):
    add_city(tmp_path)
    add_city(
        tmp_path, "38SLG", "Beta", probability(seed=1), TRANSFORM @ TRANSFORM.translation(0, 500)
    )
    maps = add_city(tmp_path, "38SLH", "Gamma", truth=False)
    page = write_page(maps)
    for label in ("38SLF_Alpha", "38SLG_Beta", "all pixels pooled", "mean of the cities"):
        assert label in page.text
    assert "No ground truth in" in page.text and "38SLH_Gamma" in page.text
    links = [a["href"] for a in page.of("a") if not a["href"].startswith("raw/")]
    assert links == ["#city-0", "#city-1", "#city-2"]
    assert {a["id"] for a in page.of("section") if "id" in a} == {"city-0", "city-1", "city-2"}


def test_hostile_names_stay_text(tmp_path):
    maps = add_city(tmp_path, name=f'{HOSTILE}"onload="x')
    page = write_page(maps, extras=Extras(summary=HOSTILE, seconds={HOSTILE: 1.0}))
    assert len(page.of("script")) == 1
    assert "alert(1)<" in page.text
    assert not any("onload" in attributes for _, attributes in page.elements)
    script = re.search(r"<script>(.*?)</script>", page.html, re.DOTALL)[1]
    assert "alert" not in script


def test_the_same_page_twice(maps):
    first, second = write_page(maps).html, write_page(maps).html
    assert first == second
    assert not list(maps.folder.glob(".*partial*"))


def test_the_demo_adds_times_and_other_maps(maps, tmp_path):
    forest = add_city(tmp_path / "forest", values=np.full((100, 120), 200, np.uint8))
    extras = Extras("A summary.", {"train": 61.25, "infer": 2.0}, {"random forest": forest.folder})
    page = write_page(maps, extras=extras)
    assert "A summary." in page.text and "61.2 s" in page.text
    assert "random forest" in page.text
    share = 2500 / 12000
    assert f"{2 * share / (1 + share):.3f}" in page.text  # F1 of a map that is built-up throughout


@pytest.mark.parametrize("cities", [1, 4])
def test_the_page_keeps_its_size(tmp_path, monkeypatch, cities):
    monkeypatch.setattr(write, "MOST_BYTES", 600_000)
    generator = np.random.default_rng(0)
    for i in range(cities):
        noise = generator.integers(0, 255, (700, 700)).astype(np.uint8)
        maps = add_city(tmp_path, f"38SL{'FGHJ'[i]}", values=noise, dates=("20150101",))
    page = write_page(maps)
    assert len(page.html.encode()) < 600_000
    pictures = [a for a in page.of("img") if "b-image" in a.get("class", "")]
    assert len(pictures) == cities


def test_more_cities_than_maps_have_scores_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(write, "MOST_MAPS", 1)
    add_city(tmp_path)
    page = write_page(add_city(tmp_path, "38SLG", "Beta"))
    assert "Maps of the first 1 cities" in page.text
    assert "38SLG_Beta" in page.text and len(page.of("form")) == 1


def test_a_truth_without_buildings_has_no_score_and_no_curve(tmp_path):
    values = np.where(probability() == 255, 255, 10).astype(np.uint8)
    maps = add_city(tmp_path, values=values, truth=False)
    from helpers import write_polygons
    from report_data import square

    far = square(slice(5000, 5010), slice(5000, 5010))
    write_polygons(maps.truth / "Alpha_2015" / "38SLF_Alpha.shp", [far])
    page = write_page(maps)
    assert "–" in page.text
    assert not [a for a in page.of("svg") if "chart" in a.get("class", "")]


def test_bad_input_is_refused_and_nothing_is_written(maps, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        report(input_path=str(maps.folder), gt_path=str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="no ground truth of any predicted city"):
        report(input_path=str(maps.folder), gt_path=str(maps.images))
    (maps.folder / "raw" / "38SLF_Alpha_prob.tif").write_bytes(b"no raster")
    with pytest.raises(InputError, match="not a readable raster"):
        report(input_path=str(maps.folder), gt_path=str(maps.truth))
    assert not (maps.folder / "report.html").exists()
    assert issubclass(RunError, Exception)


# --- with MLflow --------------------------------------------------------------------------------


def test_runs_are_named_and_scores_marked_by_what_was_tuned_on_them(project):
    own, training, trained = add_run("Trainings", config="demo")
    summary = {
        "val_fold": "38SLF_Alpha",
        "trained_on": ["38SLG_Beta", "38SLH_Gamma"],
        "val_cities": ["38SLF_Alpha"],
        "threshold": 0.5,
        "threshold_tuned_on": ["38SLF_Alpha"],
        "temperature": 1.25,
        "temperature_tuned_on": ["38SLG_Beta"],
    }
    (trained / "summary.json").write_text(json.dumps(summary))
    own, inference, folder = add_run("Inferences", config="test_demo")
    own.set_terminated(inference)
    for tile, name in (("38SLF", "Alpha"), ("38SLG", "Beta"), ("38SLJ", "Delta")):
        maps = add_city(project / "x", tile, name, run_id=inference)
    (maps.folder / "raw").rename(folder / "raw")
    record = {"training_run": training, "weights": "abc123", "tta": "d4", "held_out": ""}
    (folder / "inference.json").write_text(json.dumps(record))
    path = report(gt_path=str(maps.truth), images_path=str(maps.images))
    assert path == folder / "report.html"  # the run's artifact, where the dashboard finds it
    page = contents(path)
    rows = dict(re.findall(r'<th scope="row">(38S\w+)(.*?)</th>', page.html))
    assert "tuned on: threshold, weights" in rows["38SLF_Alpha"]
    assert "trained on" not in rows["38SLF_Alpha"]
    assert "trained on" in rows["38SLG_Beta"] and "tuned on: temperature" in rows["38SLG_Beta"]
    assert "badge" not in rows["38SLJ_Delta"]
    assert (
        "Not scores of unseen cities: 38SLF_Alpha (tuned on: threshold, weights); 38SLG"
        in page.text
    )
    assert page.text.count("with 2 not unseen") == 2  # pooled and mean
    assert page.of("title") and "test_demo" in page.text.split("·")[0]
    for fact in (training, inference, "abc123", "d4", "1.25", "test_demo"):
        assert fact in page.text

    # cut elsewhere by hand: nobody knows what that threshold was chosen on
    (trained / "summary.json").write_text(json.dumps({**summary, "threshold": 0.7}))
    page = contents(report(gt_path=str(maps.truth), images_path=str(maps.images)))
    assert "not cut at the training's threshold" in page.text
    assert "tuned on: weights<" in page.html


def test_a_page_on_a_folder_is_logged_to_the_run_that_is_named(project, maps):
    own, inference, folder = add_run("Inferences")
    path = report(input_path=str(maps.folder), run_id=inference, gt_path=str(maps.truth))
    assert (folder / "report.html").read_bytes() == path.read_bytes()
    with pytest.raises(RunError, match="no such run"):
        report(input_path=str(maps.folder), run_id="0123", gt_path=str(maps.truth))
    assert [a.path for a in own.list_artifacts(inference)] == ["report.html"]


def test_a_training_that_is_unknown_here_is_said_on_the_page(project, maps):
    (maps.folder / "inference.json").write_text(json.dumps({"training_run": "0123"}))
    page = write_page(maps)
    assert "The training run 0123 is not in the tracking database" in page.text
