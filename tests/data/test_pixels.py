"""The size of pixels on the ground, and samples of tiles that are seen at a reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from affine import Affine

from builtup.data.datasets import TrainTiles, ValidationTiles
from builtup.data.pixels import MOST_ENLARGED, PixelSizes
from builtup.data.samples import Layers
from builtup.data.transforms import RandomCrop, RandomPixelSize
from builtup.errors import ConfigError
from builtup.tiles.folds import Folds
from builtup.tiles.stats import generate_tiles_stats
from builtup.tiles.table import TrainTile, read_tile_stats
from tile_data import add_scene, tile_all

#: Metres of the pixels of two cities.
FINE, COARSE = 10.0, 40.0


@pytest.fixture(scope="module")
def cities(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[TrainTile], Folds]:
    """Two cities of two pixel sizes: a square of ground is bright and built-up in both."""
    root = tmp_path_factory.mktemp("cities")
    for name, tile, metres in (("Fine", "38SLF", FINE), ("Coarse", "38SLG", COARSE)):
        side = round(2560 / metres)
        mask = np.zeros((side, side), np.uint8)
        mask[side // 4 : side // 2, side // 4 : side // 2] = 1
        image = np.repeat(np.where(mask == 1, np.float32(0.4), np.float32(0.1))[None], 3, 0)
        transform = Affine(metres, 0, 300_000 + 100_000 * (tile[-1] == "G"), 0, -metres, 4_000_000)
        add_scene(root, f"{name}_2015", tile, transform=transform, image=image, mask=mask)
    folder = tile_all(root, size=256, overlap=0)
    generate_tiles_stats(input_path=folder, output_path=folder, num_workers=1)
    return read_tile_stats(folder / "tile_stats.csv"), Folds.read(folder)


def named(tiles: list[TrainTile], city: str) -> int:
    return next(i for i, t in enumerate(tiles) if t.tile.city.endswith(city))


def test_factors_are_those_of_the_ground(
    cities: tuple[list[TrainTile], Folds], caplog: pytest.LogCaptureFixture
) -> None:
    tiles, _ = cities
    fine, coarse = (tiles[named(tiles, name)] for name in ("Fine", "Coarse"))
    with caplog.at_level("INFO", "builtup"):
        pixels = PixelSizes(tiles, 20.0)
    assert pixels.factor(fine) == pytest.approx(2, rel=2e-3)
    assert pixels.factor(coarse) == pytest.approx(0.5, rel=2e-3)
    assert pixels.metres(coarse, 0.5) == pytest.approx(20, rel=2e-3)
    assert "10 to 40 m in 2 scenes are seen in pixels of about 20 m" in caplog.text
    near = PixelSizes(tiles, 14.0)
    assert near.near(fine) and not near.near(coarse)
    assert pixels.shape(fine) == (128, 128) and pixels.shape(coarse.tile) == (128, 128)
    assert near.shape(fine) == (256, 256)
    own = PixelSizes(tiles)
    assert own.factor(fine) == 1 and own.metres(fine) == pytest.approx(10, rel=2e-3)


def test_what_is_far_too_coarse_is_enlarged_four_times_and_named(
    cities: tuple[list[TrainTile], Folds], caplog: pytest.LogCaptureFixture
) -> None:
    tiles, _ = cities
    pixels = PixelSizes(tiles, 1.0)
    assert pixels.factor(tiles[named(tiles, "Coarse")]) == 1 / MOST_ENLARGED
    assert "2 scenes have pixels of more than 4 times 1 m" in caplog.text


def test_unknown_sizes_are_taken_to_be_of_the_reference(
    cities: tuple[list[TrainTile], Folds],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("builtup.data.pixels.pixel_metres", lambda _: None)
    tiles, _ = cities
    pixels = PixelSizes(tiles, 0.1)
    assert pixels.factor(tiles[0]) == 1 and pixels.metres(tiles[0]) is None
    assert "pixels of 2 scenes is not known: taken to be 0.1 m" in caplog.text


@pytest.mark.parametrize("reference", [0.0, -1.0, math.nan, math.inf])
def test_a_reference_that_is_no_length_is_refused(reference: float) -> None:
    with pytest.raises(ConfigError, match="reference_pixel"):
        PixelSizes((), reference)


def test_training_sees_both_cities_at_the_reference(
    cities: tuple[list[TrainTile], Folds],
) -> None:
    """A square of 640 m is one of 32 pixels of 20 m, whatever the pixels of its scene."""
    tiles, folds = cities
    layers = Layers(targets=("presence", "log_pixel"))
    pixels = PixelSizes(tiles, 20.0)
    dataset = TrainTiles(tiles, folds, None, RandomCrop(128), layers=layers, pixels=pixels)
    for index in range(len(tiles)):
        sample = dataset[index]
        assert sample["image"].shape == (2, 128, 128)
        assert int((sample["mask"] == 1).sum()) == 32 * 32
        assert sample["presence"].tolist() == 1
        assert sample["log_pixel"].item() == pytest.approx(math.log(20), abs=0.01)
        bright = sample["image"][0] > 0.25
        assert ((sample["mask"] == 1) != bright).sum() <= 4 * 32


def test_a_zoom_is_one_about_the_reference(cities: tuple[list[TrainTile], Folds]) -> None:
    tiles, folds = cities
    layers, crop = Layers(targets=("log_pixel",)), RandomPixelSize(32, (0.5, 2.0))
    dataset = TrainTiles(tiles, folds, None, crop, layers=layers, pixels=PixelSizes(tiles, 20.0))
    torch.manual_seed(0)
    for city in ("Fine", "Coarse"):
        logs = [dataset[named(tiles, city)]["log_pixel"].item() for _ in range(40)]
        octaves = (torch.tensor(logs) - math.log(20)) / math.log(2)
        assert octaves.min() < -0.5 and octaves.max() > 0.5 and octaves.abs().max() < 1.1
        assert (octaves.abs() < 0.05).sum() >= 10  # half of the samples stay at the reference


def test_validation_resizes_what_is_far_from_the_reference(
    cities: tuple[list[TrainTile], Folds],
) -> None:
    tiles, folds = cities
    index = named(tiles, "Coarse")
    options = {"of_training": True, "layers": Layers(targets=("log_pixel",))}
    sides = {}
    for reference in (None, 30.0, 20.0):
        pixels = PixelSizes(tiles, reference)
        dataset = ValidationTiles(tiles, tiles, folds, None, pixels=pixels, **options)
        sample = dataset[index]
        sides[reference] = sample["mask"].shape[0], round(math.exp(sample["log_pixel"].item()))
    assert sides == {None: (64, 40), 30.0: (64, 40), 20.0: (128, 20)}
