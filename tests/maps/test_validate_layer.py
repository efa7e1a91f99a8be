"""Maps of several classes against masks: the benchmark's score and one confusion matrix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score, precision_score, recall_score

from builtup.errors import ConfigError, InputError
from builtup.maps.validate import validate
from builtup.maps.validate_layer import SCENE_SCORES
from builtup.runs.results import PredictionTags
from helpers import write_polygons, write_raster

CLASSES = ("building", "clutter", "vegetation", "water", "ground", "car")
PIXEL = Affine(0.1, 0, 300_000, 0, -0.1, 4_000_000)

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
Labels = NDArray[np.uint8]


def tag(path: Path, **tags: str) -> None:
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(**tags)


def write_mask(root: Path, name: str, values: Labels, site: str = "", **place: Any) -> Path:
    site = site or name
    path = write_raster(root / "masks" / site / f"{name}_mask.tif", values, nodata=255, **place)
    tag(
        path,
        BUILTUP_SCENE=f"{name}_{{}}",
        BUILTUP_CITY=site,
        BUILTUP_CLASSES=",".join(CLASSES),
    )
    return path


def write_map(
    root: Path,
    site: str,
    values: Labels,
    kind: str = "classes",
    scene: str = "",
    classes: tuple[str, ...] = CLASSES,
    **place: Any,
) -> Path:
    """A site's class map (H, W), or a scene's probabilities (K, H, W)."""
    tags = PredictionTags(
        f"{scene}_{{}}" if scene else "",
        site,
        *values.shape[:-3:-1],
        "run",
        0.5,
        classes,
        kind=kind,
    )
    name = f"{scene}_prob" if scene else site
    path = write_raster(root / "raw" / f"{name}.tif", values, nodata=255, **place)
    tag(path, **tags.as_gdal())
    return path


def drawn(seed: int, shape: tuple[int, int]) -> tuple[Labels, Labels]:
    """A truth with ignored pixels, and a map that agrees with most of it."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(6, shape, p=[0.2, 0.05, 0.3, 0.1, 0.3, 0.05]).astype(np.uint8)
    label = np.where(rng.random(shape) < 0.7, truth, rng.integers(0, 6, shape)).astype(np.uint8)
    truth[rng.random(shape) < 0.1] = 255
    return truth, label


