"""The scripts that train the model that comes along, and draw its maps."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from builtup.config import load as configs
from builtup.config.overrides import split_overrides
from helpers import ROOT

sys.path.insert(0, str(ROOT / "benchmarks" / "studies"))

import shipped_model
import shipped_pictures

import builtup


def arguments(monkeypatch: pytest.MonkeyPatch, *given: str) -> Namespace:
    """What `main` hands to its parts."""
    seen: list[Namespace] = []
    monkeypatch.setattr(shipped_model, "prepared", lambda folder, parsed: seen.append(parsed))
    monkeypatch.setattr(shipped_model, "trained", stop)
    monkeypatch.setattr(sys, "argv", ["shipped_model.py", *given])
    monkeypatch.setattr(shipped_model, "use_project_database", lambda: None)
    with pytest.raises(KeyboardInterrupt):
        shipped_model.main()
    return seen[0]


def stop(*ignored: Any) -> str:
    raise KeyboardInterrupt


def test_its_towns_are_of_seeds_that_no_other_command_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    parsed = arguments(monkeypatch, "--seed", "2")
    called: dict[str, dict[str, Any]] = {}
    monkeypatch.undo()
    monkeypatch.setattr(shipped_model, "builtup", lambda step, **how: called.update({step: how}))
    shipped_model.prepared(tmp_path, parsed)
    assert called["simulate"]["seed"] == 1_700_002
    assert called["simulate"]["variety"] == "plain" and called["simulate"]["test_cities"] == 0
    assert called["prepare"]["input_path"] == called["simulate"]["output_path"]
    text = shipped_model.description(parsed)
    assert text.startswith("15 simulated Sentinel-1 towns (plain) of 7.7 km × 7.7 km, 2 dates each")
    assert "(town seed 1700002); one more chose weights and threshold" in text


def test_it_trains_on_the_prepared_tiles_as_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    parsed = arguments(monkeypatch, "--seed", "3", "--minutes", "7", "--overrides", "gain_db=2")
    monkeypatch.undo()
    called: list[tuple[str, str]] = []

    def train(config: str, overrides: str) -> Namespace:
        called.append((config, overrides))
        return Namespace(run_id="0")

    monkeypatch.setattr(builtup, "train", train, raising=False)
    assert shipped_model.trained(tmp_path / "my towns", parsed) == "0"
    ((config, overrides),) = called
    settings = dict(split_overrides(overrides))
    assert settings["data_path"] == str(tmp_path / "my towns" / "train_tiles")
    assert (settings["seed"], settings["max_minutes"], settings["gain_db"]) == ("3", "7.0", "2")
    loaded = configs.load(ROOT / config, overrides)
    assert (loaded.seed, loaded.max_minutes) == (3, 7.0)


def test_a_preview_becomes_the_picture_of_its_city(tmp_path: Path) -> None:
    preview = tmp_path / "30SXH_VegaBaja_preview.png"
    Image.new("RGB", (400, 200), (250, 10, 10)).save(preview)
    assert shipped_pictures.city(preview) == "vegabaja"
    written = shipped_pictures.shrunk(preview, tmp_path / "predict_vegabaja.png")
    with Image.open(written) as image:
        assert (image.size, image.mode) == ((300, 150), "P")
        assert image.convert("RGB").getpixel((150, 75)) == (250, 10, 10)
