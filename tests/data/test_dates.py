import logging

import numpy as np
import pytest
import torch

from builtup.data.dates import random_patch
from builtup.data.loaders import train_loader
from builtup.data.radar import Radar
from builtup.errors import ConfigError
from builtup.geo.windows import Window
from builtup.tiles.stats import generate_tiles_stats
from tile_data import add_scene, moved, tile_all

DATES = ("20150101", "20150113", "20150125")


def flat(level, shape=(70, 90)):
    """VH, VV and mean of one level, five columns of no-data; the level tells the date."""
    image = np.full((3, *shape), level, np.float32)
    image[:, :, :5] = np.nan
    return image


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two dates of Alpha on one grid, a third moved by half a pixel; Beta, far away, is held out.

    Each date has its own level of power, and the masks of the dates differ: 0 and 1.
    """
    root = tmp_path_factory.mktemp("dates")
    for i, date in enumerate(DATES):
        transform = moved(0.5, 0) if i == 2 else moved(0, 0)
        mask = np.full((70, 90), i % 2, np.uint8)
        mask[:2, :2] = 1  # something built up on each
        add_scene(root, date=date, image=flat(i + 1.0), mask=mask, transform=transform)
    add_scene(root, "Beta_2015", "38SLG", transform=moved(5000, 0))
    tiles = tile_all(root)
    generate_tiles_stats(input_path=tiles, output_path=tiles, num_workers=1)
    return tiles


def loader(folder, mix_dates, **more):
    options = {"batch_size": 2, "crop": 24, "sampler_weights": None, "scale": None} | more
    return train_loader(folder, val_fold="Beta", radar=Radar(mix_dates=mix_dates), **options)


def test_patches_come_from_the_other_date_with_their_masks(folder):
    mixed = 0
    for batch in loader(folder, 1.0):
        for image, mask in zip(batch["image"], batch["mask"], strict=True):
            levels = set(image[~torch.isnan(image)].tolist())
            assert levels in ({1.0}, {2.0}, {3.0}, {1.0, 2.0})
            mixed += levels == {1.0, 2.0}
            known = (mask != 255) & ~torch.isnan(image[0])
            if levels == {1.0, 2.0}:  # the second date's mask is 1 where its pixels lie
                assert (mask[known & (image[0] == 2)] == 1).all()
                share = (image[0] == 2).float().mean()
                assert 0 < share < 1
    assert mixed > 5


def test_a_date_on_another_grid_is_never_mixed_and_is_counted(folder, caplog):
    with caplog.at_level(logging.WARNING, "builtup"):
        made = loader(folder, 1.0)
    third = {t.tile.tile_id for t in made.dataset.tiles if t.tile.date == DATES[2]}
    assert third and not third & set(made.dataset.dates)
    count = f"{len(third)} of {len(made.dataset.tiles)} training tiles have no other date"
    assert count in caplog.text


def test_workers_and_seeds_decide_nothing_but_what_they_should(folder):
    def images(**more):
        made = loader(folder, 0.5, seed=4, **more)
        made.set_epoch(1)
        return torch.cat([b["image"] for b in made]).nan_to_num()

    assert torch.equal(images(), images())
    assert torch.equal(images(), images(num_workers=1))


def test_without_mixing_samples_are_as_before(folder):
    for batch in loader(folder, 0.0):
        for image in batch["image"]:
            assert len(set(image[~torch.isnan(image)].tolist())) == 1


def test_one_date_only_is_refused(tmp_path):
    for i, city in enumerate(("Alpha", "Beta")):
        add_scene(tmp_path, f"{city}_2015", f"38SL{'FG'[i]}", transform=moved(5000 * i, 0))
    tiles = tile_all(tmp_path)
    generate_tiles_stats(input_path=tiles, output_path=tiles, num_workers=1)
    with pytest.raises(ConfigError, match=r"mix_dates: no training tile has another date"):
        loader(tiles, 0.5)


def test_dropped_squares_are_still_to_be_learned(folder):
    plain = train_loader(folder, val_fold="Beta", batch_size=2, crop=24, scale=None, flips=False)
    holes = train_loader(
        *(folder,),
        **{"val_fold": "Beta", "batch_size": 2, "crop": 24, "scale": None, "flips": False},
        radar=Radar(coarse_dropout=(2, 0.5)),
    )
    dropped = 0
    for one, other in zip(plain, holes, strict=True):
        assert torch.equal(one["mask"], other["mask"])
        gaps = torch.isnan(other["image"]) & ~torch.isnan(one["image"])
        dropped += int((gaps[:, 0] & (other["mask"] != 255)).sum())
    assert dropped > 100


def test_a_patch_lies_in_its_window():
    torch.manual_seed(0)
    window = Window(-3, 7, 20, 31)
    for _ in range(100):
        patch = random_patch(window)
        assert patch.intersection(window) == patch
        assert 5 <= patch.height <= 15 and 8 <= patch.width <= 23
