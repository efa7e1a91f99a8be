import numpy as np
import pytest
import torch

from builtup.data.class_balance import Sought
from builtup.data.datasets import TrainTiles, ValidationTiles, collate
from builtup.data.samplers import Draw
from builtup.data.transforms import RandomCrop, RandomResizedCrop, dihedral
from builtup.geo.windows import Window
from builtup.tiles.folds import Folds
from builtup.tiles.stats import generate_tiles_stats
from builtup.tiles.table import read_tile_stats
from tile_data import add_scene, tile_all


def open_folder(folder, **options):
    generate_tiles_stats(input_path=folder, output_path=folder, num_workers=1, **options)
    return read_tile_stats(folder / "tile_stats.csv"), Folds.read(folder)


@pytest.fixture(scope="module", params=[True, False], ids=["files", "windows of scenes"])
def city(request, tmp_path_factory):
    """One city of two dates, in four blocks with a gap of 6."""
    root = tmp_path_factory.mktemp("city")
    scenes = {}
    for date in ("20150101", "20150203"):
        scenes["s1a_38SLF_{}_ASC_" + date] = add_scene(root, date=date)
    tiles, folds = open_folder(tile_all(root, materialize=request.param), gap=6)
    return scenes, tiles, folds


class Everything:
    """The whole tile, as a crop."""

    size = 32

    def window(self, height, width):
        return Window(0, 0, height, width)


def test_a_sample_is_the_scenes_power_and_what_training_may_learn(city):
    scenes, tiles, folds = city
    dataset = TrainTiles(tiles, folds, None, Everything())
    for index, tile in enumerate(tiles):
        sample = dataset[index]
        power, mask = scenes[tile.tile.scene]
        window = tile.tile.window.slices
        np.testing.assert_array_equal(sample["image"].numpy(), power[:2, *window])
        np.testing.assert_array_equal(sample["mask"].numpy(), mask[window])
        assert sample["image"].dtype == torch.float32 and sample["mask"].dtype == torch.uint8
        assert type(sample["image"]) is torch.Tensor and type(sample["mask"]) is torch.Tensor
        assert sample["index"] == index


@pytest.mark.parametrize("fold", range(4))
def test_training_never_sees_the_held_out_block_and_its_gap(city, fold):
    _, tiles, folds = city
    chosen = folds.training_tiles(tiles, fold)
    dataset = TrainTiles(chosen, folds, fold, Everything())
    assert len(chosen) > 0
    for index, tile in enumerate(chosen):
        held = folds.held_out(tile.tile, fold, with_gap=True)
        part = held.intersection(tile.tile.window)
        if part is not None:
            sample, place = dataset[index], part.relative_to(tile.tile.window)
            assert (sample["mask"][place.slices] == 255).all()
            assert torch.isnan(sample["image"][:, *place.slices]).all()
            beside = torch.ones_like(sample["mask"], dtype=torch.bool)
            beside[place.slices] = False
            assert not torch.isnan(sample["image"][:, beside]).all()


@pytest.mark.parametrize("fold", range(4))
def test_validation_scores_every_labelled_pixel_of_the_block_once(city, fold):
    scenes, tiles, folds = city
    chosen = folds.validation_tiles(tiles, fold)
    dataset = ValidationTiles(chosen, tiles, folds, fold)
    counts = {scene: np.zeros(mask.shape, int) for scene, (_, mask) in scenes.items()}
    for index, tile in enumerate(chosen):
        sample = dataset[index]
        scored = (sample["mask"] != 255).numpy()
        counts[tile.tile.scene][tile.tile.window.slices] += scored
        truth = scenes[tile.tile.scene][1][tile.tile.window.slices]
        np.testing.assert_array_equal(sample["mask"].numpy()[scored], truth[scored])
    for scene, (_, mask) in scenes.items():
        tile = next(t.tile for t in tiles if t.tile.scene == scene)
        expected = np.zeros(mask.shape, int)
        expected[folds.held_out(tile, fold).slices] = 1
        np.testing.assert_array_equal(counts[scene], expected * (mask != 255))


