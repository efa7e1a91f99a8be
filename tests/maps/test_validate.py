from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio import features
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    f1_score,
    jaccard_score,
    precision_score,
    recall_score,
)

from builtup.errors import InputError
from builtup.maps.validate import validate
from builtup.runs.results import PredictionTags
from builtup.scoring.scored_area import SCORED_AREA
from helpers import TRANSFORM, real_data, write_polygons, write_raster


def box(x: float, y: float, width: float = 1, height: float = 1) -> shapely.Polygon:
    """A rectangle in pixels from the upper left corner, on the ground."""
    left, top = TRANSFORM @ (x, y)
    right, bottom = TRANSFORM @ (x + width, y + height)
    return shapely.box(left, bottom, right, top)


def write_city(
    root: Path, prob: NDArray[np.uint8], city: str = "38SLF_Alpha", **place: Any
) -> None:
    mask = np.where(prob == 255, 255, prob >= 127).astype(np.uint8)
    tags = PredictionTags("", city, prob.shape[1], prob.shape[0], "run", 0.5).as_gdal()
    for name, array in ((city, mask), (f"{city}_prob", prob)):
        path = write_raster(root / "raw" / f"{name}.tif", array, nodata=255, **place)
        with rasterio.open(path, "r+") as dataset:
            dataset.update_tags(**tags)


def truth_path(root: Path, city: str = "38SLF_Alpha") -> Path:
    return root / f"{city.split('_')[1]}_2015" / f"{city}.shp"


def rows_of(folder: Path) -> dict[str, dict[str, float]]:
    with (folder / "validation.csv").open() as file:
        return {
            row["name"]: {
                key: float(value) if value else float("nan")
                for key, value in row.items()
                if key != "name"
            }
            for row in csv.DictReader(file)
        }


# --- the command --------------------------------------------------------------------------------


