"""Rare classes: sampling and weights."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from builtup.data import class_balance
from builtup.data.class_balance import median_frequency_weights, tile_weights
from builtup.errors import ConfigError
from builtup.sensors.classes import Classes
from builtup.tiles.table import TrainTile
from builtup.tiles.tile import Tile


def tile(number: int, shares: tuple[float, ...], valid: float = 1.0) -> TrainTile:
    image = Tile(f"s_{number}", "A", "s_{}", "", 0, 0, 10, 10, Path("x.tif"))
    return TrainTile(image, image, 0, valid, shares[1] if len(shares) > 1 else 0.0, False, shares)


TILES = [tile(0, (0.6, 0.4, 0.0)), tile(1, (0.9, 0.0, 0.1)), tile(2, (0.7, 0.0, 0.3))]


def test_a_share_of_the_samples_follows_the_rarest_class() -> None:
    rare = [*TILES, tile(3, (0.5, 0.5, 0.0))]
    weights, sought = tile_weights(rare, None, 0.3)
    # the third class is the rarest: 10 + 30 pixels
    assert weights == pytest.approx([0.175, 0.175 + 0.3 / 4, 0.175 + 0.9 / 4, 0.175])
    # of the draws of a tile those by the rare class are centred on it: all in all .3
    assert sought is not None and sought.number == 2
    assert sought.shares == pytest.approx([0, 0.3 / 4 / 0.25, 0.9 / 4 / 0.4, 0])
    total = sum(w * s for w, s in zip(weights or (), sought.shares, strict=True))
    assert total / sum(weights or ()) == pytest.approx(0.3)
    assert tile_weights(rare, None) == (None, None)
    assert tile_weights(rare, (1.0, 2.0, 3.0)) == ([2.0, 3.0, 3.0, 2.0], None)
    mixed, _ = tile_weights(rare, (1.0, 2.0, 3.0), 0.5)
    assert mixed == pytest.approx([0.1, 0.15 + 0.125, 0.15 + 0.375, 0.1])
    classes = Classes(
        ("ground", "house", "clutter"),
        ((0, 0, 0), (1, 1, 1), (2, 2, 2)),
        mapped="house",
        unscored=("clutter",),
    )
    of_houses, _ = tile_weights(rare, None, 0.3, classes)  # what is not scored is not sought
    assert of_houses == pytest.approx([0.175 + 1.2 / 9, 0.175, 0.175, 0.175 + 1.5 / 9])
    with pytest.raises(ConfigError, match=r"rarest = 0.3: no tile has a pixel of a class"):
        tile_weights([tile(0, (0.0, 0.0, 1.0))], None, 0.3, classes)
    with pytest.raises(ConfigError, match="rarest = 2: expected a share from 0 to 1"):
        tile_weights(rare, None, 2)


def test_median_frequencies_are_those_computed_by_hand(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tiles = [*TILES, tile(3, (0.5, 0.5, 0.0), valid=0.5)]
    tiles = [*tiles, tile(4, (1.0, 0.0, 0.0, 0.0))]
    monkeypatch.setattr(class_balance, "read_tile_stats", lambda path: tiles)
    monkeypatch.setattr(class_balance.Folds, "read", classmethod(lambda cls, folder: None))
    monkeypatch.setattr(class_balance, "training_tiles", lambda folds, tiles, *_, **__: tiles)
    monkeypatch.setattr(class_balance, "read_classes", lambda folder: None)
    # pixels by class: 345, 65, 40, 0; among the tiles with it: 450, 150, 200
    frequencies = [345 / 450, 65 / 150, 40 / 200]
    with caplog.at_level(logging.INFO):
        found = median_frequency_weights("folder", None)
    assert found == pytest.approx([*(frequencies[1] / f for f in frequencies), 1.0])
    assert "no labelled pixel of 3: weight 1" in caplog.text
    cut = median_frequency_weights("folder", None, (0.8, 1.5))
    assert cut == pytest.approx([0.8, 1.0, 1.5, 1.0])
    with pytest.raises(ConfigError, match="expected \\(least, most\\) above 0"):
        median_frequency_weights("folder", None, (2.0, 1.0))
