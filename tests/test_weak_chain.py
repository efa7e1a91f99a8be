"""Weak labels from end to end: each lesson is taught, a killed training goes on, maps teach."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from aerial_data import add_site, tile_layers
from builtup.config.launch import run_script
from builtup.maps.pseudo_labels import pseudo_labels
from builtup.prediction.predict import PredictOptions, predict
from builtup.prediction.recipe import Recipe
from builtup.runs import tracking
from builtup.tiles.stats import generate_tiles_stats
from builtup.tiles.weaken import weaken
from builtup.training.checkpoints import load_state
from helpers import ROOT

SITES = ("alpha", "beta", "gamma", "delta", "epsilon")
TINY = (
    "num_classes=3 crop=48 batch_size=4 num_workers=0 log_predictions=0 log_interval=1 "
    "log_model=false device=cpu"
)
UNET = "architecture=small_unet encoder=plain widths=8,16 samples_per_epoch=12 lr=0.002"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five sites: the pixels of one, tags of cells of three, one to validate on."""
    root = tmp_path_factory.mktemp("weak")
    for number, site in enumerate(SITES):
        add_site(root, site, seed=number, height=False)
    tile_layers(root, size=48, materialize=False)
    weaken(
        input_path=root / "tiles", output_path=root / "weak", cell=32, context=8,
        shares="20;60;20", num_workers=1,
    )  # fmt: skip
    return root


def train(data: Path, config: str, more: str = "") -> str:
    """A short training; its run."""
    settings = f"data_path={data / 'weak'} {TINY} {more}"
    run_script(ROOT / "code/scripts/training.py", ROOT / "configs" / config, 1, settings)
    return tracking.last_run_id()


def curve(run: str, name: str) -> dict[int, float]:
    points = tracking.client().get_metric_history(run, name)
    return {point.step: point.value for point in points}


def test_a_ladder_is_climbed_on_maps_of_its_own(project: Path, data: Path, tmp_path: Path) -> None:
    """M1, its maps of the tagged scenes, M3 by them and the tags, and M3's last step."""
    short = f"{UNET} num_epochs=1"
    first = train(data, "train/weak/m1.py", short)
    assert all(value > 0 for value in curve(first, "train/tags").values())
    maps, labels = tmp_path / "maps", tmp_path / "labels"
    options = PredictOptions(
        str(data / "images"), output_path=str(maps), probabilities=True, num_workers=1
    )
    predict(Recipe(model=first, window=64, overlap=8, adapt="none"), options)
    pseudo_labels(
        input_path=str(maps), tiles_path=data / "weak", output_path=labels, mode="tags", keep=0.4,
        num_workers=1,
    )  # fmt: skip
    generate_tiles_stats(input_path=labels, output_path=labels, num_workers=1)
    third = train(data, "train/weak/m3.py", f"{short} pseudo_path={labels}")
    assert len(curve(third, "train/pseudo")) == len(curve(third, "train/tags")) == 3
    last = train(
        data,
        "selftrain/weak_fine.py",
        f"num_epochs=1 samples_per_epoch=12 lr=1e-12 teacher={third}",
    )
    states = [load_state(tracking.run_artifacts(r) / "weights" / "last.pt") for r in (third, last)]
    weights = [{k: v for k, v in s.items() if v.ndim == 4} for s in states]
    assert weights[0] and weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():  # at a rate of 0 it stays the network of M3
        torch.testing.assert_close(weights[1][name], value)


@pytest.mark.parametrize(
    ("config", "own"),
    [("m4_ema", UNET), ("task_ii_tags", "width=4 self_since=1 lr=0.002")],
)
def test_a_killed_training_goes_on_to_the_very_weights(
    project: Path, data: Path, config: str, own: str
) -> None:
    settings = f"{own} num_epochs=4"
    whole = train(data, f"train/weak/{config}.py", settings)
    killed = train_and_kill(data, f"train/weak/{config}.py", settings, before=whole)
    run = train(data, f"train/weak/{config}.py", f"{settings} resume_from={killed}")
    assert 0 < len(curve(run, "lr")) < len(curve(whole, "lr"))
    ours, theirs = (
        load_state(tracking.run_artifacts(r) / "weights" / "last.pt") for r in (run, whole)
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def train_and_kill(data: Path, config: str, settings: str, before: str) -> str:
    """A training that is killed once it has a checkpoint: its run."""
    command = [sys.executable, "-m", "builtup", "train", "--config_path", str(ROOT / "configs")]
    command[-1] += f"/{config}"
    command += ["--overrides", f"data_path={data / 'weak'} {TINY} {settings}"]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT / "code")})
    deadline, run = time.monotonic() + 120, before
    while process.poll() is None and time.monotonic() < deadline:
        run = newest()
        if run != before and (tracking.run_artifacts(run) / "checkpoints" / "last.pt").is_file():
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.01)
    if process.poll() is None and time.monotonic() >= deadline:
        process.kill()
        pytest.fail("no checkpoint within two minutes")
    assert process.wait() == -signal.SIGKILL
    return run


def newest() -> str:
    own = tracking.client()
    experiment = own.get_experiment_by_name("Trainings")
    order = {"order_by": ["attributes.start_time DESC"], "max_results": 1}
    return str(own.search_runs([experiment.experiment_id], **order)[0].info.run_id)