def test_pixels_are_scored_where_map_and_labels_are_valid(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    prob = generator.integers(0, 255, (60, 80)).astype(np.uint8)
    prob[:10, :10] = 255
    write_city(tmp_path / "preds", prob)
    truth = [box(5, 5, 10, 8), box(30.4, 20.3, 7.2, 9), box(60, 50, 40, 40)]
    labelled, scored = box(0, 0, 70, 55), box(3, 2, 60, 50)
    write_polygons(truth_path(tmp_path), truth)
    write_polygons(truth_path(tmp_path).with_name("38SLF_Alpha_labelled_area.shp"), [labelled])
    shapely_area = write_polygons(tmp_path / "area" / "area.shp", [scored], crs="EPSG:32638")
    _to_geopackage(shapely_area, tmp_path / "preds" / SCORED_AREA)

    table = validate(preds_path=str(tmp_path / "preds"), gt_path=tmp_path)

    burnt = features.rasterize(
        truth, out_shape=prob.shape, transform=TRANSFORM, all_touched=True
    ).astype(bool)
    counted = prob != 255
    for area in (labelled, scored):
        inside = features.rasterize([area], out_shape=prob.shape, transform=TRANSFORM)
        counted &= inside == 1
    row = rows_of(tmp_path / "preds")["38SLF_Alpha"]
    y, p = burnt[counted], prob[counted] >= 127
    assert row["f1"] == pytest.approx(f1_score(y, p))
    assert row["iou"] == pytest.approx(jaccard_score(y, p))
    assert row["precision"] == pytest.approx(precision_score(y, p))
    assert row["recall"] == pytest.approx(recall_score(y, p))
    assert row["average_precision"] == pytest.approx(average_precision_score(y, prob[counted]))
    values = json.loads((tmp_path / "preds" / "validation.json").read_text())
    matrix = values["cities"]["38SLF_Alpha"]["confusion_matrix"]
    assert matrix == confusion_matrix(y, p).tolist()
    assert f"{counted.sum():,}" in table
    assert f"scored inside {tmp_path / 'preds' / SCORED_AREA} only" in table


def _to_geopackage(source: Path, target: Path) -> None:
    import pyogrio.raw

    meta, _, geometry, fields = pyogrio.raw.read(source)
    pyogrio.raw.write(
        target, geometry, fields, meta["fields"], driver="GPKG", geometry_type="Polygon",
        crs=meta["crs"],
    )  # fmt: skip


def test_polygons_are_compared_within_the_labelled_area_and_on_valid_ground(
    tmp_path: Path,
) -> None:
    prob = np.zeros((40, 40), np.uint8)
    prob[2:6, 2:6] = 254  # as the truth
    prob[10:14, 10:14] = 254  # 16 of 24: IoU 2/3
    prob[20:24, 20:24] = 254  # nothing there
    prob[30:34, 28:36] = 254  # reaches over the labelled area's right limit, as the truth does
    prob[36:, :] = 255
    write_city(tmp_path / "preds", prob)
    truth = [
        box(2, 2, 4, 4),
        box(10, 10, 6, 4),
        box(28, 30, 10, 4),
        box(36, 2, 4, 4),  # outside the labelled area
        box(5, 37, 2, 2),  # on no-data
    ]
    write_polygons(truth_path(tmp_path), truth)
    area = box(0, 0, 32, 40)
    write_polygons(truth_path(tmp_path).with_name("38SLF_Alpha_labelled_area.shp"), [area])
    table = validate(preds_path=str(tmp_path / "preds"), gt_path=tmp_path)
    values = json.loads((tmp_path / "preds" / "validation.json").read_text())
    city = values["cities"]["38SLF_Alpha"]
    assert city["polygons_predicted"] == 4
    assert city["polygons_truth"] == 3
    assert city["polygons_matched"] == 3
    assert rows_of(tmp_path / "preds")["pooled"]["polygon_f1"] == pytest.approx(6 / 7)
    assert "4 / 3" in table


def test_pooled_scores_come_from_all_pixels_and_macro_means_from_cities(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    ys, ps = [], []
    for city, size in (("38SLF_Alpha", 30), ("38RPV_Beta", 60)):
        prob = rng.integers(0, 255, (size, size)).astype(np.uint8)
        write_city(tmp_path / "preds", prob, city)
        write_polygons(truth_path(tmp_path, city), [box(3, 3, 15, 9)])
        burnt = np.zeros(prob.shape, bool)
        burnt[3:12, 3:18] = True
        ys.append(burnt.ravel())
        ps.append(prob.ravel() >= 127)
    write_city(tmp_path / "preds", np.zeros((9, 9), np.uint8), "38SNE_Gamma")
    table = validate(preds_path=str(tmp_path / "preds"), gt_path=tmp_path)
    rows = rows_of(tmp_path / "preds")
    assert list(rows) == ["38RPV_Beta", "38SLF_Alpha", "pooled", "macro mean over cities"]
    each = [f1_score(y, p) for y, p in zip(ys, ps, strict=True)]
    assert rows["38SLF_Alpha"]["f1"] == pytest.approx(each[0])
    assert rows["macro mean over cities"]["f1"] == pytest.approx(np.mean(each))
    assert rows["pooled"]["f1"] == pytest.approx(f1_score(np.concatenate(ys), np.concatenate(ps)))
    assert "no ground truth: 38SNE_Gamma" in table


def test_an_undefined_score_is_called_so(tmp_path: Path) -> None:
    write_city(tmp_path / "preds", np.zeros((20, 20), np.uint8))
    write_polygons(truth_path(tmp_path), [box(500, 500, 3, 3)])
    table = validate(preds_path=str(tmp_path / "preds"), gt_path=tmp_path)
    line = next(line for line in table.splitlines() if line.startswith("38SLF_Alpha"))
    assert line.split()[1:8] == [*["undefined"] * 5, "0.000", "undefined"]
    assert "left out of the macro mean: 38SLF_Alpha" in table
    scores = json.loads((tmp_path / "preds" / "validation.json").read_text())["scores"]
    assert scores["38SLF_Alpha"]["f1"] is None


def test_a_city_without_buildings_is_neither_0_nor_1_whatever_was_mapped(tmp_path: Path) -> None:
    prob = np.zeros((20, 20), np.uint8)
    prob[3:9, 3:9] = 254
    write_city(tmp_path / "preds", prob)
    write_polygons(truth_path(tmp_path), [box(500, 500, 3, 3)])
    validate(preds_path=str(tmp_path / "preds"), gt_path=tmp_path)
    row = rows_of(tmp_path / "preds")["38SLF_Alpha"]
    assert all(np.isnan(row[key]) for key in ("f1", "iou", "recall", "polygon_f1"))
    assert row["precision"] == 0  # of what was mapped, nothing is there


def test_cities_that_were_tuned_on_carry_the_mark(tmp_path: Path) -> None:
    preds, run = tmp_path / "preds", tmp_path / "run"
    prob = np.zeros((20, 20), np.uint8)
    prob[3:9, 3:9] = 254
    for city, tile in (("Alpha", "38SLF"), ("Beta", "38RPV")):
        write_city(preds, prob, f"{tile}_{city}")
        write_polygons(truth_path(tmp_path, f"{tile}_{city}"), [box(3, 3, 6, 6)])
    (run / "config").mkdir(parents=True)
    (run / "config" / "settings.json").write_text("{}")
    (run / "summary.json").write_text(json.dumps({"threshold_tuned_on": ["38RPV_Beta"]}))
    (preds / "inference.json").write_text(json.dumps({"training_run": str(run)}))
    table = validate(preds_path=str(preds), gt_path=tmp_path)
    lines = [line.split("  ")[0] for line in table.splitlines()]
    assert lines[1:5] == [
        "38RPV_Beta (tuned on)",
        "38SLF_Alpha",
        "pooled (some tuned on)",
        "macro mean over cities (some tuned on)",
    ]
    cities = json.loads((preds / "validation.json").read_text())["cities"]
    assert {name: city["tuned_on"] for name, city in cities.items()} == {
        "38RPV_Beta": True,
        "38SLF_Alpha": False,
    }
    assert [row["tuned_on"] for row in rows_of(preds).values()] == [1, 0, 1, 1]


def test_scenes_that_were_learnt_from_without_labels_say_so(tmp_path: Path) -> None:
    prob = np.full((20, 30), 20, np.uint8)
    prob[5:15, 5:15] = 200
    for city in ("38SLF_Alpha", "38SLF_Beta"):
        write_city(tmp_path, prob, city)
        write_polygons(truth_path(tmp_path / "truth", city), [box(5, 5, 10, 10)])
    run = tmp_path / "training"
    (run / "config").mkdir(parents=True)
    (run / "config" / "settings.json").write_text("{}")
    (run / "summary.json").write_text(json.dumps({"transductive": ["38SLF_Alpha"]}))
    (tmp_path / "inference.json").write_text(json.dumps({"training_run": str(run)}))
    text = validate(preds_path=str(tmp_path), gt_path=tmp_path / "truth")
    assert "38SLF_Alpha (transductive)" in text and "pooled (some transductive)" in text
    assert "38SLF_Beta (" not in text
    told = json.loads((tmp_path / "validation.json").read_text())["cities"]
    assert (told["38SLF_Alpha"]["transductive"], told["38SLF_Alpha"]["tuned_on"]) == (True, False)
    assert "transductive" not in told["38SLF_Beta"]
    rows = rows_of(tmp_path)
    assert [rows[name]["transductive"] for name in told] == [1, 0]
    assert rows["pooled"]["transductive"] == 1 and rows["pooled"]["tuned_on"] == 0


def test_a_perfect_map_scores_one_in_another_crs(tmp_path: Path) -> None:
    prob = np.zeros((50, 50), np.uint8)
    prob[10:20, 10:25] = 254
    write_city(tmp_path / "preds", prob)
    inner = box(10, 10, 15, 10).buffer(-1, join_style="mitre")
    from pyproj import Transformer

    move = Transformer.from_crs("EPSG:32638", "EPSG:4326", always_xy=True)
    moved = shapely.transform(inner, lambda xy: np.column_stack(move.transform(*xy.T)))
    write_polygons(truth_path(tmp_path), [moved], crs="EPSG:4326")
    validate(preds_path=str(tmp_path / "preds"), gt_path=tmp_path)
    row = rows_of(tmp_path / "preds")["38SLF_Alpha"]
    for key in ("f1", "iou", "precision", "recall", "average_precision", "polygon_f1"):
        assert row[key] == 1, key
    assert row["brier"] == 0


def test_masks_of_training_and_of_validation_agree_on_real_scenes(tmp_path: Path) -> None:
    from builtup.sensors.scene_files import find_rasters
    from builtup.tiles.masks import rasterize

    truth = real_data() / "train"
    rasterize(input_path=truth, output_path=tmp_path / "masks", num_workers=1)
    expected = {}
    for file in find_rasters(tmp_path / "masks", "mask"):
        with rasterio.open(file.path) as dataset:
            mask, place = dataset.read(1), {"transform": dataset.transform, "crs": dataset.crs}
        prob = np.where(mask == 255, 255, 254 * mask).astype(np.uint8)
        write_city(tmp_path / "preds", prob, file.city, **place)
        expected[file.city] = [[int((mask == 0).sum()), 0], [0, int((mask == 1).sum())]]
    validate(preds_path=str(tmp_path / "preds"), gt_path=truth)
    values = json.loads((tmp_path / "preds" / "validation.json").read_text())
    found = {city: value["confusion_matrix"] for city, value in values["cities"].items()}
    assert len(found) == 2
    assert found == expected


def test_no_ground_truth_at_all_is_one_line(tmp_path: Path) -> None:
    write_city(tmp_path / "preds", np.zeros((9, 9), np.uint8))
    (tmp_path / "gt").mkdir()
    with pytest.raises(InputError, match=r"no ground truth of any predicted city \(38SLF_Alpha\)"):
        validate(preds_path=str(tmp_path / "preds"), gt_path=tmp_path / "gt")
    with pytest.raises(InputError, match="no such folder"):
        validate(preds_path=str(tmp_path / "preds"), gt_path=tmp_path / "nowhere")
    assert not (tmp_path / "preds" / "validation.csv").exists()


def test_ground_truth_that_stands_twice_is_refused(tmp_path: Path) -> None:
    write_city(tmp_path / "preds", np.zeros((9, 9), np.uint8))
    for year in ("2015", "2019"):
        write_polygons(tmp_path / f"Alpha_{year}" / "38SLF_Alpha.shp", [box(1, 1)])
    with pytest.raises(InputError, match=r"stands in .*Alpha_2019 as well"):
        validate(preds_path=str(tmp_path / "preds"), gt_path=tmp_path)


def test_scores_are_logged_to_the_run_of_the_predictions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'output' / 'mlflow.db'}")
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    from builtup.runs import tracking

    tracking.setup(tmp_path)
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'output' / 'mlflow.db'}")
    client = tracking.client()
    experiment = client.get_experiment_by_name("Inferences")
    assert experiment is not None
    run_id = client.create_run(experiment.experiment_id).info.run_id
    folder = tmp_path / "output/mlruns/2" / run_id / "artifacts"
    prob = np.zeros((20, 20), np.uint8)
    prob[5:9, 5:9] = 254
    write_city(folder, prob)
    write_polygons(truth_path(tmp_path), [box(5.5, 5.5, 3, 3)])
    client.set_terminated(run_id)
    validate(gt_path=tmp_path)
    logged = client.get_run(run_id).data.metrics
    assert logged["validation/f1"] == 1
    assert logged["validation/macro_iou"] == 1
    assert logged["validation/38SLF_Alpha/recall"] == 1
    assert (folder / "validation.csv").exists()


def test_scores_go_to_a_step_s_run_but_not_to_the_training_that_a_pipeline_opened(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from builtup.runs import tracking

    client = tracking.client()
    write_city(tmp_path / "preds", np.full((20, 20), 254, np.uint8), city="38SLF_Sana'a")
    write_polygons(truth_path(tmp_path, "38SLF_Sana'a"), [box(5.5, 5.5, 3, 3)])
    for tags, logged in (({}, True), ({"config": "x"}, False)):
        opened = client.create_run("0", tags=tags).info.run_id
        monkeypatch.setenv("MLFLOW_RUN_ID", opened)
        validate(preds_path=str(tmp_path / "preds"), gt_path=tmp_path)
        metrics = client.get_run(opened).data.metrics
        assert ("validation/f1" in metrics) is logged
        assert ("validation/38SLF_Sanaʼa/f1" in metrics) is logged


def test_scores_and_the_report_need_no_torch() -> None:
    code = (
        "import sys, builtup.maps.validate, builtup.report.write, builtup.scoring.charts\n"
        "assert not {'torch', 'ignite', 'matplotlib'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
