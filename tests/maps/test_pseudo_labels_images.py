"""Pseudo-labels of images: any number of classes, no CRS, means of runs, negatives, tags."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray

from aerial_data import NAMES, add_site
from builtup.data.loaders import train_loader
from builtup.data.optical import Optical
from builtup.errors import BuiltupError, InputError
from builtup.geo.probability import NODATA
from builtup.geo.windows import Window
from builtup.maps.ensemble import ensemble
from builtup.maps.pseudo_labels import pseudo_labels
from builtup.runs.results import PredictionTags, write_tags
from builtup.tiles.cut import generate_tiles
from builtup.tiles.normalisation import read_classes
from builtup.tiles.stats import generate_tiles_stats
from builtup.tiles.table import read_tile_stats
from builtup.tiles.tags import CellTags
from builtup.tiles.tags import write_tags as write_cells
from builtup.tiles.tile import read_list
from builtup.training.pseudo_record import PseudoRecord

Levels = NDArray[np.uint8]
SITES = ("alpha", "beta")
TWO = ("ground", "building")


def probable(mask: Levels, seed: int, classes: int) -> Levels:
    """Probabilities (bands, H, W) that mostly say what is true; the first four rows are no data."""
    generator = np.random.default_rng(seed)
    true = np.stack([mask == k for k in range(classes)])
    weights = np.where(true, 6.0, 1.0) * generator.random(true.shape)
    levels = np.round(254 * weights / weights.sum(0)).astype(np.uint8)
    levels = levels[1:] if classes == 2 else levels
    levels[:, :4] = NODATA
    return levels


def write_map(
    root: Path, site: str, levels: Levels, names: tuple[str, ...], presence: float | None = None
) -> None:
    """A scene's probabilities, as `predict` keeps them."""
    name = f"{site}_scene"
    path = root / "raw" / f"{name}_prob.tif"
    path.parent.mkdir(parents=True, exist_ok=True)
    bands, height, width = levels.shape
    tags = PredictionTags(
        f"{name}_{{}}", site, width, height, root.name, 0.5, names, sensor="rgb", presence=presence
    ).of_kind("scene")
    profile = {"count": bands, "width": width, "height": height, "dtype": "uint8"}
    with rasterio.open(path, "w", driver="GTiff", nodata=NODATA, **profile) as out:
        out.write(levels)
        write_tags(out, tags)


