"""Self-training: maps, labels, tiles and a student of its own, none of it done twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from builtup.config.launch import run_script
from builtup.errors import BuiltupError
from builtup.runs import tracking
from builtup.runs.records import Summary
from builtup.runs.results import read_tags
from builtup.studies.self_train import self_train, weight_of_cells
from builtup.training.checkpoints import load_state, load_trained
from builtup.training.learnt_ground import LearntGround
from builtup.training.pseudo_record import PseudoRecord
from helpers import ROOT, write_raster
from tile_data import moved
from tiny_folds import enter, town, write_cities, write_config

DELTA = "38SDD_Delta"
#: Seconds of training.
SHORT = "num_epochs=1 samples_per_epoch=8 batch_size=4 crop=32 log_model=false"


def write_split(root: Path) -> Path:
    """Two dates of a city of which nobody has polygons."""
    for number, date in enumerate(("20150101", "20150202")):
        power, _ = town((96, 96), 70 + number)
        for band, polarisation in ((0, "vh"), (1, "vv")):
            path = root / "test" / "Delta_2015" / f"s1a_38SDD_{polarisation}_ASC_{date}.tif"
            write_raster(path, power[band : band + 1], moved(9000, 0), nodata=np.nan)
    return root / "test"


@pytest.fixture(scope="module")
def teacher(tracked: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A training on three other cities, one of them held out."""
    root = tmp_path_factory.mktemp("teacher")
    with pytest.MonkeyPatch.context() as patch:
        enter(tracked, patch)
        config = write_config(root, write_cities(root), "teacher")
        script = ROOT / "code" / "scripts" / "training.py"
        run_script(script, config, 1, "num_epochs=6 log_model=false")
        return tracking.last_run_id()


def run(project: Path, teacher: str, root: Path, **options: Any) -> str:
    """Self-train on a split; the student's run."""
    lines = self_train(
        model=teacher, input_path=str(write_split(root)), output_path=root / "out",
        student=str(ROOT / "configs" / "selftrain" / "radar.py"), num_workers=1, tta="none",
        **{"overrides": SHORT, **options},
    )  # fmt: skip
    assert lines[0].startswith("student:  run ") and lines[0].endswith(f", of {DELTA}")
    return lines[0].split()[2].rstrip(",")


def test_a_student_learns_from_the_maps_of_its_teacher(
    project: Path, teacher: str, tmp_path: Path, in_process: list[str]
) -> None:
    student = run(project, teacher, tmp_path)
    folder = tracking.run_artifacts(student)
    told, record = Summary.read(folder), PseudoRecord.read(tmp_path / "out" / "pseudo")
    assert told.finished and told.transductive == (DELTA,)
    assert (record.teacher, record.source, record.mode) == (teacher, "city", "soft")
    before = tracking.run_artifacts(teacher)
    mapped = read_tags(tmp_path / "out" / "teacher" / "raw" / f"{DELTA}_prob.tif")
    assert told.threshold == record.threshold == mapped.threshold
    # a weak teacher, which tells nothing apart: no share of its map is followed
    assert told.threshold == Summary.read(before).threshold
    learnt = LearntGround.read(folder)
    assert learnt.transductive == (DELTA,)
    assert set(LearntGround.read(before).folds) == set(learnt.folds)
    ours, theirs = (load_state(f / "weights" / "best.pt") for f in (folder, before))
    assert ours.keys() == theirs.keys()  # its network, whatever the config is called
    assert not all(torch.equal(value, theirs[key]) for key, value in ours.items())

    # nothing is done again
    stamp = next((tmp_path / "out" / "teacher" / "raw").glob("*prob*.tif")).stat().st_mtime_ns
    assert run(project, teacher, tmp_path) == student
    assert len(in_process) == 1
    after = next((tmp_path / "out" / "teacher" / "raw").glob("*prob*.tif")).stat().st_mtime_ns
    assert after == stamp

    # and it needs the teacher's run no longer
    (before / "config").rename(before / "config_gone")
    try:
        again = load_trained(student).model.state_dict()
    finally:
        (before / "config_gone").rename(before / "config")
    assert all(torch.equal(value, again[key]) for key, value in ours.items())


def test_coarse_shares_are_a_lesson_of_their_own(
    project: Path, teacher: str, tmp_path: Path, in_process: list[str]
) -> None:
    layer = write_raster(
        tmp_path / "layer.tif", np.full((96, 96), 60, np.uint8), moved(9000, 0), nodata=255
    )
    student = run(project, teacher, tmp_path, shares_path=str(layer), shares_full=100.0)
    found = tracking.find_run(student).data
    assert "train/shares" in found.metrics and "train/loss" in found.metrics
    assert found.params["cfg/lessons"] == "shares"
    assert "shares_weight=1" in in_process[0]


def test_what_self_train_sets_itself_cannot_be_overridden(
    project: Path, teacher: str, tmp_path: Path
) -> None:
    for name in ("teacher", "data_path"):
        with pytest.raises(BuiltupError, match=f"overrides: {name} is set by self_train itself"):
            run(project, teacher, tmp_path, overrides=f"{name}=x")
    assert not (tmp_path / "out").exists()


def test_large_cells_count_less_by_their_area() -> None:
    assert [weight_of_cells(cell) for cell in (10, 32, 64, 320)] == pytest.approx(
        [1, 1, 0.25, 0.01]
    )
