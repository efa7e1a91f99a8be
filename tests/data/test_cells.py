"""Samples of cells: shown with what surrounds them, tags and the cell as the mask."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from builtup.data.cells import tag_loader
from builtup.errors import InputError
from builtup.tiles.weaken import weaken
from tile_data import add_scene, moved, tile_all


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("cells")
    for i in range(4):
        mask = np.zeros((70, 90), np.uint8)
        mask[30:40, 30:50] = 1
        place = moved(1000 * i, 0)
        add_scene(root, f"City{i}_2015", f"38SL{'ABCD'[i]}", transform=place, mask=mask)
    weaken(
        input_path=tile_all(root),
        output_path=root / "weak",
        cell=40,
        context=6,
        shares="25;50;25",
        num_workers=1,
    )
    return root / "weak"


def test_a_batch_has_tags_and_counts_the_cell_alone(folder):
    loader = tag_loader(folder, val_fold="validation", batch_size=12, crop=52, flips=False)
    (batch,) = loader
    assert batch["image"].shape == (12, 2, 52, 52)
    assert batch["tags"].shape == (12, 2)
    for image, mask, tags, index in zip(
        *(batch[k] for k in ("image", "mask", "tags", "index")), strict=True
    ):
        tile = loader.dataset.tiles[int(index)].tile
        (of,) = loader.dataset.cells[tile.tile_id]
        cell = of.window
        gaps = 5 * cell.height if cell.x == 0 else 0  # columns without data
        assert int((mask == 0).sum()) == cell.width * cell.height - gaps
        assert set(mask.unique().tolist()) <= {0, 255}
        seen = int((~image.isnan().any(0)).sum())
        assert seen == tile.width * tile.height - (5 * tile.height if tile.x == 0 else 0)
        assert tags.tolist() == [
            1.0,
            float(cell.y <= 30 < cell.y + 40 and cell.x < 80 and cell.y == 0),
        ]


def test_the_same_seed_gives_the_same_batches(folder):
    def first(seed):
        return next(iter(tag_loader(folder, val_fold=None, batch_size=4, crop=52, seed=seed)))

    assert torch.equal(first(1)["mask"], first(1)["mask"])
    assert first(1)["index"].tolist() != first(2)["index"].tolist()


def test_a_tile_of_a_block_shows_the_tags_of_each_of_its_cells(folder, tmp_path):
    """Of two scenes of 90 x 70: blocks of 4, 2, 2 and 1 cells of 40 pixels."""
    weaken(
        input_path=folder.parent / "tiles",
        output_path=tmp_path,
        cell=40,
        block=2,
        context=6,
        shares="25;50;25",
        num_workers=1,
    )
    loader = tag_loader(tmp_path, val_fold="validation", batch_size=4, crop=92, flips=False)
    (batch,) = loader
    assert batch["tags"].shape == (4, 4, 2)
    shown = 0
    for mask, tags, index in zip(batch["mask"], batch["tags"], batch["index"], strict=True):
        tile = loader.dataset.tiles[int(index)].tile
        cells = loader.dataset.cells[tile.tile_id]
        assert tags.isnan().all(1).tolist() == [i >= len(cells) for i in range(4)]
        for number, cell in enumerate(cells):
            w = cell.window
            gaps = 5 * w.height if w.x == 0 else 0
            assert int((mask == number).sum()) == w.width * w.height - gaps
            assert tags[number].tolist() == [1.0, float(w.y == 0 and w.x < 80)]
        shown += len(cells)
    assert shown == 2 * 6


def test_what_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match="52 pixels wide, and crop is 40"):
        tag_loader(folder, val_fold=None, batch_size=4, crop=40)
    with pytest.raises(InputError, match="run weaken first"):
        tag_loader(tmp_path, val_fold=None, batch_size=4)


def test_cells_that_no_tile_shows_are_refused(folder, tmp_path):
    """Cells 5,000 pixels away, or of a scene that is none, were taken and taught nothing."""
    shutil.copytree(folder.parent, tmp_path / "all")
    path = tmp_path / "all" / folder.name / "tags.csv"
    head, first, *rest = path.read_text().splitlines()
    scene, x, *others = first.split(",")
    away, hand = [scene, str(int(x) + 5000), *others], [scene, x, *others]
    hand[5] = ""
    for wrong, what in (
        (away, "lies in no tile"),
        (["nowhere", x, *others], "of nowhere"),
        (hand, "none is named"),
    ):
        path.write_text("\n".join([head, ",".join(wrong), *rest]) + "\n")
        with pytest.raises(InputError, match=what):
            tag_loader(path.parent, val_fold=None, batch_size=4, crop=52)