def tile(root: Path, layer: str = "images") -> None:
    generate_tiles(
        input_path=root / layer, output_path=root / "tiles" / layer, tile_size=48,
        overlap=8, materialize=False, num_workers=1,
    )  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two sites without a CRS, with their masks, and maps of three classes and of two."""
    for number, site in enumerate(SITES):
        mask = add_site(tmp_path, site, seed=number, height=False)
        write_map(tmp_path / "three", site, probable(mask, number, 3), NAMES)
        write_map(tmp_path / "two", site, probable(mask, number, 2), TWO)
    tile(tmp_path)
    return tmp_path


def label(root: Path, maps: str, **options: Any) -> PseudoRecord:
    pseudo_labels(
        input_path=str(root / maps), tiles_path=root / "tiles", output_path=root / "pseudo",
        num_workers=1, **options,
    )  # fmt: skip
    return PseudoRecord.read(root / "pseudo")


def layer(root: Path, name: str, site: str = SITES[0]) -> Levels:
    kind = {"masks": "mask"}.get(name, name)
    with rasterio.open(root / "pseudo" / name / site / f"{site}_scene_{kind}.tif") as found:
        values: Levels = found.read()
    return values


def maps(root: Path, name: str, site: str = SITES[0]) -> Levels:
    with rasterio.open(root / name / "raw" / f"{site}_scene_prob.tif") as found:
        values: Levels = found.read()
    return values


def test_soft_labels_of_three_classes_have_a_band_a_class(data: Path) -> None:
    record = label(data, "three")
    soft, (mask,) = layer(data, "soft"), layer(data, "masks")
    assert np.array_equal(soft, maps(data, "three"))
    assert np.array_equal(mask[4:], soft[:, 4:].argmax(0)) and (mask[:4] == 255).all()
    assert record.scenes == 2 and record.kept == 1 and len(record.mean) == 3
    known = np.concatenate([maps(data, "three", s)[:, 4:].reshape(3, -1) for s in SITES], axis=1)
    assert record.mean == pytest.approx((known / 254).mean(axis=1))


def test_what_is_written_is_a_folder_of_tiles_with_the_classes_of_the_maps(data: Path) -> None:
    label(data, "three")
    pseudo = data / "pseudo"
    generate_tiles_stats(input_path=pseudo, output_path=pseudo, gap="4", num_workers=1)
    rows = read_tile_stats(pseudo / "tile_stats.csv")
    assert {row.tile.city for row in rows} == set(SITES) and all(len(r.shares) == 3 for r in rows)
    classes = read_classes(pseudo)
    assert classes is not None and classes.names == NAMES


def test_a_training_reads_a_band_a_class(data: Path) -> None:
    """Crops turned, sheared and resized hold what the rasters say, unknown in all bands or none."""
    label(data, "three")
    pseudo = data / "pseudo"
    generate_tiles_stats(input_path=pseudo, output_path=pseudo, gap="4", num_workers=1)
    options: dict[str, Any] = {"val_fold": None, "batch_size": 2, "crop": 32, "scale": None}
    options["sampler_weights"] = None
    told = {tuple(pixel) for s in SITES for pixel in layer(data, "soft", s).reshape(3, -1).T}
    for more in ({}, {"optical": Optical(rotate=20, shear=5)}):
        soft = train_loader(pseudo, layer="soft", seed=1, **options, **more)
        for batch in soft:
            assert batch["mask"].shape == (2, 3, 32, 32) and batch["image"].shape[-2:] == (32, 32)
            pixels = batch["mask"].movedim(1, -1).reshape(-1, 3)
            unknown = pixels == 255
            assert torch.equal(unknown.any(1), unknown.all(1)) and not unknown.all()
            assert {tuple(pixel) for pixel in pixels.tolist()} <= told | {(255, 255, 255)}
    resized = train_loader(pseudo, layer="soft", pixel_size=(1.5, 2.0), **options)
    for batch in resized:
        sums = batch["mask"].int().sum(1)[(batch["mask"] != 255).all(1)]
        assert batch["mask"].shape == (2, 3, 32, 32) and (sums - 254).abs().max() <= 3
    hard = next(iter(train_loader(pseudo, **options)))
    assert hard["mask"].shape == (2, 32, 32)
    with pytest.raises(InputError, match=r"has 4 bands, and samples hold one"):
        train_loader(pseudo, layer="images", **options)


def test_hard_labels_of_three_classes_are_where_one_is_sure(data: Path) -> None:
    record = label(data, "three", mode="hard", high=0.7)
    levels, (mask,) = maps(data, "three"), layer(data, "masks")
    sure = (levels >= 178).any(0) & (levels[0] != 255)  # .7 * 254 = 177.8
    assert np.array_equal(mask != 255, sure) and 0.05 < record.kept < 0.95
    assert np.array_equal(mask[sure], levels.argmax(0)[sure])
    assert record.high == 0.7 and not (data / "pseudo" / "soft").exists()


def test_labels_are_compared_with_masks(data: Path) -> None:
    record = label(data, "three", gt_path=str(data / "masks"))
    assert record.quality is not None and set(record.quality) == {*SITES, "pooled"}
    with rasterio.open(data / "masks" / "alpha" / "alpha_scene_mask.tif") as found:
        true = found.read(1)
    (mask,) = layer(data, "masks")
    both = (true != 255) & (mask != 255)
    hit = ((mask == 1) & (true == 1))[both].sum()
    f1 = 2 * hit / ((mask == 1)[both].sum() + (true == 1)[both].sum())
    assert record.quality["alpha"]["f1"] == pytest.approx(f1) and f1 > 0.5


def test_labels_of_a_mean_of_two_runs(data: Path) -> None:
    for number, site in enumerate(SITES):
        with rasterio.open(data / "masks" / site / f"{site}_scene_mask.tif") as found:
            mask = found.read(1)
        write_map(data / "other", site, probable(mask, 50 + number, 3), NAMES)
    ensemble(
        input_paths=f"{data / 'three'};{data / 'other'}", output_path=data / "mean", num_workers=1
    )
    record = label(data, "mean")
    one, other = (maps(data, name).astype(int) for name in ("three", "other"))
    assert np.array_equal(layer(data, "soft")[:, 4:], ((one + other + 1) // 2)[:, 4:])
    assert record.inference == "three,other" and record.learnt is None


def test_a_map_of_other_pixels_is_refused_where_nothing_has_a_crs(data: Path) -> None:
    write_map(data / "three", "alpha", maps(data, "three")[:, ::2, ::2], NAMES)
    with pytest.raises(InputError, match=r"alpha_scene_prob.tif: does not lie on the scene") as e:
        label(data, "three")
    assert "predict it with pixel=own" in str(e.value) and "\n" not in str(e.value)
    assert not (data / "pseudo").exists()


def test_a_map_whose_probabilities_were_not_kept_is_named(data: Path) -> None:
    path = data / "three" / "raw" / "alpha_scene_prob.tif"
    path = path.rename(path.with_name("alpha_scene.tif"))
    with rasterio.open(path, "r+") as dataset:  # the map of classes alone
        dataset.update_tags(BUILTUP_KIND="classes")
    with pytest.raises(InputError, match="predict them again with probabilities=true"):
        label(data, "three")


def test_truth_of_other_scenes_is_refused(data: Path, tmp_path: Path) -> None:
    add_site(tmp_path / "others", "gamma", height=False)
    with pytest.raises(InputError, match="no ground truth of any scene that is labelled") as e:
        label(data, "two", gt_path=str(tmp_path / "others" / "masks"))
    assert "\n" not in str(e.value) and not (data / "pseudo").exists()


# --- negatives ------------------------------------------------------------------------------------


def empty_scenes(root: Path) -> dict[str, Levels]:
    """Four scenes: one fails by its pixels, one by its presence, one by both, one is empty."""
    kinds = {"clear": (50, 0.1), "pixels": (51, 0.1), "head": (50, 0.3), "both": (200, 0.9)}
    found = {}
    for site, (largest, presence) in kinds.items():
        add_site(root, site, height=False)
        levels = np.full((1, 96, 112), 10, np.uint8)
        levels[0, 50, 60], levels[0, :4] = largest, NODATA
        write_map(root / "maps", site, levels, TWO, presence)
        found[site] = levels
    tile(root)
    return found


def test_a_scene_is_a_negative_by_pixels_and_presence_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    empty_scenes(tmp_path)
    with caplog.at_level(logging.INFO):
        record = label(tmp_path, "maps", mode="negatives")
    assert (record.scenes, record.left_out, record.built_up) == (1, 3, 0)
    assert (record.low, record.high, record.presence) == (0.2, None, 0.2)
    assert "1 of 4 scenes are kept as empty" in caplog.text
    rows = (tmp_path / "pseudo" / "negatives.csv").read_text().splitlines()
    assert rows == [
        "scene,presence,kept", "both_scene,0.9,no", "clear_scene,0.1,yes", "head_scene,0.3,no",
        "pixels_scene,0.1,no",
    ]  # fmt: skip
    (mask,) = layer(tmp_path, "masks", "clear")
    assert (mask[:4] == 255).all() and (mask[4:] == 0).all()
    pseudo = tmp_path / "pseudo"
    generate_tiles_stats(
        input_path=pseudo, output_path=pseudo, folds="blocks", gap="4", num_workers=1
    )
    tiles = read_tile_stats(pseudo / "tile_stats.csv")
    assert {t.tile.city for t in tiles} == {"clear"} and all(t.target_ratio == 0 for t in tiles)
    assert json.loads((pseudo / "pseudo.json").read_text())["mode"] == "negatives"


def test_where_no_scene_is_empty_nothing_is_labelled(tmp_path: Path) -> None:
    empty_scenes(tmp_path)
    with pytest.raises(InputError, match=r"none of 4 scenes is empty: presence below 0\.05"):
        label(tmp_path, "maps", mode="negatives", presence=0.05)
    assert not (tmp_path / "pseudo" / "images").exists()


def test_where_no_scene_is_empty_any_more_none_is_offered_for_learning(tmp_path: Path) -> None:
    empty_scenes(tmp_path)
    label(tmp_path, "maps", mode="negatives")
    pseudo = tmp_path / "pseudo"
    generate_tiles_stats(
        input_path=pseudo, output_path=pseudo, folds="blocks", gap="4", num_workers=1
    )
    names = ("images/tiles.csv", "masks/tiles.csv", "pseudo.json", "tile_stats.csv")
    lists = [pseudo / name for name in names]
    assert all(path.is_file() for path in lists)
    with pytest.raises(InputError, match="none of 4 scenes is empty"):
        label(tmp_path, "maps", mode="negatives", presence=0.05)
    assert not any(path.exists() for path in lists)
    assert ",yes" not in (pseudo / "negatives.csv").read_text()


def test_predictions_that_say_nothing_of_presence_are_refused(data: Path) -> None:
    for how in ("stop", "skip"):
        with pytest.raises(InputError, match="its network has no presence head") as e:
            label(data, "two", mode="negatives", on_error=how)
        assert "\n" not in str(e.value) and not (data / "pseudo").exists()


# --- tags -----------------------------------------------------------------------------------------


def tag(root: Path, *cells: tuple[str, Window, tuple[float, ...]]) -> None:
    """Write tags.csv beside the tiles, of scenes, cells in them and tags."""
    rows = [
        CellTags(f"{site}_scene", w, tags, f"{site}_scene_{w.x}_{w.y}") for site, w, tags in cells
    ]
    write_cells(root / "tiles" / "tags.csv", rows, NAMES)


def test_labels_by_tags_are_of_what_is_there_and_sure(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    upper, lower = Window(0, 0, 50, 112), Window(50, 0, 46, 60)
    tag(data, ("alpha", upper, (1, 0, 1)), ("alpha", lower, (float("nan"), 1, 0)))
    with caplog.at_level(logging.INFO):
        record = label(data, "three", mode="tags", keep=0.7, gt_path=str(data / "masks"))
    assert "1 of 2 scenes have no tags" in caplog.text and "labels, tags:" in caplog.text
    (mask,), levels = layer(data, "masks"), maps(data, "three").astype(int)
    assert (mask[50:, 60:] == 255).all() and (mask[:4] == 255).all()
    places = (slice(4, 50), slice(0, 112), (0, 2)), (slice(50, 96), slice(0, 60), (0, 1))
    for rows, columns, present in places:
        own = levels[list(present), rows, columns]
        sure = own.max(0) >= 0.7 * own.sum(0)
        expected = np.where(sure, np.array(present)[own.argmax(0)], 255)
        assert np.array_equal(mask[rows, columns], expected) and 0.1 < sure.mean() < 1
    assert (record.scenes, record.mode, record.keep, record.per_class) == (1, "tags", 0.7, {})
    assert record.stages is not None and list(record.stages) == ["raw", "tags", "kept"]
    accuracy = {name: of["accuracy"] or 0.0 for name, of in record.stages.items()}
    assert accuracy["kept"] > accuracy["raw"] and record.stages["kept"]["labelled"] != 1
    assert not (data / "pseudo" / "masks" / "beta").exists()


def test_heights_of_labelled_scenes_are_listed_for_those_who_learn_from_them(data: Path) -> None:
    add_site(data, "alpha", seed=0)
    tile(data, "height")
    whole = Window(0, 0, 96, 112)
    tag(data, ("alpha", whole, (1, 0, 1)), ("beta", whole, (1, 1, 1)))
    label(data, "three", mode="tags")
    images, heights = (read_list(data / "pseudo" / n / "tiles.csv") for n in ("images", "height"))
    shown = {tile.tile_id: tile.window for tile in images if tile.city == "alpha"}
    assert {tile.tile_id: tile.window for tile in heights} == shown  # none of beta is known
    generate_tiles_stats(input_path=data / "pseudo", output_path=data / "pseudo", num_workers=1)
    rows = read_tile_stats(data / "pseudo" / "tile_stats.csv")
    assert {row.tile.city for row in rows if row.height is not None} == {"alpha"}
    shutil.rmtree(data / "tiles" / "height")
    label(data, "three", mode="tags")
    assert not (data / "pseudo" / "height" / "tiles.csv").exists()


def test_labels_beside_the_tiles_leave_the_list_of_heights(data: Path) -> None:
    add_site(data, "alpha", seed=0)
    tile(data, "height")
    before = read_list(data / "tiles" / "height" / "tiles.csv")
    pseudo_labels(
        input_path=str(data / "three"), tiles_path=data / "tiles", output_path=data / "tiles",
        num_workers=1,
    )  # fmt: skip
    assert read_list(data / "tiles" / "height" / "tiles.csv") == before


def test_labels_by_tags_are_done_again_when_these_change(data: Path) -> None:
    whole = Window(0, 0, 96, 112)
    tag(data, ("alpha", whole, (1, 0, 1)), ("beta", whole, (1, 1, 1)))
    paths = [data / "pseudo" / "masks" / s / f"{s}_scene_mask.tif" for s in SITES]
    label(data, "three", mode="tags")
    before = [path.stat().st_mtime_ns for path in paths]
    label(data, "three", mode="tags")
    assert [path.stat().st_mtime_ns for path in paths] == before
    tag(data, ("alpha", whole, (1, 0, 0)), ("beta", whole, (1, 1, 1)))
    label(data, "three", mode="tags")
    after = [path.stat().st_mtime_ns for path in paths]
    assert after[0] > before[0] and after[1] == before[1]
    (mask,) = layer(data, "masks")
    assert (mask[4:] == 0).all()
    label(data, "three", mode="tags", per_class="tree=0.5")
    assert paths[1].stat().st_mtime_ns > after[1]


@pytest.mark.parametrize(
    ("options", "text", "problem"),
    [
        ({}, None, "tags.csv: tags cannot be read"),
        ({}, "scene,x,y,width,height,tile_id,church\n", "tags of church, which is no class"),
        ({"per_class": "church=0.5"}, None, "per_class: no class church"),
    ],
)
def test_tags_that_do_not_fit_leave_nothing_behind(
    data: Path, options: dict[str, Any], text: str | None, problem: str
) -> None:
    if text is not None:
        (data / "tiles" / "tags.csv").write_text(text)
    with pytest.raises(BuiltupError, match=problem) as e:
        label(data, "three", mode="tags", **options)
    assert "\n" not in str(e.value) and not (data / "pseudo").exists()
