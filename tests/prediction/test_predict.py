"""The whole command: the pixels of the step-by-step chain, resumed and limited."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pytest
import rasterio
from rasterio.warp import transform
from shapely import box

from builtup.config.launch import run_script
from builtup.errors import BuiltupError, InputError, RunError
from builtup.geo.locations import Location
from builtup.geo.probability import NODATA
from builtup.maps.submission import to_submission
from builtup.maps.validate import validate
from builtup.report.images import find_images, images_of
from builtup.report.lineage import trace
from builtup.runs import tracking
from builtup.runs.results import read_tags, resolve_results
from builtup.sensors.radar.merge import generate_3b_images
from builtup.tiles.cut import generate_tiles
from helpers import ROOT, TRANSFORM, speckle, write_polygons, write_raster, write_scene
from predicted_project import SIZE, rasters, run, write_project
from tiny_model import use_store

CONFIG = """
run_id, data_path, has_targets = "{run}", "{data}", False
window, overlap, batch_size = 64, 16, 3
tta, save_overlays, device, adapt = "hflip", 0, "cpu", "{adapt}"
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("predict"))


@pytest.fixture(autouse=True)
def store(root: Path, monkeypatch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    monkeypatch.chdir(root)
    return use_store(root, monkeypatch)


@pytest.mark.parametrize(("model", "adapt"), [("trained", "none"), ("normalised", "scene")])
def test_the_pixels_are_those_of_the_step_by_step_chain(
    root: Path, tmp_path: Path, model: str, adapt: str
) -> None:
    run(root, tmp_path / "one", tta="hflip", model=str(root / model), adapt=adapt)
    generate_3b_images(input_path=root / "test", output_path=tmp_path / "images", num_workers=1)
    generate_tiles(
        input_path=tmp_path / "images",
        output_path=tmp_path / "tiles",
        tile_size=256,  # a scene a tile: the windows are the same
        overlap=32,
        materialize=True,
        num_workers=1,
    )
    config = tmp_path / "test_x.py"
    config.write_text(CONFIG.format(run=root / model, data=tmp_path / "tiles", adapt=adapt))
    run_script(ROOT / "code" / "scripts" / "inference.py", config, 1, "")
    experiment = mlflow.get_experiment_by_name("Inferences")
    last = mlflow.MlflowClient().search_runs([experiment.experiment_id], max_results=1)[0]
    to_submission(run_id=last.info.run_id, num_workers=1)
    ours, chain = rasters(tmp_path / "one"), rasters(Path(last.info.artifact_uri))
    assert ours.keys() == chain.keys()
    assert len(ours) == 3 + 2 * 4
    looks = sorted(path.name for path in (tmp_path / "one" / "raw").glob("*_quicklook_*.tif"))
    assert looks[0] == "s1a_38SLF_quicklook_ASC_20150101.tif" and len(looks) == 3
    for name, values in ours.items():
        if values.dtype == np.uint8:
            np.testing.assert_array_equal(values == NODATA, chain[name] == NODATA)
            assert np.abs(values.astype(int) - chain[name]).max() <= 1, name
    if model == "trained":
        built = ours["38SLF_Alpha.tif"]
        assert 0 < (built == 1).mean() < 0.9  # the network tells places apart
    for place in (tmp_path / "one", Path(last.info.artifact_uri)):
        tags = read_tags(place / "raw" / "38SLF_Alpha.tif")
        assert tags.adapted.startswith("scene, weight 0.8, ") == (adapt == "scene")


def test_a_second_run_does_nothing_and_says_so(root: Path, tmp_path: Path) -> None:
    first = run(root, tmp_path / "out")
    assert [summary.done for summary in first[:3]] == [3, 2, 2]
    tags = read_tags(tmp_path / "out" / "raw" / "s1a_38SLF_prob_ASC_20150101.tif")
    assert (tags.threshold, tags.city, tags.date) == (0.4, "38SLF_Alpha", "20150101")
    record = mlflow.get_run(tags.run_id)
    assert record.info.status == "FINISHED"
    assert record.data.tags["city"] == "38SLF_Alpha, 38SMB_Beta"
    assert record.data.params["cfg/window"] == "64"
    assert record.data.metrics["mpx_per_second"] > 0
    second = run(root, tmp_path / "out")
    assert all("nothing to do" in summary.line() for summary in second)
    experiment = mlflow.get_experiment_by_name("Inferences")
    newest = mlflow.MlflowClient().search_runs([experiment.experiment_id], max_results=1)[0]
    assert newest.info.run_id == tags.run_id  # no new run
    found = resolve_results(run_id=tags.run_id)
    assert found.folder == (tmp_path / "out").resolve()
    chain = trace(input_path=str(tmp_path / "out" / "raw" / "38SLF_Alpha.gpkg"))
    assert "s1a_38SLF_vv_ASC_20150113.tif sha256" in chain
    images = find_images(resolve_results(str(tmp_path / "out")))  # those of the report
    assert [scene.date for scene in images["38SLF_Alpha"]] == ["20150101", "20150113"]
    assert "38SMB" not in chain
    assert "(used)" in chain


def test_another_database_is_a_new_run_and_one_that_does_not_answer_is_not(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(root, tmp_path / "maps")
    record = tmp_path / "maps" / "inference.json"
    began = record.read_text()

    def unreached(run_id: str) -> None:
        raise RunError("MLflow cannot be reached")

    with monkeypatch.context() as patched:
        patched.setattr(tracking, "find_run", unreached)
        with pytest.raises(RunError, match="cannot be reached"):
            run(root, tmp_path / "maps")
    assert record.read_text() == began
    use_store(tmp_path, monkeypatch)
    run(root, tmp_path / "maps")
    before, after = json.loads(began), json.loads(record.read_text())
    assert before.pop("run_id") != after.pop("run_id")
    assert before == after


def test_another_threshold_predicts_nothing_again(root: Path, tmp_path: Path) -> None:
    run(root, tmp_path / "out")
    before = rasters(tmp_path / "out")
    again = run(root, tmp_path / "out", threshold="0.7")
    assert [summary.done for summary in again[:3]] == [0, 2, 2]
    after = rasters(tmp_path / "out")
    assert (after["38SLF_Alpha.tif"] == 1).sum() < (before["38SLF_Alpha.tif"] == 1).sum()
    with pytest.raises(BuiltupError, match="threshold=7"):
        run(root, tmp_path / "none", threshold="7")
    assert not (tmp_path / "none").exists()


def test_items_of_others_decibels_and_stacks(root: Path, tmp_path: Path) -> None:
    vv, vh = speckle(SIZE, 0.1, 1), speckle(SIZE, 0.02, 2)
    stack = write_raster(tmp_path / "power" / "porto" / "mine.tif", np.stack([vh, vv]))
    with rasterio.open(stack, "r+") as dataset:
        dataset.descriptions = ("VH", "VV")
    (tmp_path / "db").mkdir()
    for name, power in (("vv", vv), ("vh", vh)):
        write_raster(tmp_path / "db" / f"{name}.tif", 10 * np.log10(power))
    assets = {name: {"href": f"{name}.tif"} for name in ("vv", "vh")}
    moment = {"datetime": "2021-03-05T05:00:00Z"}
    item = {"type": "Feature", "id": "A/1", "properties": moment, "assets": assets}
    (tmp_path / "db" / "lisboa.json").write_text(json.dumps(item))
    inputs = f"{stack.parent};{tmp_path / 'db' / 'lisboa.json'}"
    run(root, tmp_path / "out", input_path=inputs, model=str(root / "pixels"))
    found = rasters(tmp_path / "out")
    assert {"mine_prob.tif", "A_1_prob.tif", "38SLE_porto.tif", "38SLE_lisboa.tif"} <= set(found)
    difference = np.abs(found["A_1_prob.tif"].astype(int) - found["mine_prob.tif"])
    assert difference.max() <= 1
    assert read_tags(tmp_path / "out" / "raw" / "A_1_prob.tif").date == "20210305"


def test_an_area_limits_and_changes_nothing_within(root: Path, tmp_path: Path) -> None:
    run(root, tmp_path / "whole")
    x, y = TRANSFORM @ (70, 30)
    area = tmp_path / "area.geojson"
    corners = [[x, y], [x + 300, y], [x + 300, y - 200], [x, y - 200], [x, y]]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32638"}}
    geometry = {"type": "Polygon", "coordinates": [corners]}
    feature = {"type": "Feature", "properties": {}, "geometry": geometry}
    area.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": [feature]}))
    summaries = run(root, tmp_path / "part", area=str(area))
    name = "s1a_38SLF_prob_ASC_20150113.tif"
    whole, part = rasters(tmp_path / "whole")[name], rasters(tmp_path / "part")[name]
    inside = np.zeros(SIZE, bool)
    inside[30:50, 70:100] = True
    np.testing.assert_array_equal(part[0][inside], whole[0][inside])
    assert (part[0][~inside] == NODATA).all()
    assert summaries[0].counts["windows"] < 3 * 6
    with pytest.raises(InputError, match="meets no scene"):
        run(root, tmp_path / "none", area="0,0,1,1")


def test_an_area_without_a_valid_pixel_is_warned_of(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    x, y = TRANSFORM @ (60, 60)
    (west,), (south,) = transform("EPSG:32638", "EPSG:4326", [x], [y])
    area = f"{west},{south},{west + 1e-5},{south + 1e-5}"  # a metre, within a pixel
    run(root, tmp_path / "out", area=area)
    assert "s1a_38SLF_ASC_20150113: none of its valid pixels lies in area=" in caplog.text
    caplog.clear()
    run(root, tmp_path / "more", area=f"{west},{south},{west + 1e-3},{south + 1e-3}")
    assert "none of its valid pixels" not in caplog.text


def test_the_same_files_elsewhere_give_the_same_pixels(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read through GDAL's zip file system, which stands for what lies on object storage."""
    archive = shutil.make_archive(str(tmp_path / "scenes"), "zip", root / "test")
    names = [p.relative_to(root / "test") for p in (root / "test" / "Beta_2015").rglob("*.tif")]
    paths = [f"/vsizip/{archive}/{name}" for name in names]
    assert all(Location(path).remote for path in paths)
    run(root, tmp_path / "far", input_path=";".join(paths), allow="/vsizip/")
    run(root, tmp_path / "near", input_path=str(root / "test" / "Beta_2015"))
    name = "s1a_38SMB_prob_ASC_20150102.tif"
    np.testing.assert_array_equal(rasters(tmp_path / "far")[name], rasters(tmp_path / "near")[name])
    again = run(root, tmp_path / "far", input_path=";".join(paths), allow="/vsizip/")
    assert all(summary.done == 0 for summary in again)
    with pytest.raises(InputError, match="add it to allow"):
        run(root, tmp_path / "no", input_path=";".join(paths))


def test_years_of_a_city_of_two_words_are_maps_scored_by_their_own_polygons_and_marked(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained on under the name of its folder, as commits before wrote it, and then mapped."""
    monkeypatch.chdir(tmp_path)
    model, split = tmp_path / "trained", tmp_path / "test"
    shutil.copytree(root / "trained", model)
    (model / "summary.json").write_text(
        json.dumps({"threshold": 0.5, "trained_on": ["38SLF_New York"]})
    )
    for year in ("2015", "2020"):
        write_scene(split, f"New York_{year}", date=f"{year}0108")
        polygons = split / f"New York_{year}" / "38SLF_New York.shp"
        write_polygons(polygons, [box(300_000, 3_999_700, 300_300, 4_000_000)])
    run(tmp_path, tmp_path / "out", model=str(model), input_path=str(split))
    keys = ["38SLF_New_York", "38SLF_New_York_2020"]
    found = rasters(tmp_path / "out")
    assert [found[f"{key}_count.tif"].max() for key in keys] == [1, 1]
    assert "years=mean averages them" in caplog.text
    validate(preds_path=str(tmp_path / "out"), gt_path=split)
    scored = json.loads((tmp_path / "out" / "validation.json").read_text())["cities"]
    assert {name: city["tuned_on"] for name, city in scored.items()} == dict.fromkeys(keys, True)
    images = find_images(resolve_results(str(tmp_path / "out")))
    own = zip(keys, ("2015", "2020"), strict=True)
    assert [[i.date for i in images_of(images, *of)] for of in own] == [["20150108"], ["20200108"]]

    run(tmp_path, tmp_path / "mean", model=str(model), input_path=str(split), years="mean")
    assert rasters(tmp_path / "mean")["38SLF_New_York_count.tif"].max() == 2
    with pytest.raises(BuiltupError, match="years=both: unknown; use apart or mean"):
        run(tmp_path, tmp_path / "mean", model=str(model), input_path=str(split), years="both")