def test_evaluation_on_training_ground_counts_each_of_its_pixels_once(city):
    scenes, tiles, folds = city
    chosen = folds.training_tiles(tiles, 0)
    dataset = ValidationTiles(chosen, tiles, folds, 0, of_training=True)
    counts = {scene: np.zeros(mask.shape, int) for scene, (_, mask) in scenes.items()}
    for index, tile in enumerate(chosen):
        counts[tile.tile.scene][tile.tile.window.slices] += (dataset[index]["mask"] != 255).numpy()
    for scene, (_, mask) in scenes.items():
        tile = next(t.tile for t in tiles if t.tile.scene == scene)
        expected = (mask != 255).astype(int)
        expected[folds.held_out(tile, 0, with_gap=True).slices] = 0
        np.testing.assert_array_equal(counts[scene], expected)


@pytest.mark.parametrize("crop", [RandomCrop(24), RandomResizedCrop(28)])
def test_a_draw_gives_the_same_sample_whatever_was_drawn_before(city, crop):
    _, tiles, folds = city
    dataset = TrainTiles(tiles, folds, None, crop, dihedral())
    first = dataset[Draw(2, 77)]
    state = torch.get_rng_state()
    torch.rand(5)
    again, other = dataset[Draw(2, 77)], dataset[Draw(2, 78)]
    torch.testing.assert_close(again["image"], first["image"], equal_nan=True, rtol=0, atol=0)
    torch.testing.assert_close(again["mask"], first["mask"], rtol=0, atol=0)
    assert not torch.equal(other["image"].nan_to_num(), first["image"].nan_to_num())
    torch.set_rng_state(state)
    expected = torch.rand(1)
    torch.set_rng_state(state)
    _ = dataset[Draw(0, 1)]
    assert torch.equal(torch.rand(1), expected)  # the generator outside is left alone


def test_crops_of_a_class_that_is_sought_are_about_a_pixel_of_it(city):
    """A tile with a car was drawn, and a crop of a sixteenth of it, in which it seldom was."""
    _, tiles, folds = city
    shares = tuple(float(tile.target_ratio > 0) for tile in tiles)
    assert 0 < sum(shares) < len(tiles)
    dataset = TrainTiles(tiles, folds, None, RandomCrop(9), sought=Sought(1, shares))
    centred = 0
    for index, tile in enumerate(tiles):
        for seed in range(12):
            mask = dataset[Draw(index, seed)]["mask"]
            assert mask.shape == (9, 9)
            assert not shares[index] or (mask == 1).any()
            centred += int(shares[index] and mask[4, 4] == 1)
        again = [dataset[Draw(index, 3)]["image"] for _ in range(2)]
        assert torch.equal(again[0].nan_to_num(), again[1].nan_to_num()), tile
    assert centred > 6 * sum(shares)


def test_crops_larger_than_the_tile_are_filled_with_no_data(city):
    scenes, tiles, folds = city
    dataset = TrainTiles(tiles, folds, None, RandomCrop(50))
    sample = dataset[Draw(1, 5)]
    assert sample["image"].shape == (2, 50, 50)
    power, mask = scenes[tiles[1].tile.scene]
    window = tiles[1].tile.window.slices
    valid = ~np.isnan(power[0][window])
    got = ~torch.isnan(sample["image"][0])
    assert got.sum() == valid.sum()
    assert (sample["mask"] == 1).sum() == (mask[window] == 1).sum()
    assert (sample["mask"][~got] == 255).all()


def test_no_data_of_an_augmented_sample_is_never_learned(city):
    _, tiles, folds = city
    dataset = TrainTiles(tiles, folds, None, RandomResizedCrop(30), dihedral())
    with_gaps = 0
    for seed in range(30):
        sample = dataset[Draw(0, seed)]
        gaps = torch.isnan(sample["image"]).any(0)
        with_gaps += bool(gaps.any())
        assert (sample["mask"][gaps] == 255).all()
        assert sample["image"].shape == (2, 30, 30)
    assert with_gaps > 5


def test_a_batch_fills_the_smaller_samples_up():
    small = {"image": torch.ones(3, 4, 5), "mask": torch.zeros(4, 5, dtype=torch.int64), "index": 3}
    large = {"image": torch.ones(3, 6, 5), "mask": torch.ones(6, 5, dtype=torch.int64), "index": 8}
    batch = collate([small, large])
    assert batch["image"].shape == (2, 3, 6, 5) and batch["mask"].shape == (2, 6, 5)
    assert torch.isnan(batch["image"][0, :, 4:]).all() and (batch["mask"][0, 4:] == 255).all()
    assert batch["index"].tolist() == [3, 8] and batch["index"].dtype == torch.int64
