"""The check before the first step, for loaders of ours and for a config's own."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from builtup.config import load as configs
from builtup.data.contract import SampleLoader, as_tile_loader
from builtup.data.loaders import train_loader, val_loader
from builtup.data.separation import require_separate
from builtup.errors import LeakageError
from builtup.tiles.stats import generate_tiles_stats
from builtup.tiles.table import read_tile_stats
from builtup.training.build import build_data
from tile_data import add_scene, moved, tile_all
from tiny_training import write_tiny

LOADERS = """
from builtup.data import loaders
from torch import nn

seed, num_classes, num_epochs, data_path, val_fold, held = 0, 2, 1, "{data}", "Alpha", "Alpha"


def model():
    return nn.Identity()


def train_loader():
    fold = None if held == "none" else held
    return loaders.train_loader(data_path, val_fold=fold, batch_size=2, crop=24)


def val_loader():
    return loaders.val_loader(data_path, val_fold=val_fold, batch_size=2)
"""


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Alpha and Gamma 40 pixels apart, Beta far away."""
    root = tmp_path_factory.mktemp("cities")
    for city, tile, x in (("Alpha", "38SLF", 0), ("Beta", "38SLG", 3000), ("Gamma", "38SMF", 130)):
        add_scene(root, f"{city}_2015", tile, transform=moved(x, 0))
    folder = tile_all(root)
    generate_tiles_stats(input_path=folder, output_path=folder, num_workers=1)
    return folder


def load(folder: Path, tiles: Path, overrides: str = "") -> Any:
    path = folder / "config.py"
    path.write_text(LOADERS.format(data=tiles))
    return configs.load(path, overrides)


@pytest.mark.parametrize("held", ["Beta", "none"])
def test_loaders_that_hold_out_different_folds_are_refused(
    tiles: Path, tmp_path: Path, held: str
) -> None:
    name = "38SLG_Beta" if held == "Beta" else "nothing"
    message = f"train_loader holds out {name}, val_loader validates on 38SLF_Alpha"
    with pytest.raises(LeakageError, match=message):
        build_data(load(tmp_path, tiles, f"held={held}"))


def test_a_training_that_will_be_scored_later_must_hold_that_fold_out(
    tiles: Path, tmp_path: Path
) -> None:
    with pytest.raises(LeakageError, match="does not hold out 38SLF_Alpha, which will be scored"):
        build_data(load(tmp_path, tiles, "validate=false held=Beta"))
    data = build_data(load(tmp_path, tiles, "validate=false"))
    assert data.val is None and data.train.held_out == "38SLF_Alpha"


def own_loader(tiles: Path, *cities: str) -> SampleLoader:
    """What a config's own loader may look like: no folds, but a list of tiles."""
    rows = [t for t in read_tile_stats(tiles / "tile_stats.csv") if t.tile.city.endswith(cities)]
    return as_tile_loader(SimpleNamespace(dataset=SimpleNamespace(tiles=rows)))


@pytest.mark.parametrize(
    ("trained", "message"),
    [
        (("Alpha",), "tiles are trained and validated on"),
        (("Beta", "Gamma"), None),
    ],
)
def test_the_ground_of_a_config_s_own_loaders_is_compared(
    tiles: Path, tmp_path: Path, trained: tuple[str, ...], message: str | None
) -> None:
    config = load(tmp_path, tiles)
    train, val = own_loader(tiles, *trained), own_loader(tiles, "Alpha")
    if message is None:
        require_separate(config, train, val)
        return
    with pytest.raises(LeakageError, match=message):
        require_separate(config, train, val)


def test_own_loaders_must_keep_the_gap(tiles: Path, tmp_path: Path) -> None:
    """Without folds.json the distance is 32 pixels; Gamma lies 40 from Alpha, 10 from a copy."""
    root = tmp_path / "near"
    add_scene(root, "Delta_2015", "38SNF", transform=moved(100, 0))
    add_scene(root, "Omega_2015", "38SPF", transform=moved(5000, 0))
    near = tile_all(root)
    generate_tiles_stats(input_path=near, output_path=near, num_workers=1)
    config = load(tmp_path, tiles)
    with pytest.raises(LeakageError, match=r"comes within 32 pixels of validation tile"):
        require_separate(config, own_loader(near, "Delta"), own_loader(tiles, "Alpha"))
    require_separate(config, own_loader(near, "Omega"), own_loader(tiles, "Alpha"))
    with pytest.raises(LeakageError, match=r"comes within 32 pixels"):
        require_separate(load(tmp_path, tiles, "validate=false"), own_loader(near, "Delta"), None)


def test_what_cannot_be_checked_is_said(
    tiles: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = load(tmp_path, tiles)
    with caplog.at_level(logging.WARNING):
        require_separate(config, as_tile_loader(object()), as_tile_loader(object()))
        data = build_data(configs.load(write_tiny(tmp_path)))
    assert data.val is not None
    assert "cannot be checked" in caplog.text and "only their names were compared" in caplog.text
    with pytest.raises(LeakageError, match="does not say what it learns from"):
        require_separate(load(tmp_path, tiles, "validate=false"), as_tile_loader(object()), None)


def test_loaders_of_one_fold_pass(tiles: Path, tmp_path: Path) -> None:
    train = train_loader(tiles, val_fold="Beta", batch_size=2, crop=24)
    require_separate(load(tmp_path, tiles), train, val_loader(tiles, val_fold="Beta", batch_size=2))
