"""Self-training on images: imported or plain ones, without a CRS, none of it done twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import rasterio
import torch

from aerial_data import add_site, camera, truth
from builtup.config import load as configs
from builtup.errors import BuiltupError, InputError
from builtup.models.channels import channels_of
from builtup.models.heads import heads_of, without_heads
from builtup.runs import tracking
from builtup.runs.manifest import write_config
from builtup.runs.records import Summary
from builtup.studies.self_train import self_train
from builtup.training.checkpoints import load_trained
from builtup.training.learnt_ground import LearntGround
from builtup.training.pseudo_record import PseudoRecord
from helpers import CRS, ROOT

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
    weight, bias = [[-2.0, 1, 1], [2, -1, -1]], [0.5, -0.5]
    folder = tmp_path_factory.mktemp("teacher") / "run"
    return written(folder, TRAINING, {"threshold": 0.4, "metres": 0.25}, weight, bias)


def written(
    folder: Path,
    training: str,
    summary: dict[str, float],
    weight: list[list[float]] | None = None,
    bias: list[float] | None = None,
) -> Path:
    """A finished run of a config; `weight` and `bias` are those of a network of one pixel."""
    (folder / "weights").mkdir(parents=True)
    (folder / "train.py").write_text(training)
    config = configs.load(folder / "train.py")
    write_config(config, folder / "config")
    model = config.build("model")
    if weight is not None and bias is not None:
        model.network.weight.data = torch.tensor(weight)[:, :, None, None]
        model.network.bias.data = torch.tensor(bias)
    torch.save(model.state_dict(), folder / "weights" / "best.pt")
    (folder / "summary.json").write_text(json.dumps(summary))
    LearntGround(folds=("far",), named=("far",)).write(folder)
    return folder


#: EfficientFPN with all heads, that has learnt from pixels of 50 cm.
ALL_HEADS = """
import torch
from builtup.models.channels import Channels
from builtup.models.efficient_fpn import EfficientFPN
from builtup.models.segmenter import Segmenter

seed, num_classes, num_epochs, reference_pixel = 0, 2, 1, 0.5
class_names = ("ground", "building")
data_path, val_fold = "nowhere", None
heads = ("height", "building", "presence", "scale")


def model():
    torch.manual_seed(0)
    network = EfficientFPN(3, num_classes, "efficientnet-b0", heads, width=8)
    return Segmenter(Channels("rgb", (120.0,) * 3, (60.0,) * 3), network)
