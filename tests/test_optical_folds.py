"""Folds, gaps and samples of scenes of cameras: files of folds, metres, no CRS, heights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from aerial_data import PIXEL, add_site, measured, tile_layers
from builtup.data.loaders import train_loader, val_loader
from builtup.errors import BuiltupError, InputError, LeakageError
from builtup.tiles.folds import Folds
from builtup.tiles.leakage import check_folds, learnt_areas, meet, require_same_data, scored_areas
from builtup.tiles.stats import generate_tiles_stats
from helpers import CRS


def stats(folder: Path, **options: object) -> Folds:
    generate_tiles_stats(input_path=folder, output_path=folder, num_workers=1, **options)  # type: ignore[arg-type]
    return Folds.read(folder)


def test_a_file_gives_the_fold_of_each_scene(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, site in enumerate("abc"):
        add_site(tmp_path, site, seed=number, height=False)
    folder = tile_layers(tmp_path)
    listed = tmp_path / "split.csv"
    listed.write_text("scene,fold\na_scene,train\nb_scene,valid\nc_scene,train\nz,valid\n")
    folds = stats(folder, folds=str(listed))
    assert (folds.kind, folds.names) == ("file", ("train", "valid"))
    assert folds.members == (("a_scene_{}", "c_scene_{}"), ("b_scene_{}",))
    assert folds.city_of(1) == "b" and folds.city_of(0) == "train"
    assert "1 of its scenes are not among the tiles: z" in caplog.text
    loader = train_loader(folder, val_fold="valid", batch_size=2, crop=32)
    assert {t.tile.city for t in loader.dataset.tiles} == {"a", "c"}
    listed.write_text("site,fold\na,x\nb,y\n")
    with pytest.raises(InputError, match=r"split\.csv: names no fold for the site c"):
        stats(folder, folds=str(listed))
    with pytest.raises(BuiltupError, match="folds=cities: expected auto, city, blocks, a file"):
        stats(folder, folds="cities")


def test_a_gap_in_metres_needs_pixels_of_a_known_size(tmp_path: Path) -> None:
    add_site(tmp_path, "a", height=False)
    add_site(tmp_path, "b", seed=1, crs=CRS, height=False)
    folder = tile_layers(tmp_path)
    assert stats(folder, gap="3m").gap == round(3 / PIXEL)
    assert stats(folder, gap="7").gap == 7
    with pytest.raises(BuiltupError, match="gap=far: expected whole pixels"):
        stats(folder, gap="far")


def test_blocks_of_one_scene_without_a_crs_keep_their_gap(tmp_path: Path) -> None:
    add_site(tmp_path, "alone", height=False)
    folds, rows = measured(tmp_path, folds="blocks", gap="4")
    assert folds.names == tuple(f"alone/r{r}c{c}" for r in (0, 1) for c in (0, 1))
    require_same_data(tmp_path / "tiles", rows, folds)
    check_folds(folds, rows, 0)
    kept = folds.training_tiles(rows, 0)
    tile = next(t for t in rows if t.tile.x == 0 and t.tile.y == 0)
    held = folds.held_out(tile.tile, 0, with_gap=True)
    assert held is not None and (held.y, held.height, held.width) == (0, 48 + 4, 56 + 4)
    learnt, scored = learnt_areas(folds, kept, 0), scored_areas(folds, rows, 0)
    assert not meet(learnt, scored, folds.gap) and meet(learnt, scored, folds.gap + 4)


def test_scenes_without_a_crs_are_ground_of_their_own_and_this_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add_site(tmp_path, "a", height=False)
    add_site(tmp_path, "b", seed=1, height=False)  # on the same pixels, which says nothing
    folds, rows = measured(tmp_path)
    check_folds(folds, rows, 0)
    assert "2 of 2 scenes have no CRS" in caplog.text
    add_site(tmp_path / "placed", "a", crs=CRS, height=False)
    add_site(tmp_path / "placed", "b", seed=1, crs=CRS, height=False)
    folds, rows = measured(tmp_path / "placed")
    with pytest.raises(LeakageError):
        check_folds(folds, rows, 0)


def test_data_of_two_sensors_or_lists_of_classes_are_refused(tmp_path: Path) -> None:
    from tile_data import add_scene, tile_all

    add_site(tmp_path, "a", height=False)
    add_site(tmp_path, "b", seed=1, height=False, names=("ground", "tree", "building"))
    with pytest.raises(InputError, match="BUILTUP_CLASSES names ground, tree, building, that of"):
        stats(tile_layers(tmp_path))
    add_scene(tmp_path / "radar")
    both = tile_all(tmp_path / "radar")
    for layer in ("images", "masks"):
        own = tmp_path / "tiles" / layer
        rows = [row.rpartition(",") for row in (own / "tiles.csv").read_text().splitlines()]
        with (both / layer / "tiles.csv").open("a") as out:
            out.writelines(f"{r},{own}/{path}\n" for r, _, path in rows if r.startswith("a_"))
    with pytest.raises(InputError, match=r"is of the sensor \w+, .* of \w+: one network"):
        stats(both)


def test_a_class_beyond_those_that_are_named_is_refused(tmp_path: Path) -> None:
    add_site(tmp_path, "a", height=False, names=("ground", "building"))
    with pytest.raises(InputError, match="holds class 2, and its tag BUILTUP_CLASSES names 2"):
        stats(tile_layers(tmp_path), folds="blocks")


def test_heights_lie_on_their_pixels_however_a_sample_is_turned(tmp_path: Path) -> None:
    for number, site in enumerate("ab"):
        add_site(tmp_path, site, seed=number)
    measured(tmp_path)
    own = {"channel_set": "rgb_height", "targets": ("height",)}
    loader = train_loader(
        tmp_path / "tiles", val_fold="b", batch_size=6, crop=32, scale=None, **own
    )
    batch = next(iter(loader))
    assert batch["image"].shape[1:] == (4, 32, 32) and batch["height"].shape[1:] == (1, 32, 32)
    for image, mask, height in zip(batch["image"], batch["mask"], batch["height"], strict=True):
        torch.testing.assert_close(image[3:], height, equal_nan=True)
        house, ground = height[0][mask == 1], height[0][mask == 0]
        assert house.numel() == 0 or np.nanmin(house.numpy()) > 5
        assert ground.numel() == 0 or np.nanmax(ground.numpy()) < 1.5
    hidden = train_loader(
        *(tmp_path / "tiles",), val_fold="b", batch_size=6, crop=32, height_dropout=1.0, **own
    )
    batch = next(iter(hidden))
    assert batch["image"][:, 3].isnan().all() and not batch["height"].isnan().all()
    whole = next(iter(val_loader(tmp_path / "tiles", val_fold="b", batch_size=9, **own)))
    assert whole["image"].shape[1] == 4 and not whole["image"][:, 3].isnan().all()


def test_a_resized_height_keeps_its_gaps_to_itself(tmp_path: Path) -> None:
    for number, site in enumerate("ab"):
        add_site(tmp_path, site, seed=number)
    measured(tmp_path)
    loader = train_loader(
        *(tmp_path / "tiles",),
        val_fold="b",
        batch_size=9,
        crop=24,
        scale=None,
        pixel_size=(2.0, 2.0),
        channel_set="rgb_height",
        max_tiles=None,
        sampler_weights=None,
    )
    gaps = [(i[3].isnan() & ~i[:3].isnan().any(0)).any() for b in loader for i in b["image"]]
    assert any(gaps)


def test_a_scene_smaller_than_a_tile_and_one_without_a_valid_pixel(tmp_path: Path) -> None:
    add_site(tmp_path, "small", shape=(40, 44), height=False)
    image = np.zeros((4, 96, 112), np.uint8)
    add_site(tmp_path, "empty", seed=1, image=image, height=False)
    _, rows = measured(tmp_path)
    sizes = {(t.tile.width, t.tile.height) for t in rows if t.tile.city == "small"}
    assert sizes == {(44, 40)}
    assert all(t.skip and t.valid_fraction == 0 for t in rows if t.tile.city == "empty")
    loader = train_loader(tmp_path / "tiles", val_fold="empty", batch_size=1, crop=64, scale=None)
    (batch,) = list(loader)
    assert batch["image"].isnan().any() and not batch["image"].isnan().all()
    with pytest.raises(InputError, match="nothing to validate on in empty"):
        val_loader(tmp_path / "tiles", val_fold="empty", batch_size=1)
