from dataclasses import replace

import ignite.distributed as idist
import numpy as np
import pytest
import torch
from affine import Affine

from builtup.data.loaders import train_eval_loader, train_loader, val_loader
from builtup.errors import ConfigError, InputError, LeakageError
from builtup.tiles.cut import write_list
from builtup.tiles.stats import generate_tiles_stats
from builtup.tiles.tile import by_scene, read_tiles, scene_grid
from helpers import write_raster
from tile_data import add_scene, tile_all


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three cities; the second and third lie 100 and 200 km east of the first."""
    root = tmp_path_factory.mktemp("cities")
    for i, city in enumerate(("Alpha", "Beta", "Gamma")):
        transform = Affine(10, 0, 300_000 + 100_000 * i, 0, -10, 4_000_000)
        add_scene(root, f"{city}_2015", f"38SL{'FGH'[i]}", transform=transform)
    tiles = tile_all(root)
    generate_tiles_stats(input_path=tiles, output_path=tiles, num_workers=1)
    return tiles


def tile_ids(loader):
    return [loader.dataset.tiles[int(i)].tile.tile_id for batch in loader for i in batch["index"]]


def equal(a, b):
    return len(a) == len(b) and all(
        torch.equal(x[key].nan_to_num(), y[key].nan_to_num())
        for x, y in zip(a, b, strict=True)
        for key in ("image", "mask", "index")
    )


def test_batches_have_the_shapes_and_types_of_the_contract(folder):
    loader = train_loader(folder, val_fold="38SLG_Beta", batch_size=4, crop=24)
    batches = list(loader)
    assert len(batches) == len(loader) == -(-len(loader.dataset) // 4)
    for batch in batches:
        assert batch["image"].shape == (4, 2, 24, 24) and batch["image"].dtype == torch.float32
        assert batch["mask"].shape == (4, 24, 24) and batch["mask"].dtype == torch.uint8
        assert batch["index"].shape == (4,) and batch["index"].dtype == torch.int64
        assert set(batch["mask"].unique().tolist()) <= {0, 1, 255}


def test_training_and_validation_are_on_different_cities(folder):
    train = train_loader(folder, val_fold="Beta", batch_size=4, crop=24)
    val = val_loader(folder, val_fold="Beta", batch_size=4)
    assert {t.tile.city for t in train.dataset.tiles} == {"38SLF_Alpha", "38SLH_Gamma"}
    assert {t.tile.city for t in val.dataset.tiles} == {"38SLG_Beta"}
    ids = tile_ids(val)
    assert len(ids) == len(set(ids)) == len(val.dataset)
    assert len(train.tiles) == len(val.tiles) == 3 * len(val.dataset)
    train.check_folds()


def test_no_fold_held_out_trains_on_every_city(folder):
    loader = train_loader(folder, val_fold=None, batch_size=4, crop=24)
    assert len({t.tile.city for t in loader.dataset.tiles}) == 3
    loader.check_folds()


@pytest.mark.parametrize("make", [train_loader, train_eval_loader, val_loader])
def test_an_unknown_city_is_one_line_that_lists_the_known_ones(folder, make):
    options = {"crop": 24} if make is train_loader else {}
    with pytest.raises(InputError, match=r"Delta.*38SLF_Alpha.*38SLG_Beta.*38SLH_Gamma"):
        make(folder, val_fold="Delta", batch_size=2, **options)


def test_a_folder_without_statistics_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"tile_stats.csv.*generate_tiles_stats"):
        val_loader(tmp_path, val_fold=0, batch_size=2)


def test_workers_change_nothing_and_epochs_differ(folder):
    def epochs(num_workers):
        loader = train_loader(
            folder, val_fold=0, batch_size=4, crop=24, num_workers=num_workers, seed=5
        )
        out = []
        for epoch in (1, 2):
            loader.set_epoch(epoch)
            out.append(list(loader))
        return out

    alone, with_workers = epochs(0), epochs(2)
    assert equal(alone[0], with_workers[0]) and equal(alone[1], with_workers[1])
    assert not equal(alone[0], alone[1])


def test_resuming_at_an_epoch_gives_its_stream(folder):
    def loader():
        return train_loader(folder, val_fold=0, batch_size=4, crop=24, seed=5)

    through = loader()
    through.set_epoch(1)
    list(through)
    through.set_epoch(2)
    resumed = loader()
    resumed.set_epoch(2)
    assert equal(list(through), list(resumed))


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_what_one_process_sees(folder, monkeypatch, world):
    def make(rank, size):
        monkeypatch.setattr(idist, "get_rank", lambda: rank)
        monkeypatch.setattr(idist, "get_world_size", lambda: size)
        train = train_loader(folder, val_fold=0, batch_size=6, crop=24, seed=1)
        val = val_loader(folder, val_fold=0, batch_size=2)
        return list(train), list(val)

    train, val = make(0, 1)
    shares = [make(rank, world) for rank in range(world)]
    for step, batch in enumerate(train):
        image = torch.stack([s[0][step]["image"] for s in shares], 1).flatten(0, 1)
        assert torch.equal(image.nan_to_num(), batch["image"].nan_to_num())
    dealt = sorted((b for s in shares for b in s[1]), key=lambda b: b["index"][0].item())
    assert equal(dealt, val)


def test_a_batch_that_processes_cannot_share_is_refused(folder, monkeypatch):
    monkeypatch.setattr(idist, "get_world_size", lambda: 2)
    with pytest.raises(ConfigError, match="multiple of the 2 processes"):
        train_loader(folder, val_fold=0, batch_size=3, crop=24)


def test_sampler_weights_tell_tiles_with_buildings_from_tiles_without(folder):
    loader = train_loader(folder, val_fold=0, batch_size=4, crop=24, sampler_weights=(0, 1))
    drawn = {int(i) for _ in range(3) for batch in loader for i in batch["index"]}
    assert all(loader.dataset.tiles[i].target_ratio > 0 for i in drawn)
    assert any(t.target_ratio == 0 for t in loader.dataset.tiles)
    with pytest.raises(ConfigError, match="no tile can be drawn"):
        train_loader(folder, val_fold=0, batch_size=4, crop=24, sampler_weights=(0, 0))


def test_max_tiles_takes_an_even_spread(folder):
    loader = train_eval_loader(folder, val_fold=0, batch_size=2, max_tiles=4)
    assert len(tile_ids(loader)) == 4
    assert {t.tile.city for t in loader.dataset.tiles} == {"38SLG_Beta", "38SLH_Gamma"}


def test_the_fold_check_of_a_loader_finds_shared_ground(tmp_path):
    for city, tile in (("Alpha", "38SLF"), ("Beta", "38SLG")):
        add_scene(tmp_path, f"{city}_2015", tile)  # one and the same ground
    tiles = tile_all(tmp_path)
    generate_tiles_stats(input_path=tiles, output_path=tiles, num_workers=1)
    with pytest.raises(LeakageError):
        train_loader(tiles, val_fold="Beta", batch_size=2, crop=24).check_folds()
    with pytest.raises(InputError, match="nothing to train on"):
        train_loader(tiles, val_fold="Beta", batch_size=2, crop=24, drop_common=True)


def test_of_more_than_two_classes_the_largest_weight_that_occurs_counts(tmp_path):
    image, mask = add_scene(tmp_path)
    mask[:30, 60:] = 2
    add_scene(tmp_path, mask=mask, image=image)
    tiles = tile_all(tmp_path)
    generate_tiles_stats(input_path=tiles, output_path=tiles, num_workers=1)

    def load(weights):
        return train_loader(tiles, val_fold=None, batch_size=4, crop=24, sampler_weights=weights)

    loader = load((0.0, 0.0, 1.0))
    drawn = {int(i) for batch in loader for i in batch["index"]}
    assert all(loader.dataset.tiles[i].shares[2] > 0 for i in drawn)
    ratios = [t.target_ratio for t in loader.dataset.tiles]
    both = load((0.25, 1.0)).batch_sampler.weights
    assert both.tolist() == [1.0 if ratio > 0 else 0.25 for ratio in ratios]
    with pytest.raises(ConfigError, match="one for each of the 3 classes"):
        load((0.1, 0.2, 0.3, 0.4))


def test_pixels_of_another_size_come_as_crops_of_the_same_size(folder):
    def batches(num_workers):
        options = {"scale": None, "pixel_size": (0.7, 1.4), "num_workers": num_workers}
        return list(train_loader(folder, val_fold=0, batch_size=4, crop=24, seed=5, **options))

    alone = batches(0)
    assert all(b["image"].shape[2:] == b["mask"].shape[1:] == (24, 24) for b in alone)
    for batch in alone:
        gaps = torch.isnan(batch["image"]).any(1)
        assert (batch["mask"][gaps] == 255).all()
        assert set(batch["mask"].unique().tolist()) <= {0, 1, 255}
    assert equal(alone, batches(2))
    plain = list(train_loader(folder, val_fold=0, batch_size=4, crop=24, seed=5, scale=None))
    assert not equal(alone, plain)


def test_two_ways_to_resize_are_refused(folder):
    with pytest.raises(ConfigError, match=r"pixel_size.*beside scale.*scale = None"):
        train_loader(folder, val_fold=0, batch_size=4, crop=24, pixel_size=(0.7, 1.4))


def write_layer(folder, name, value_of):
    """A layer of the same tiles, each scene a raster of `value_of(row, column)`."""
    tiles = read_tiles(folder / "images" / "tiles.csv")
    own = []
    for scene, of_scene in by_scene(tiles).items():
        grid = scene_grid(of_scene)
        values = value_of(*np.mgrid[: grid.height, : grid.width]).astype(np.uint8)
        path = folder / name / f"{scene.replace('{}', name)}.tif"
        write_raster(path, values, grid.transform, nodata=255)
        own += [replace(tile, path=path) for tile in of_scene]
    write_list(folder / name / "tiles.csv", own)


def test_samples_may_be_of_another_layer_of_the_same_tiles(folder):
    write_layer(folder, "soft", lambda y, x: (7 * y + x) % 255)
    options = {"val_fold": None, "batch_size": 4, "crop": 24, "scale": None, "seed": 3}
    soft = train_loader(folder, layer="soft", flips=False, **options)
    masks = train_loader(folder, flips=False, **options)
    for one, other in zip(soft, masks, strict=True):
        assert torch.equal(one["image"].nan_to_num(), other["image"].nan_to_num())
        level, valid = one["mask"].int(), one["mask"] != 255
        assert (valid == ~one["image"].isnan().any(1)).all()  # no label where there is no image
        step = (level[:, 1:] - level[:, :-1])[valid[:, 1:] & valid[:, :-1]]
        assert set((step % 255).tolist()) == {7}
    assert soft.folder == folder and soft.places.tile_ids == masks.places.tile_ids


def test_a_layer_that_lacks_tiles_is_refused(folder):
    with pytest.raises(InputError, match=r"absent/tiles\.csv: no such list of tiles"):
        train_loader(folder, val_fold=None, batch_size=4, crop=24, layer="absent")
    write_layer(folder, "few", lambda y, x: x)
    listed = folder / "few" / "tiles.csv"
    listed.write_text("".join(listed.read_text().splitlines(keepends=True)[:-2]))
    with pytest.raises(InputError, match=r"few/tiles\.csv: lists \d+ of the \d+ tiles"):
        train_loader(folder, val_fold=None, batch_size=4, crop=24, layer="few")


@pytest.mark.parametrize("cell", [5, 8])
def test_crops_of_whole_cells_hold_none_that_is_cut(folder, cell):
    """Wherever tiles begin, and however crops are flipped and turned."""
    write_layer(folder, f"cells{cell}", lambda y, x: (y // cell * 13 + x // cell) % 251)
    loader = train_loader(
        folder, val_fold=None, batch_size=4, crop=3 * cell, scale=None, cell=cell, seed=2,
        layer=f"cells{cell}", sampler_weights=None,
    )  # fmt: skip
    seen = 0
    for batch in [*loader, *loader]:
        blocks = batch["mask"].unflatten(2, (3, cell)).unflatten(1, (3, cell))
        for block in blocks.permute(0, 1, 3, 2, 4).flatten(3).reshape(-1, cell * cell):
            values = set(block.tolist()) - {255}
            assert len(values) <= 1
            seen += bool(values)
    assert seen > 100


@pytest.mark.parametrize("wrong", [{"crop": 20}, {"scale": (0.7, 1.0)}, {"pixel_size": (0.7, 1.4)}])
def test_cells_that_crops_cannot_hold_are_refused(folder, wrong):
    options = {"crop": 24, "scale": None, **wrong}
    with pytest.raises(ConfigError, match="crops of whole cells of 8 pixels need a multiple"):
        train_loader(folder, val_fold=None, batch_size=4, cell=8, **options)


def test_presence_and_pixel_size_are_targets_of_any_sensor(folder):
    options = {"val_fold": None, "batch_size": 4, "crop": 24, "scale": None}
    targets = ("presence", "log_pixel")
    batch = next(iter(train_loader(folder, targets=targets, **options)))
    masks = batch["mask"].flatten(1)
    assert batch["presence"].tolist() == [int((m == 1).any()) for m in masks]
    assert batch["log_pixel"].exp().tolist() == pytest.approx([10.0] * 4, rel=2e-3)
    half = next(iter(train_loader(folder, targets=targets, reference_pixel=20.0, **options)))
    assert half["log_pixel"].exp().tolist() == pytest.approx([20.0] * 4, rel=0.03)
    with pytest.raises(ConfigError, match="no 'roofs'; there are height, presence, log_pixel"):
        train_loader(folder, targets=("roofs",), **options)
    with pytest.raises(ConfigError, match="only masks say whether there is a building"):
        train_loader(folder, targets=targets, layer="soft", **options)
    with pytest.raises(ConfigError, match="only masks say where a class is"):
        train_loader(folder, rarest=0.3, layer="soft", **options)  # level 1 was sought
    with pytest.raises(ConfigError, match="no scale, pixel_size or reference_pixel"):
        train_loader(folder, reference_pixel=20.0, cell=8, **options)
