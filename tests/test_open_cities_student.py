"""The noisy student: labels at every step, soft labels at every fifth, and no leak of its fold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

from aerial_data import add_site, measured_houses, tile_layers
from builtup.config import load as configs
from builtup.config.launch import run_script
from builtup.errors import LeakageError
from builtup.geo.probability import NODATA
from builtup.maps.pseudo_labels import pseudo_labels
from builtup.runs import tracking
from builtup.runs.records import InferenceRecord, Summary
from builtup.runs.results import PredictionTags, write_tags
from builtup.tiles.stats import generate_tiles_stats
from builtup.tiles.table import TILE_STATS_CSV, read_tile_stats
from builtup.training.learnt_ground import LearntGround
from helpers import ROOT

CONFIG = ROOT / "configs" / "selftrain" / "open_cities_student.py"
NAMES = ("ground", "building")
TINY = (
    "encoder=efficientnet-b0 width=8 crop=64 batch_size=2 samples_per_epoch=10 num_epochs=1 "
    "num_workers=0 log_predictions=0 log_interval=1 log_model=false pixel_size=none "
    "reference_pixel=none device=cpu val_fold=beta"
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Labelled sites alpha and beta, and soft labels of gamma by a teacher that saw alpha."""
    measured_houses(tmp_path / "labelled", "alpha", "beta")
    for site in ("gamma", "delta"):  # of which the teacher finds nothing in the second
        add_site(tmp_path / "new", site, seed=7, height=False)
    tile_layers(tmp_path / "new", materialize=False)
    teacher = tmp_path / "teacher"
    (teacher / "config").mkdir(parents=True)
    (teacher / "config" / "settings.json").write_text('{"files": [], "settings": {}}')
    LearntGround(folds=("alpha",), named=("alpha",), held_out="beta").write(teacher)
    maps = tmp_path / "maps"
    (maps / "raw").mkdir(parents=True)
    profile = {"count": 1, "width": 112, "height": 96, "dtype": "uint8", "nodata": NODATA}
    for site, most, presence in (("gamma", 255, 0.9), ("delta", 20, 0.05)):
        tags = PredictionTags(f"{site}_scene_{{}}", site, 112, 96, "m", 0.5, NAMES, sensor="rgb")
        tags = replace(tags, presence=presence)
        path = maps / "raw" / f"{site}_scene_prob.tif"
        with rasterio.open(path, "w", driver="GTiff", **profile) as out:
            out.write(np.random.default_rng(0).integers(0, most, (1, 96, 112), dtype=np.uint8))
            write_tags(out, tags.of_kind("scene"))
    InferenceRecord(run_id="m", training_run=str(teacher)).write(maps)
    for mode in ("soft", "negatives"):
        pseudo = tmp_path / mode
        pseudo_labels(
            input_path=str(maps), tiles_path=tmp_path / "new" / "tiles", output_path=pseudo,
            mode=mode, num_workers=1,
        )  # fmt: skip
        generate_tiles_stats(input_path=pseudo, output_path=pseudo, gap="4", num_workers=1)
    return tmp_path


def train(data: Path, more: str = "") -> None:
    paths = f"data_path={data / 'labelled' / 'tiles'} soft_path={data / 'soft'}"
    run_script(ROOT / "code" / "scripts" / "training.py", CONFIG, 1, f"{paths} {TINY} {more}")


def test_a_batch_of_soft_labels_comes_with_every_fifth_step(project: Path, data: Path) -> None:
    train(data, "mixup=0.4 debias=0.2 ema=0.3 ema_decay=0.9")
    run = tracking.find_run(tracking.last_run_id())
    points = tracking.client().get_metric_history(run.info.run_id, "train/soft")
    assert [point.step for point in points] == [5] and points[0].value > 0
    assert run.data.params["cfg/lessons"] == "soft, every 5 steps"
    told = Summary.read(tracking.run_artifacts(run.info.run_id))
    assert told.transductive == ("delta", "gamma") and told.val_cities == ("beta",)


def test_what_is_sure_to_be_empty_is_taught_as_labels_beside(project: Path, data: Path) -> None:
    train(data, f"negatives_path={data / 'negatives'}")
    run = tracking.find_run(tracking.last_run_id())
    assert run.data.params["cfg/lessons"] == "soft, every 5 steps; negatives, every 5 steps"
    for name in ("soft", "negatives"):
        points = tracking.client().get_metric_history(run.info.run_id, f"train/{name}")
        assert [point.step for point in points] == [5] and points[0].value > 0
    rows = read_tile_stats(data / "negatives" / TILE_STATS_CSV)
    assert {row.tile.city for row in rows} == {"delta"}


def test_its_network_drops_half_of_its_deepest_blocks(tmp_path: Path) -> None:
    config = configs.load(CONFIG, "data_path=nowhere")
    assert config.drop_connect == 0.5 and config.encoder == "efficientnet-b2"
    assert (config.soft_every, config.ema, config.debias, config.mixup) == (5, 0.0, 0.0, 0.0)


def test_soft_labels_of_a_teacher_that_saw_the_held_out_site_are_refused(
    project: Path, data: Path
) -> None:
    with pytest.raises(
        LeakageError, match=r"student.py \(run \w+\): run teacher, the teacher"
    ) as e:
        train(data, "val_fold=alpha")
    assert "has learnt from alpha (it held out beta)" in str(e.value) and "\n" not in str(e.value)