"""


def run(teacher: Path | str, images: Path, out: Path, **options: Any) -> str:
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
    stale = out / "teacher" / "adapted" / "alpha_scene.safetensors"  # of maps that were adapted
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"the student would fail to read it")
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


def test_a_student_is_the_teacher_of_the_next_round(
    project: Path, teacher: Path, tmp_path: Path, in_process: list[str]
) -> None:
    for number, site in enumerate(SITES):
        add_site(tmp_path / "in", site, seed=number, height=False)
    first = run(teacher, tmp_path / "in", tmp_path / "one")
    second = run(first, tmp_path / "in", tmp_path / "two")
    record, folder = PseudoRecord.read(tmp_path / "two" / "pseudo"), tracking.run_artifacts(second)
    assert first != second and record.teacher == first and len(in_process) == 2
    learnt = LearntGround.read(folder)
    assert learnt.folds == ("far",) and learnt.transductive == SITES  # what both have seen
    assert Summary.read(folder).threshold == 0.4
    image = torch.full((1, 3, 64, 64), 99.0)
    before = load_trained(tracking.run_artifacts(first)).model
    assert not torch.equal(load_trained(folder).model(image), before(image))


class Stopped(BaseException):
    """As an interrupt, which no step takes for bad input."""


def test_a_killed_self_training_on_images_goes_on_where_it_was(
    project: Path, teacher: Path, tmp_path: Path, in_process: list[str]
) -> None:
    """Killed while it maps, stopped after its labels: what there is stays, the rest is the same."""
    for number, site in enumerate((*SITES, "gamma")):
        add_site(tmp_path / "in", site, seed=number, height=False)
    out = tmp_path / "out"
    begin = (
        "import sys; from pathlib import Path; "
        "from builtup.studies.self_train import self_train; "
        "model, images, out, student, overrides = sys.argv[1:]; "
        "self_train(model=model, input_path=images, output_path=Path(out), student=student, "
        "overrides=overrides, num_workers=1, tta='flips')"
    )
    given = (teacher, tmp_path / "in", out, ROOT / "configs" / "selftrain" / "aerial.py", SHORT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "code")}
    killed = subprocess.Popen([sys.executable, "-c", begin, *map(str, given)], env=environment)
    while len(list(out.glob("teacher/raw/*_prob.tif"))) < 2:  # the first is done and noted
        assert killed.poll() is None, "it ended before it had mapped a scene"
        time.sleep(0.01)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    first = min(out.glob("teacher/raw/*_prob.tif"), key=lambda path: path.stat().st_mtime_ns)
    stamp = first.stat().st_mtime_ns

    def stop(*summaries: Any) -> None:
        if summaries[0].step == "pseudo_labels":
            raise Stopped

    with pytest.raises(Stopped):
        run(teacher, tmp_path / "in", out, tell=stop)
    assert in_process == [] and first.stat().st_mtime_ns == stamp
    made = {p: p.stat().st_mtime_ns for p in out.rglob("*.tif")}
    student = run(teacher, tmp_path / "in", out)
    assert made.items() <= {p: p.stat().st_mtime_ns for p in out.rglob("*.tif")}.items()
    assert len(in_process) == 1 and Summary.read(tracking.run_artifacts(student)).finished
    run(teacher, tmp_path / "in", tmp_path / "whole")
    labels = [labels_below(folder / "pseudo") for folder in (tmp_path / "whole", out)]
    assert labels[0] == labels[1] and len(labels[0]) == 6  # masks and soft of three scenes


def labels_below(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.tif")}


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


def test_a_student_of_a_teacher_with_heads_has_its_classes_and_its_pixels(
    project: Path, tmp_path: Path, in_process: list[str]
) -> None:
    teacher = written(tmp_path / "teacher", ALL_HEADS, {"threshold": 0.4, "metres": 0.5})
    add_site(tmp_path / "in", "alpha", crs=CRS, height=False)
    folder = tracking.run_artifacts(run(teacher, tmp_path / "in", tmp_path / "out"))
    assert Summary.read(folder).metres == 0.5  # and its own pixels are of 25 cm
    student, before = load_trained(folder), load_trained(teacher)
    assert heads_of(student.model) == () and len(heads_of(before.model)) == 4
    image = torch.full((1, 3, 64, 64), 99.0)
    assert student.model(image).shape == (1, 2, 64, 64)
    learnt, begun = student.model.state_dict(), without_heads(before.model).state_dict()
    assert learnt.keys() == begun.keys()
    assert not torch.equal(student.model(image), before.model(image))


#: As TRAINING, with a third class that is dark.
THREE = TRAINING.replace("num_classes, num_epochs = 0, 2, 1", "num_classes, num_epochs = 0, 3, 1")
THREE = THREE.replace('("ground", "building")', '("ground", "building", "water")')


def test_a_student_of_three_classes_learns_a_band_a_class(
    project: Path, tmp_path: Path, in_process: list[str]
) -> None:
    """Maps, soft labels and the student have the teacher's classes, without a word in overrides."""
    weight, bias = [[-1.0, 1, 1], [2, -1, -1], [-1, -1, -1]], [0.5, -0.5, 0.0]
    teacher = written(tmp_path / "teacher", THREE, {"metres": 0.25}, weight, bias)
    for number, site in enumerate(SITES):
        add_site(tmp_path / "in", site, seed=number, height=False)
    out = tmp_path / "out"
    folder = tracking.run_artifacts(run(teacher, tmp_path / "in", out))
    assert Summary.read(folder).class_names == ("ground", "building", "water")
    with rasterio.open(out / "pseudo" / "soft" / "alpha" / "alpha_scene_soft.tif") as soft:
        assert soft.count == 3
    student, before = load_trained(folder).model, load_trained(teacher).model
    image = torch.full((1, 3, 64, 64), 99.0)
    assert student(image).shape == (1, 3, 64, 64)
    assert not torch.equal(student(image), before(image))


#: As TRAINING, with a height beside the colours.
WITH_HEIGHT = TRAINING.replace('"rgb"', '"rgb_height"').replace("* 3", "* 5")
WITH_HEIGHT = WITH_HEIGHT.replace("Conv2d(3", "Conv2d(5")


def test_a_student_of_a_teacher_that_reads_heights_reads_them(
    project: Path, tmp_path: Path, in_process: list[str]
) -> None:
    weight, bias = [[-2.0, 1, 1, -1, 0], [2, -1, -1, 1, 0]], [0.5, -0.5]
    teacher = written(tmp_path / "teacher", WITH_HEIGHT, {"metres": 0.25}, weight, bias)
    for number, site in enumerate(SITES):
        add_site(tmp_path / "in", site, seed=number)
    out = tmp_path / "out"
    student = run(teacher, tmp_path / "in", out)
    learnt = load_trained(tracking.run_artifacts(student)).model
    channels = channels_of(learnt)
    assert channels is not None and channels.channel_set == "rgb_height"
    image = torch.full((1, 4, 64, 64), 99.0)  # colours, and a height that is known
    assert not torch.equal(learnt(image), load_trained(teacher).model(image))
    assert run(teacher, tmp_path / "in", out) == student and len(in_process) == 1


def test_a_teacher_that_reads_heights_is_refused_where_there_are_none(
    project: Path, tmp_path: Path
) -> None:
    teacher = written(tmp_path / "teacher", WITH_HEIGHT, {"metres": 0.25})
    add_site(tmp_path / "in", "alpha", height=False)
    with pytest.raises(InputError, match=r"height: no such folder, and the teacher reads this"):
        run(teacher, tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_pictures_and_our_own_settings_are_refused(
    project: Path, teacher: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no images in it as import_scenes writes them"):
        run(teacher, tmp_path / "empty", tmp_path / "out")
    with pytest.raises(BuiltupError, match="overrides: teacher is set by self_train itself"):
        run(teacher, tmp_path / "empty", tmp_path / "out", overrides="teacher=x")
    assert not (tmp_path / "out").exists()
