"""A toy chain of three classes: from tiles to a class map, its polygons and their scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from numpy.typing import NDArray
from sklearn.metrics import f1_score, recall_score

from builtup.errors import ConfigError
from builtup.maps.cities import all_agg_by_city
from builtup.maps.mosaic import merge_tiles
from builtup.maps.polygonize import polygonize
from builtup.maps.validate import validate
from builtup.tiles.cut import generate_tiles
from helpers import city_polygons, speckle, write_polygons
from tile_data import add_scene, moved, prepared
from tiny_model import use_store
from toy_chains import Chain, infer, read, run_of, train

SIZE = 96
CITIES = ("Alpha", "Beta")
DATES = ("20150101", "20150113")
NAMES = ("field", "building", "water")
#: Backscatter of each class, as a multiple of a field's.
BRIGHTNESS = np.array([1.0, 12.0, 0.08], np.float32)
TRAINING = """
import torch
from torch import nn

from builtup.data import loaders
from builtup.models.channels import Channels
from builtup.models.losses import CrossEntropy
from builtup.models.segmenter import Segmenter

seed, num_classes, num_epochs = 0, 3, 6
class_names = ("field", "building", "water")
data_path, val_fold = "{tiles}", "Beta"
batch_size, num_workers, log_predictions, device, log_model = 4, 0, 2, "cpu", False


class Net(nn.Sequential):
    stride = 4


def model():
    layers = [nn.Conv2d(3, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, num_classes, 1)]
    return Segmenter(Channels("db_3b", (-15.0,) * 3, (6.0,) * 3), Net(*layers))


def train_loader():
    return loaders.train_loader(
        data_path, val_fold=val_fold, batch_size=batch_size, crop=32, seed=seed
    )


def val_loader():
    return loaders.val_loader(data_path, val_fold=val_fold, batch_size=batch_size)


def criterion():
    return CrossEntropy(1.0, 1.0, 1.0)


def optimizer(model):
    return torch.optim.Adam(model.parameters(), lr=0.03)
"""


def town(number: int) -> NDArray[np.uint8]:
    """(SIZE, SIZE) of three classes: blocks of houses beside a lake; the left edge is unknown."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    for x in range(10, 60, 20):
        for y in range(8 + 4 * number, 80, 24):
            mask[y : y + 12, x : x + 11] = 1
    mask[50:90, 66:90] = 2
    mask[:, :4] = 255
    return mask


def write_towns(root: Path) -> dict[str, NDArray[np.uint8]]:
    """Scenes, masks and polygons of the buildings; give the masks by the cities' keys."""
    masks = {}
    for number, city in enumerate(CITIES):
        mask, place = town(number), moved(2000 * number, 0)
        tile = f"38S{2 * 'AB'[number]}"
        masks[f"{tile}_{city}"] = mask
        for date in DATES:
            vh, vv = (speckle(mask.shape, level, int(date) + number) for level in (0.03, 0.12))
            power = np.stack([vh, vv]) * BRIGHTNESS[np.minimum(mask, 2)]
            power = np.concatenate([power, power.mean(axis=0, keepdims=True)])
            power[:, mask == 255] = np.nan
            add_scene(root, f"{city}_2015", tile, date, transform=place, image=power, mask=mask)
        squares = [
            shapely.Polygon([place @ corner for corner in shapely.box(*box).exterior.coords])
            for box in squares_of(mask)
        ]
        write_polygons(city_polygons(root / "truth", f"{city}_2015", tile), squares)
    return masks


def squares_of(mask: NDArray[np.uint8]) -> list[tuple[int, int, int, int]]:
    """The buildings as (left, top, right, bottom), a hair smaller than their pixels."""
    from scipy import ndimage

    found = ndimage.find_objects(ndimage.label(mask == 1)[0])
    hair = 0.01
    return [(x.start + hair, y.start + hair, x.stop - hair, y.stop - hair) for y, x in found]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Everything, from scenes to scores, once for all tests."""
    root = tmp_path_factory.mktemp("three_classes")
    truth = write_towns(root)
    prepared(root, folds="city")
    generate_tiles(
        input_path=root / "images_3b",
        output_path=root / "test_tiles",
        tile_size=64,
        overlap=16,
        materialize=True,
        num_workers=1,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        use_store(root, patch)
        trained = train(root / "train.py", TRAINING.format(tiles=root / "tiles"))
        predicted = infer(root / "test.py", trained, root / "test_tiles", targets=False)
        for step in (merge_tiles, all_agg_by_city, polygonize):
            step(input_path=str(predicted))
    return Chain(root, truth, trained, predicted)


@pytest.fixture(autouse=True)
def project(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chain's folder and database, made the current ones."""
    monkeypatch.chdir(chain.root)
    use_store(chain.root, monkeypatch)


