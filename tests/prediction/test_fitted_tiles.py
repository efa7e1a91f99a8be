"""Networks for tiles: one adapted to each scene, looked at once, found again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from builtup.data.pixels import PixelSizes
from builtup.prediction.adapt import Adapted
from builtup.prediction.fitted_tiles import FittedTiles
from builtup.prediction.network import predict_array
from builtup.prediction.recipe import Loaded, Recipe, load
from builtup.sensors.radar.merge import generate_3b_images
from builtup.tiles.cut import generate_tiles
from builtup.tiles.tile import Tile, read_tiles
from helpers import speckle, write_scene
from tiny_model import SMALL_UNET, write_trained


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> list[Tile]:
    root = tmp_path_factory.mktemp("tiles")
    for number, date in enumerate(("20150101", "20150113"), start=1):
        vv, vh = speckle((200, 200), 0.1, int(date)), speckle((200, 200), 0.02, int(date) + 1)
        vv[50:120, 60:160] *= 8 * number
        write_scene(root / "test", date=date, vv=vv, vh=vh)
    generate_3b_images(input_path=root / "test", output_path=root / "images", num_workers=1)
    generate_tiles(
        input_path=root / "images",
        output_path=root / "tiles",
        tile_size=128,
        overlap=32,
        materialize=False,
        num_workers=1,
    )
    return list(read_tiles(root / "tiles" / "tiles.csv"))


def loaded(root: Path, adapt: str) -> Loaded:
    trained = root / "trained"
    if not trained.exists():
        write_trained(trained, SMALL_UNET)
    return load(Recipe(str(trained), window=64, overlap=16, device="cpu", adapt=adapt))


def test_each_scene_has_a_network_of_its_own(tiles: list[Tile], tmp_path: Path) -> None:
    fitted = FittedTiles(loaded(tmp_path, "scene"), tiles, tmp_path / "out")
    power = np.full((2, 64, 64), 0.1, np.float32)
    maps = {}
    for tile in tiles:
        network = fitted.of(tile)
        assert network.adapted.startswith("scene, weight 0.8, ")
        assert network.threshold == 0.5  # its own, 0.4, is of other statistics
        maps.setdefault(tile.scene, predict_array(power, network.stream))
    first, second = maps.values()
    assert not np.array_equal(first, second)
    made = sorted((tmp_path / "out" / "adapted").glob("*.safetensors"))
    assert len(made) == 2
    assert Adapted.read(made[0]).pixels == 4 * 128 * 128  # each tile of the scene was looked at


def test_the_dates_of_a_city_share_one(tiles: list[Tile], tmp_path: Path) -> None:
    fitted = FittedTiles(loaded(tmp_path, "city"), tiles, tmp_path / "out")
    streams = {id(fitted.of(tile).stream) for tile in tiles}
    assert len(streams) == 1
    (made,) = (tmp_path / "out" / "adapted").glob("*.safetensors")
    assert len(Adapted.read(made).scenes) == 2


def test_what_was_looked_at_is_found_again(
    tiles: list[Tile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = loaded(tmp_path, "scene")
    first = FittedTiles(network, tiles, tmp_path / "out").of(tiles[0])

    def never(*_: object, **__: object) -> Adapted:
        raise AssertionError("looked at twice")

    monkeypatch.setattr("builtup.prediction.fitted_tiles.measure", never)
    assert FittedTiles(network, tiles, tmp_path / "out").of(tiles[0]).adapted == first.adapted


def test_without_adaptation_the_network_is_as_it_is(tiles: list[Tile], tmp_path: Path) -> None:
    network = loaded(tmp_path, "none")
    of = FittedTiles(network, tiles, tmp_path / "out").of(tiles[0])
    assert (of.stream, of.threshold, of.adapted) == (network.stream, 0.4, "")
    assert not (tmp_path / "out").exists()


def test_scenes_are_looked_at_in_the_pixels_of_training(tiles: list[Tile], tmp_path: Path) -> None:
    seen = PixelSizes(tiles, 20.0)  # of 10 m
    FittedTiles(loaded(tmp_path, "scene"), tiles, tmp_path / "out", pixels=seen).of(tiles[0])
    (made,) = (tmp_path / "out" / "adapted").glob("*.safetensors")
    assert Adapted.read(made).pixels == 4 * 64 * 64
