"""What a training says of itself before its first step: settings, folds, data, config."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from builtup.config.load import load
from builtup.runs.manifest import DataManifest, LoggedConfig
from builtup.runs.recorder import Recorder, UsedData
from builtup.training.before_training import log_run, summary_of
from builtup.training.build import build_data, build_learner
from tiny_folds import write_cities, write_config

ALPHA, BETA, GAMMA = "38SAA_Alpha", "38SBB_Beta", "38SCC_Gamma"


class Notes(Recorder):
    """A recorder that keeps what it is told."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.said: dict[str, Any] = {}
        self.used: list[UsedData] = []

    def params(self, values: Mapping[str, Any], prefix: str = "cfg/") -> None:
        self.said |= values

    def tags(self, values: Mapping[str, str]) -> None:
        self.said |= values

    def inputs(self, datasets: Iterable[UsedData]) -> None:
        self.used += datasets


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cities(tmp_path_factory.mktemp("cities"))


def test_a_run_logs_what_it_learns_from_and_what_it_holds_out(tiles: Path, tmp_path: Path) -> None:
    config = load(write_config(tmp_path, tiles), f"val_fold={BETA} lr=0.5")
    data = build_data(config)
    notes = Notes(tmp_path / "run")
    log_run(config, data, build_learner(config, data), notes)
    assert notes.said["lr"] == 0.5 and f"val_fold={BETA}" in notes.said["overrides"]
    assert (notes.said["fold"], notes.said["city"]) == (BETA, BETA)
    assert notes.said["threshold_tuned_on"] == BETA
    assert notes.said["folds"] == f"{ALPHA}, {BETA}, {GAMMA}"
    assert [(of.context, of.name) for of in notes.used] == [
        ("training", f"{ALPHA}, {GAMMA}"),
        ("validation", BETA),
    ]
    manifest = DataManifest.read(notes.folder)
    assert manifest.folder == str(tiles) and len(manifest.images_and_masks) == 6
    assert LoggedConfig.read(notes.folder).files == ("tiny.py",)


def test_a_summary_begins_with_the_facts_of_the_run(tiles: Path, tmp_path: Path) -> None:
    config = load(write_config(tmp_path, tiles), f"val_fold={BETA} seed=7")
    summary = summary_of(config, build_data(config))
    assert (summary.config, summary.seed, summary.num_classes) == ("tiny.py", 7, 2)
    assert summary.class_names == ("background", "building")
    assert (summary.val_fold, summary.val_cities) == (BETA, (BETA,))
    assert summary.trained_on == (ALPHA, GAMMA)
    assert summary.inherited_threshold is None and summary.threshold is None


def test_a_training_on_everything_holds_nothing_out(tiles: Path, tmp_path: Path) -> None:
    config = load(write_config(tmp_path, tiles), "val_fold=none validate=false")
    data = build_data(config)
    summary = summary_of(config, data)
    assert (summary.val_fold, summary.val_cities) == (None, ())
    assert summary.trained_on == (ALPHA, BETA, GAMMA)
    notes = Notes(tmp_path / "run")
    log_run(config, data, build_learner(config, data), notes)
    assert (notes.said["fold"], notes.said["city"]) == ("", "")
    assert notes.said["threshold_tuned_on"] == "nothing"