def scores_of(preds: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((preds / SCENE_SCORES).read_text())
    return found


def run(root: Path, **options: Any) -> str:
    return validate(preds_path=str(root / "preds"), gt_path=root, gt_layer="masks", **options)


NOWHERE: dict[str, Any] = {"transform": None, "crs": None}


@pytest.mark.parametrize("place", [{"transform": PIXEL}, NOWHERE], ids=["crs", "no crs"])
def test_scores_are_those_of_scikit_learn(tmp_path: Path, place: dict[str, Any]) -> None:
    scenes = {"a1": drawn(0, (600, 90)), "b2": drawn(1, (40, 2100))}
    for name, (truth, label) in scenes.items():
        write_mask(tmp_path, name, truth, **place)
        write_map(tmp_path / "preds", name, label, **place)
    text = run(tmp_path)
    found = scores_of(tmp_path / "preds")["full"]
    kept = {n: (truth[truth != 255], label[truth != 255]) for n, (truth, label) in scenes.items()}
    each = {}
    for name, (y, p) in kept.items():
        options = {"average": "weighted", "zero_division": 0}
        each[name] = [
            precision_score(y, p, **options),
            recall_score(y, p, **options),
            f1_score(y, p, **options),
        ]
        row = found["scenes"][name]
        assert [row[k] for k in ("precision", "recall", "f1")] == pytest.approx(each[name])
        assert row["pixels"] == len(y)
    values = np.array(list(each.values()))
    over = found["over_scenes"]
    for i, key in enumerate(("precision", "recall", "f1")):
        assert over[f"{key}_mean"] == pytest.approx(values[:, i].mean())
        assert over[f"{key}_std"] == pytest.approx(values[:, i].std())
    y, p = (np.concatenate(parts) for parts in zip(*kept.values(), strict=True))
    assert found["confusion_matrix"] == confusion_matrix(y, p).tolist()
    ious, f1s = jaccard_score(y, p, average=None), f1_score(y, p, average=None)
    for i, name in enumerate(CLASSES):
        assert found["classes"][name]["iou"] == pytest.approx(ious[i])
        assert found["classes"][name]["f1"] == pytest.approx(f1s[i])
    assert found["together"]["miou"] == pytest.approx(ious.mean())
    assert found["together"]["mapped_iou"] == pytest.approx(ious[0])
    assert f"{over['f1_mean']:.3f}" in text and f"mIoU {ious.mean():.3f}" in text


def test_two_scenes_by_hand(tmp_path: Path) -> None:
    """Scene a: 3 of 4 pixels right, scene b: all right but for what is ignored."""
    truth = np.array([[0, 0, 4, 4]], np.uint8)
    write_mask(tmp_path, "a", truth, transform=PIXEL)
    write_map(tmp_path / "preds", "a", np.array([[0, 4, 4, 4]], np.uint8), transform=PIXEL)
    write_mask(tmp_path, "b", np.array([[2, 255, 5]], np.uint8), transform=PIXEL)
    write_map(tmp_path / "preds", "b", np.array([[2, 0, 5]], np.uint8), transform=PIXEL)
    run(tmp_path)
    found = scores_of(tmp_path / "preds")["full"]
    # building: P 1, R 1/2, F1 2/3; ground: P 2/3, R 1, F1 4/5; two pixels each
    assert found["scenes"]["a"]["f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert found["scenes"]["a"]["precision"] == pytest.approx(5 / 6)
    assert found["scenes"]["b"] == {"precision": 1, "recall": 1, "f1": 1, "pixels": 2}
    mean = (11 / 15 + 1) / 2
    assert found["over_scenes"]["f1_mean"] == pytest.approx(mean)
    assert found["over_scenes"]["f1_std"] == pytest.approx(1 - mean)
    ious = [1 / 2, 1, 2 / 3, 1]  # building, vegetation, ground, car
    assert found["together"]["miou"] == pytest.approx(np.mean(ious))
    assert found["classes"]["water"]["iou"] is None


def test_unscored_classes_are_in_no_mean(tmp_path: Path) -> None:
    truth, label = drawn(3, (50, 50))
    write_mask(tmp_path, "a", truth, transform=PIXEL)
    write_map(tmp_path / "preds", "a", label, transform=PIXEL)
    rows = [f"{i},{name},,{'unscored' if name == 'clutter' else ''}" for i, name in
            enumerate(CLASSES)]  # fmt: skip
    (tmp_path / "classes.csv").write_text("number,name,colour,role\n" + "\n".join(rows) + "\n")
    text = run(tmp_path)
    found = scores_of(tmp_path / "preds")["full"]
    kept = truth != 255
    ious = jaccard_score(truth[kept], label[kept], average=None)
    assert found["together"]["miou"] == pytest.approx(np.delete(ious, 1).mean())
    assert found["classes"]["clutter"]["scored"] is False
    assert "clutter (not in means)" in text


def test_scenes_are_scored_by_their_own_probabilities(tmp_path: Path) -> None:
    truth, label = drawn(4, (30, 40))
    levels = np.full((6, 30, 40), 10, np.uint8)
    np.put_along_axis(levels, label[None].astype(np.int64), 200, axis=0)
    levels[:, :3] = 255
    for name in ("one", "two"):
        write_mask(tmp_path, name, truth, site="town", transform=PIXEL)
    write_map(tmp_path / "preds", "town", levels, "scene", "one", transform=PIXEL)
    write_map(tmp_path / "preds", "town", np.full((30, 40), 4, np.uint8), transform=PIXEL)
    text = run(tmp_path, per_scene=True)
    found = scores_of(tmp_path / "preds")["full"]
    kept = truth != 255
    kept[:3] = False
    expected = f1_score(truth[kept], label[kept], average="weighted")
    assert found["scenes"]["one"]["f1"] == pytest.approx(expected)
    assert "scored by their site's map, without probabilities of their own: two" in text
    assert "labelled, not mapped and not scored: one (10." in text
    # the site's map is one: two masks of the same ground would count its pixels twice
    text = run(tmp_path)
    assert list(scores_of(tmp_path / "preds")["full"]["scenes"]) == ["one"]
    assert "another date of ground that is scored once: two" in text


def test_maps_on_another_grid_are_read_on_the_mask_s(tmp_path: Path) -> None:
    truth, _ = drawn(5, (60, 80))
    truth[truth == 255] = 4
    coarse = truth[::2, ::2]
    write_mask(tmp_path, "a", np.kron(coarse, np.ones((2, 2), np.uint8)), transform=PIXEL)
    write_map(tmp_path / "preds", "a", coarse, transform=PIXEL @ Affine.scale(2))
    run(tmp_path)
    assert scores_of(tmp_path / "preds")["full"]["together"]["accuracy"] == 1
    write_mask(tmp_path, "a", truth, **NOWHERE)
    write_map(tmp_path / "preds", "a", coarse, **NOWHERE)
    with pytest.raises(InputError, match=r"a\.tif: does not lie on .*80x60 and 40x30"):
        run(tmp_path)


def test_eroded_truth_is_scored_beside_the_full(tmp_path: Path) -> None:
    truth = np.zeros((700, 2100), np.uint8)
    truth[:, 900:] = 4  # a border over several of the windows that are read
    label = np.roll(truth, 2, axis=1)
    label[:, :10] = 0
    write_mask(tmp_path, "a", truth, transform=PIXEL)
    write_map(tmp_path / "preds", "a", label, transform=PIXEL)
    text = run(tmp_path, erode=2)
    found = scores_of(tmp_path / "preds")
    assert found["full"]["together"]["accuracy"] == pytest.approx(1 - 2 / 2100)
    assert found["eroded"]["together"]["accuracy"] == 1
    assert found["eroded"]["scenes"]["a"]["pixels"] == 700 * (2100 - 4)
    assert "without 2 pixels about other classes:" in text


@pytest.mark.parametrize(
    ("block", "place", "words"),
    [
        ("", {"transform": PIXEL}, "n = 2 blocks of 1000 pixels (100 m)"),
        ("50m", {"transform": PIXEL}, "n = 3 blocks of 500 pixels (50 m)"),
        ("700", {"transform": PIXEL}, "n = 2 blocks of 700 pixels (70 m)"),
        ("", {"transform": PIXEL @ Affine.scale(100)}, "n = 19 blocks of 64 pixels (640 m)"),
        ("", NOWHERE, "n = 2 blocks of 1000 pixels"),
    ],
)
def test_blocks_are_metres_or_pixels_and_said(
    tmp_path: Path, block: str, place: dict[str, Any], words: str
) -> None:
    truth, label = drawn(6, (60, 1200))
    write_mask(tmp_path, "a", truth, **place)
    write_map(tmp_path / "preds", "a", label, **place)
    text = run(tmp_path, block=block)
    assert words in text
    low, high = scores_of(tmp_path / "preds")["full"]["intervals"]["mapped_iou"]
    assert 0 < low <= scores_of(tmp_path / "preds")["full"]["together"]["mapped_iou"] <= high


def test_blocks_in_metres_need_pixels_of_known_size(tmp_path: Path) -> None:
    truth, label = drawn(6, (60, 120))
    path = write_mask(tmp_path, "a", truth, **NOWHERE)
    write_map(tmp_path / "preds", "a", label, **NOWHERE)
    with pytest.raises(InputError, match=r"a_mask\.tif: 5 m asked for, but no CRS"):
        run(tmp_path, block="5m")
    tag(path, BUILTUP_METRES="0.1")
    assert "n = 6 blocks of 50 pixels (5 m)" in run(tmp_path, block="5m")


def test_only_the_scored_area_counts_where_there_is_one(tmp_path: Path) -> None:
    import shapely

    truth, label = drawn(7, (40, 60))
    write_mask(tmp_path, "a", truth, transform=PIXEL)
    write_map(tmp_path / "preds", "a", label, transform=PIXEL)
    box = shapely.box(*PIXEL @ (0, 40), *PIXEL @ (30, 0))
    source = write_polygons(tmp_path / "area.shp", [box])
    import pyogrio.raw

    meta, _, geometry, fields = pyogrio.raw.read(source)
    pyogrio.raw.write(
        tmp_path / "preds" / "scored_area.gpkg", geometry, fields, meta["fields"], driver="GPKG",
        geometry_type="Polygon", crs=meta["crs"],
    )  # fmt: skip
    text = run(tmp_path)
    expected = int((truth[:, :30] != 255).sum())
    assert scores_of(tmp_path / "preds")["full"]["scenes"]["a"]["pixels"] == expected
    assert "scored inside" in text


def test_what_does_not_fit_is_one_line(tmp_path: Path) -> None:
    truth, label = drawn(8, (20, 20))
    preds = tmp_path / "preds"
    write_map(preds, "a", label, transform=PIXEL)
    with pytest.raises(InputError, match="no such folder"):
        run(tmp_path)
    (tmp_path / "masks").mkdir()
    with pytest.raises(InputError, match="no masks of scenes in it"):
        run(tmp_path)
    mask = write_mask(tmp_path, "b", truth, transform=PIXEL)
    with pytest.raises(InputError, match=r"no mask of any map in .*masks of b_\{\}, maps of a"):
        run(tmp_path)
    mask.unlink()
    mask = write_mask(tmp_path, "a", truth, transform=PIXEL)
    tag(mask, BUILTUP_CLASSES="building,road")
    with pytest.raises(InputError, match=r"a_mask\.tif: has the classes building, road; a\.tif"):
        run(tmp_path)
    tag(mask, BUILTUP_CLASSES="")
    write_raster(mask, np.full((20, 20), 7, np.uint8), PIXEL)
    with pytest.raises(InputError, match=r"a_mask\.tif: a mask holds class 7"):
        run(tmp_path)
    write_raster(mask, truth.astype(np.int16), PIXEL)
    with pytest.raises(InputError, match=r"a_mask\.tif: values of type int16"):
        run(tmp_path)
    write_mask(tmp_path, "a", truth, transform=PIXEL)
    write_map(preds, "a", np.full((20, 20), 6, np.uint8), transform=PIXEL)
    with pytest.raises(InputError, match=r"a\.tif: holds class 6, but its tags name 6 classes"):
        run(tmp_path)
    (tmp_path / "classes.csv").write_text("number,name,colour,role\n0,road,,\n1,house,,\n")
    with pytest.raises(InputError, match=r"classes\.csv: has the classes road, house; a\.tif has"):
        run(tmp_path)
    assert not (preds / SCENE_SCORES).exists()


def test_options_of_masks_need_masks(tmp_path: Path) -> None:
    (tmp_path / "preds" / "raw").mkdir(parents=True)
    with pytest.raises(ConfigError, match="say which by gt_layer"):
        validate(preds_path=str(tmp_path / "preds"), gt_path=tmp_path, erode=3)


def test_a_scene_without_a_labelled_pixel_is_named(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        truth, label = drawn(seed, (20, 20))
        if name == "b":
            truth[:] = 255
        write_mask(tmp_path, name, truth, transform=PIXEL)
        write_map(tmp_path / "preds", name, label, transform=PIXEL)
    text = run(tmp_path)
    found = scores_of(tmp_path / "preds")["full"]
    assert found["scenes"]["b"]["f1"] is None
    assert found["over_scenes"]["f1_mean"] == found["scenes"]["a"]["f1"]
    assert "no labelled and mapped pixel to score: b" in text


def test_figures_are_logged_to_the_step_s_run(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from builtup.runs import tracking

    truth, label = drawn(9, (20, 20))
    write_mask(tmp_path, "a", truth, transform=PIXEL)
    write_map(tmp_path / "preds", "a", label, transform=PIXEL)
    client = tracking.client()
    opened = client.create_run("0").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", opened)
    run(tmp_path, erode=1)
    metrics = client.get_run(opened).data.metrics
    found = scores_of(tmp_path / "preds")["full"]
    assert metrics["validation/weighted_f1_mean"] == pytest.approx(found["over_scenes"]["f1_mean"])
    assert metrics["validation/miou"] == pytest.approx(found["together"]["miou"])
    assert metrics["validation/class/car/iou"] == pytest.approx(found["classes"]["car"]["iou"])
    assert metrics["validation/scene/a/weighted_f1"] == found["scenes"]["a"]["f1"]
    assert "validation/eroded/miou" in metrics