def test_a_network_of_three_classes_is_scored_by_the_mapped_one(chain: Chain) -> None:
    summary = json.loads((chain.trained / "summary.json").read_text())
    assert summary["class_names"] == list(NAMES)
    matrix = np.sum(list(summary["confusion"].values()), axis=0)
    assert matrix.shape == (3, 3)
    precision, recall = matrix[1, 1] / matrix[:, 1].sum(), matrix[1, 1] / matrix[1].sum()
    expected = 2 * precision * recall / (precision + recall)
    assert summary["metrics"]["f1"] == pytest.approx(expected)
    assert summary["metrics"]["f1"] > 0.8 and summary["metrics"]["macro_f1"] > 0.8
    assert list((chain.trained / "pictures").rglob("*.png"))
    metrics = run_of("Trainings").data.metrics
    assert "val/macro_f1" in metrics and "val/threshold" not in metrics  # nothing is cut at one


def test_the_map_holds_the_likeliest_of_three_classes(chain: Chain) -> None:
    for city, truth in chain.truth.items():
        prob = read(chain.predicted / "raw" / f"{city}_prob.tif")
        (mapped,) = read(chain.predicted / "raw" / f"{city}.tif")
        assert len(prob) == 3
        unknown = truth == 255
        assert (mapped[unknown] == 255).all()
        assert (mapped[~unknown] == prob.argmax(axis=0)[~unknown]).all()
        assert set(np.unique(mapped)) == {0, 1, 2, 255}
        assert (mapped == truth).mean() > 0.85
        with rasterio.open(chain.predicted / "raw" / f"{city}_prob.tif") as dataset:
            assert dataset.descriptions == NAMES
            assert dataset.tags()["BUILTUP_CLASSES"] == ",".join(NAMES)


def test_polygons_are_of_the_mapped_class_alone(chain: Chain) -> None:
    for city in chain.truth:
        (mapped,) = read(chain.predicted / "raw" / f"{city}.tif")
        _, _, wkb, _ = pyogrio.raw.read(chain.predicted / "raw" / f"{city}.shp")
        area = shapely.area(shapely.from_wkb(wkb)).sum()
        assert area == pytest.approx(100 * (mapped == 1).sum())


def test_the_map_is_scored_by_its_mapped_class(chain: Chain) -> None:
    validate(preds_path=str(chain.predicted), gt_path=chain.root / "truth")
    scores = json.loads((chain.predicted / "validation.json").read_text())["scores"]
    for city, truth in chain.truth.items():
        (mapped,) = read(chain.predicted / "raw" / f"{city}.tif")
        counted = mapped != 255
        y, p = truth[counted] == 1, mapped[counted] == 1
        assert scores[city]["f1"] == pytest.approx(f1_score(y, p))
        assert scores[city]["recall"] == pytest.approx(recall_score(y, p))
        assert scores[city]["f1"] > 0.8


def test_held_out_tiles_are_scored_by_argmax(chain: Chain) -> None:
    infer(chain.root / "validate.py", chain.trained, chain.tiles, targets=True)
    run = run_of("Inferences")
    assert run.data.metrics["val/f1"] > 0.8 and run.data.metrics["val/macro_f1"] > 0.8
    assert list(Path(run.info.artifact_uri).glob("overlays/*.png"))
    assert "val/threshold" not in run.data.metrics


def test_class_names_that_do_not_fit_are_refused_before_data_are_read(chain: Chain) -> None:
    config = TRAINING.format(tiles=chain.root / "nowhere") + 'class_names = ("field", "building")\n'
    with pytest.raises(
        ConfigError, match=r"misfit\.py: class_names has 2 names .* num_classes = 3"
    ):
        train(chain.root / "misfit.py", config)
