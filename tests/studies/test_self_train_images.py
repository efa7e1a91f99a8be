"""Self-training on images: imported or plain ones, without a CRS, none of it done twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import rasterio
import torch

from aerial_data import add_site, camera, truth
from builtup.config import load as configs
from builtup.errors import BuiltupError, InputError
from builtup.runs import tracking
from builtup.runs.manifest import write_config
from builtup.runs.records import Summary
from builtup.studies.self_train import self_train
from builtup.training.learnt_ground import LearntGround
from builtup.training.pseudo_record import PseudoRecord
from helpers import ROOT

SITES = ("alpha", "beta")
SHORT = "num_epochs=1 samples_per_epoch=8 batch_size=4 crop=32 log_model=false"
TRAINING = """
from torch import nn
from builtup.models.channels import Channels
from builtup.models.segmenter import Segmenter

seed, num_classes, num_epochs = 0, 2, 1
class_names = ("ground", "building")
data_path, val_fold = "nowhere", None


def model():
    channels = Channels("rgb", (120.0,) * 3, (60.0,) * 3)
    return Segmenter(channels, nn.Conv2d(3, num_classes, 1))
"""


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of one pixel that takes red for buildings, and the ground that it learnt from."""
    folder = tmp_path_factory.mktemp("teacher") / "run"
    folder.mkdir()
    (folder / "train.py").write_text(TRAINING)
    config = configs.load(folder / "train.py")
    write_config(config, folder / "config")
    model = config.build("model")
    model.network.weight.data = torch.tensor([[-2.0, 1, 1], [2, -1, -1]])[:, :, None, None]
    model.network.bias.data = torch.tensor([0.5, -0.5])
    (folder / "weights").mkdir()
    torch.save(model.state_dict(), folder / "weights" / "best.pt")
    (folder / "summary.json").write_text(json.dumps({"threshold": 0.4, "metres": 0.25}))
    LearntGround(folds=("far",), named=("far",)).write(folder)
    return folder


def run(teacher: Path, images: Path, out: Path, **options: Any) -> str:
    lines = self_train(
        model=str(teacher), input_path=str(images), output_path=out, num_workers=1, tta="flips",
        student=str(ROOT / "configs" / "selftrain" / "aerial.py"),
        **{"overrides": SHORT, **options},
    )  # fmt: skip
    return lines[0].split()[2].rstrip(",")


def test_a_student_learns_from_maps_of_imported_images(
    project: Path, teacher: Path, tmp_path: Path, in_process: list[str]
) -> None:
    for number, site in enumerate(SITES):
        add_site(tmp_path / "in", site, seed=number, height=False)
    out = tmp_path / "out"
    student = run(teacher, tmp_path / "in", out)
    folder, record = tracking.run_artifacts(student), PseudoRecord.read(out / "pseudo")
    told = Summary.read(folder)
    assert told.finished and told.transductive == SITES and told.threshold == 0.4
    assert told.class_names == ("ground", "building")
    assert (record.source, record.mode, record.scenes) == ("scene", "soft", 2)
    assert LearntGround.read(folder).folds == ("far",)
    places = ("pseudo/soft/alpha/alpha_scene_soft.tif", "teacher/raw/alpha_scene_prob.tif")
    soft, prob = (rasterio.open(out / place) for place in places)
    with soft, prob:
        assert (soft.read() == prob.read()).all()
    stamps = {p: p.stat().st_mtime_ns for p in out.rglob("*.tif")}
    assert run(teacher, tmp_path / "in", out) == student and len(in_process) == 1
    assert stamps == {p: p.stat().st_mtime_ns for p in out.rglob("*.tif")}


def test_plain_pictures_are_imported_first(
    project: Path, teacher: Path, tmp_path: Path, in_process: list[str]
) -> None:
    place = tmp_path / "flight" / "images"
    place.mkdir(parents=True)
    picture = camera(truth(3), 3)
    profile = {"count": 4, "width": 112, "height": 96, "dtype": "uint8"}
    with rasterio.open(place / "field.png", "w", driver="PNG", **profile) as out:
        out.write(picture)
    student = run(teacher, tmp_path / "flight", tmp_path / "out")
    assert Summary.read(tracking.run_artifacts(student)).transductive == ("flight",)
    assert (tmp_path / "out" / "scenes" / "images" / "flight" / "field_image.tif").is_file()


def test_a_folder_without_pictures_and_our_own_settings_are_refused(
    project: Path, teacher: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no images in it as import_scenes writes them"):
        run(teacher, tmp_path / "empty", tmp_path / "out")
    with pytest.raises(BuiltupError, match="overrides: teacher is set by self_train itself"):
        run(teacher, tmp_path / "empty", tmp_path / "out", overrides="teacher=x")
    assert not (tmp_path / "out").exists()
