"""Images of a camera with heights and three classes, through the chain: from layers to a class map.

Sites have no CRS: rasters yes, polygons no.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from aerial_data import COLOURS, NAMES, add_site, camera, measured, truth
from builtup.errors import ConfigError, InputError
from builtup.maps.cities import all_agg_by_city
from builtup.maps.mosaic import merge_tiles
from builtup.maps.polygonize import polygonize
from builtup.runs.results import read_tags
from builtup.tiles.cut import generate_tiles
from tiny_model import use_store
from toy_chains import Chain, infer, read, run_of, train

SITES = ("alpha", "beta", "gamma")
TRAINING = """
import torch
from torch import nn

from builtup.data import loaders
from builtup.models.channels import Channels
from builtup.models.losses import CrossEntropy
from builtup.models.segmenter import Segmenter

seed, num_classes, num_epochs = 0, 3, 6
data_path, val_fold = "{tiles}", "gamma"
channel_set, normalisation, height_dropout = "rgb_height", "stats", 0.2
batch_size, num_workers, log_predictions, device, log_model = 6, 0, 2, "cpu", False


class Net(nn.Sequential):
    stride = 4


def model():
    layers = [nn.Conv2d(5, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    return Segmenter(Channels(channel_set), Net(*layers, nn.Conv2d(8, num_classes, 1)))


def train_loader():
    return loaders.train_loader(
        data_path, val_fold=val_fold, batch_size=batch_size, crop=32, seed=seed,
        sampler_weights=(0.2, 1.0, 1.0), samples_per_epoch=48, scale=None,
        channel_set=channel_set, height_dropout=height_dropout,
    )


def val_loader():
    return loaders.val_loader(
        data_path, val_fold=val_fold, batch_size=batch_size, channel_set=channel_set
    )


def criterion():
    return CrossEntropy(1.0, 1.0, 1.0)


def optimizer(model):
    return torch.optim.Adam(model.parameters(), lr=0.03)
"""


def configured(tiles: Path, extra: str = "") -> str:
    return TRAINING.format(tiles=tiles) + extra


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Everything, from layers to a map of the site that was left out, once for all tests."""
    root = tmp_path_factory.mktemp("optical")
    masks = {site: add_site(root, site, seed=10 * i) for i, site in enumerate(SITES)}
    measured(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        use_store(root, patch)
        trained = train(root / "train.py", configured(root / "tiles"))
        predicted = infer(root / "validate.py", trained, root / "tiles", targets=True)
        for step in (merge_tiles, all_agg_by_city):
            step(input_path=str(predicted))
    return Chain(root, masks, trained, predicted)


@pytest.fixture(autouse=True)
def project(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chain's folder and database, made the current ones."""
    monkeypatch.chdir(chain.root)
    use_store(chain.root, monkeypatch)


def test_tiles_keep_alpha_colours_and_tags(chain: Chain) -> None:
    path = chain.tiles / "images" / "alpha_scene_image_tiles" / "tile_0_0.tif"
    with rasterio.open(path) as dataset:
        assert dataset.dtypes == ("uint8",) * 4 and dataset.crs is None
        assert dataset.descriptions == ("red", "green", "blue", "alpha")
        assert [c.name for c in dataset.colorinterp] == ["red", "green", "blue", "alpha"]
        assert dataset.tags()["BUILTUP_SENSOR"] == "rgb"
        np.testing.assert_array_equal(dataset.read(), camera(truth(0), 0)[:, :48, :48])
    path = chain.tiles / "masks" / "alpha_scene_mask_tiles" / "tile_0_0.tif"
    with rasterio.open(path) as dataset:
        assert dataset.tags()["BUILTUP_CLASSES"] == ",".join(NAMES)
        assert dataset.colormap(1)[1][:3] == (200, 0, 0)


def test_statistics_say_sensor_classes_shares_and_heights(chain: Chain) -> None:
    stats = json.loads((chain.tiles / "stats.json").read_text())
    assert stats["class_roles"] == {"colours": [list(colour) for colour in COLOURS]}
    assert stats["sensor"] == "rgb" and stats["class_names"] == list(NAMES)
    assert set(stats["channels"]) == {"rgb", "rgb_height"}
    own = stats["folds"]["all"]["rgb_height"]
    assert own["mean"][:3] == stats["folds"]["all"]["rgb"]["mean"]
    assert 0.3 < own["mean"][3] < 4 and own["mean"][4] == 0 and own["std"][4] == 1
    with (chain.tiles / "tile_stats.csv").open() as f:
        rows = list(csv.DictReader(f))
    mask = chain.truth["alpha"]
    for row in (r for r in rows if r["city"] == "alpha"):
        x, y = int(row["x"]), int(row["y"])
        seen = mask[max(y, 4) : y + 48, x : x + 48]
        known = seen[seen != 255]
        for number in range(3):
            assert float(row[f"share_{number}"]) == pytest.approx((known == number).mean())
        assert float(row["target_ratio"]) == pytest.approx((known == 1).mean())
        assert row["height_path"].startswith("height/alpha_scene_height_tiles/tile_")
    assert not (chain.tiles / "folds.gpkg").exists()  # nothing lies anywhere


def test_a_training_takes_its_class_names_from_the_masks(chain: Chain) -> None:
    summary = json.loads((chain.trained / "summary.json").read_text())
    assert summary["class_names"] == list(NAMES) and summary["val_cities"] == ["gamma"]
    assert summary["class_roles"] == {"colours": [list(colour) for colour in COLOURS]}
    matrix = np.array(summary["confusion"]["gamma"])
    assert matrix.shape == (3, 3) and summary["metrics"]["f1"] > 0.8
    settings = json.loads((chain.trained / "config" / "settings.json").read_text())["settings"]
    assert settings["class_names"] == list(NAMES)
    assert list((chain.trained / "pictures").rglob("*.png"))


def test_the_map_of_a_site_without_crs_is_what_its_tags_say(chain: Chain) -> None:
    raw, mask = chain.predicted / "raw", chain.truth["gamma"]
    prob = read(raw / "gamma_prob.tif")
    (mapped,) = read(raw / "gamma.tif")
    assert prob.shape == (3, *mask.shape) and not (mapped[4:] == 255).any()
    assert (mapped[:4] == 255).all() and (mapped[4:] == prob.argmax(axis=0)[4:]).all()
    known = (mask != 255) & (mapped != 255)
    assert (mapped == mask)[known].mean() > 0.9
    assert (mapped[40:44, 40:44] != 255).all()  # black is no gap
    with rasterio.open(raw / "gamma_prob.tif") as dataset:
        assert dataset.descriptions == NAMES and dataset.crs is None
        tags = dataset.tags()
    assert (tags["BUILTUP_SENSOR"], tags["BUILTUP_DECISION"]) == ("rgb", "argmax")
    assert (raw / "gamma_scene_prob.tif").is_file()
    with rasterio.open(raw / "gamma.tif") as dataset:  # in the colours of the masks
        assert read_tags(dataset).class_set.colours == COLOURS


def test_the_held_out_site_is_scored_by_argmax(chain: Chain) -> None:
    metrics = run_of("Inferences").data.metrics
    (mapped,) = read(chain.predicted / "raw" / "gamma.tif")
    mask = chain.truth["gamma"]
    known = (mask != 255) & (mapped != 255)
    hit = ((mapped == 1) & (mask == 1))[known].sum()
    f1 = 2 * hit / ((mapped == 1)[known].sum() + (mask == 1)[known].sum())
    assert metrics["val/f1"] == pytest.approx(f1, abs=0.03)  # tiles are merged by their ramps
    assert list(chain.predicted.glob("overlays/*.png"))


def test_a_map_without_a_crs_has_no_polygons_and_this_is_said(
    chain: Chain, caplog: pytest.LogCaptureFixture
) -> None:
    polygonize(input_path=str(chain.predicted))
    assert "gamma: has no CRS, so its map gets no polygons" in caplog.text
    assert not list((chain.predicted / "raw").glob("*.gpkg"))


def test_the_same_network_maps_without_heights_and_adapts(
    chain: Chain, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shape = (160, 144)
    mask = add_site(tmp_path, "delta", seed=77, height=False, shape=shape)
    generate_tiles(
        input_path=tmp_path / "images",
        output_path=tmp_path / "tiles" / "images",
        tile_size=64,
        overlap=16,
        materialize=False,
        num_workers=1,
    )
    tiles = tmp_path / "tiles" / "images"
    path = chain.root / "test.py"
    predicted = infer(path, chain.trained, tiles, targets=False, extra='adapt = "scene"\n')
    assert "no heights of 9 of 9 tiles" in caplog.text
    merge_tiles(input_path=str(predicted))
    all_agg_by_city(input_path=str(predicted))
    (mapped,) = read(predicted / "raw" / "delta.tif")
    known = (mask != 255) & (mapped != 255)
    assert (mapped == mask)[known].mean() > 0.7
    with rasterio.open(predicted / "raw" / "delta.tif") as dataset:
        assert dataset.tags()["BUILTUP_ADAPTED"].startswith("scene, weight 0.8")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (
            'class_names = ("ground", "tree", "building")',
            "class_names = ground, tree, building, and",
        ),
        ("num_classes = 4", "num_classes = 4, and the masks of .* have 3 classes"),
        ('channel_set = "irrg"', "channel_set = irrg: is computed from the bands of irrg"),
        (
            'channel_set = "db_3b"',
            "of sentinel1, and the tiles in .* are of rgb; choose one of rgb",
        ),
    ],
)
def test_what_does_not_fit_the_data_is_refused_in_one_line(
    chain: Chain, extra: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as e:
        train(chain.root / "misfit.py", configured(chain.tiles, f"{extra}\n"))
    assert "\n" not in str(e.value)


def test_a_network_of_other_bands_than_the_samples_is_refused(chain: Chain) -> None:
    extra = "def val_loader():\n    return loaders.val_loader(data_path, val_fold=val_fold, "
    extra += "batch_size=1)\n"
    with pytest.raises(ConfigError, match=r"reads red, green, blue, height, and samples .* hold"):
        train(chain.root / "misfit.py", configured(chain.tiles, extra))


def test_tiles_of_radar_are_refused_by_a_network_of_a_camera(chain: Chain, tmp_path: Path) -> None:
    from tile_data import add_scene, tile_all

    add_scene(tmp_path)
    tiles = tile_all(tmp_path) / "images"
    with pytest.raises(InputError, match="sensor sentinel1, and the network reads rgb"):
        infer(chain.root / "test.py", chain.trained, tiles, targets=False)
