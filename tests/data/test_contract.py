"""A config's own loaders through the adapter; those of ours are tested in test_loaders.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import ignite.distributed as idist
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import BatchSampler, DataLoader, RandomSampler

from builtup.data.contract import Places, as_tile_loader
from builtup.data.loaders import train_loader, val_loader
from builtup.tiles.stats import generate_tiles_stats
from tile_data import add_scene, moved, tile_all


def dealt(count: int, batch_size: int, rank: int, processes: int) -> list[list[int]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(idist, "get_rank", lambda: rank)
        patch.setattr(idist, "get_world_size", lambda: processes)
        loader = as_tile_loader(DataLoader(list(range(count)), batch_size)).dealt()
        batches = [batch.tolist() for batch in loader]
        assert len(loader) == len(batches)
        return batches


@given(st.integers(1, 20), st.integers(1, 5), st.integers(1, 4))
def test_processes_share_the_batches_of_one_without_a_sample_twice(
    count: int, batch_size: int, processes: int
) -> None:
    alone = dealt(count, batch_size, 0, 1)
    parts = [dealt(count, batch_size, rank, processes) for rank in range(processes)]
    assert sorted(batch for part in parts for batch in part) == sorted(alone)


def test_a_loader_of_ours_is_taken_as_it_is(tmp_path: Any) -> None:
    for city, tile, x in (("Alpha", "38SLF", 0), ("Beta", "38SLG", 3000)):
        add_scene(tmp_path, f"{city}_2015", tile, transform=moved(x, 0))
    folder = tile_all(tmp_path)
    generate_tiles_stats(input_path=folder, output_path=folder, num_workers=1)
    train = train_loader(folder, val_fold="Beta", batch_size=2, crop=24)
    assert as_tile_loader(train) is train and train.dealt() is train and train.knows_folds
    assert train.held_out == "38SLG_Beta" and train.learnt_from == ["38SLF_Alpha"]
    assert train.fold_names == ("38SLF_Alpha", "38SLG_Beta")
    assert train.places.cities == ("38SLF_Alpha",)
    assert train.places.tile_ids == [t.tile.tile_id for t in train.dataset.tiles]
    assert list(train.generators()) == [train.batch_sampler.generator]
    assert list(val_loader(folder, val_fold="Beta", batch_size=2).generators()) == []


def test_a_plain_loader_says_what_it_has_and_nothing_else() -> None:
    loader = as_tile_loader([{"index": [0]}])
    assert len(loader) == 1 and list(loader) == [{"index": [0]}]
    assert loader.dataset is None and loader.tiles is None and loader.sample_tiles is None
    assert loader.held_out == "" and loader.fold_names == () and loader.learnt_from == []
    assert not loader.knows_folds and loader.places == Places()
    loader.check_folds()
    loader.set_epoch(3)
    assert loader.dealt() is loader and list(loader.generators()) == []
    assert as_tile_loader(loader) is loader


def test_what_a_foreign_loader_has_of_the_names_is_taken() -> None:
    checked: list[str] = []
    tiles = [SimpleNamespace(tile_id=f"t{i}", city=city) for i, city in enumerate("BA")]
    foreign = SimpleNamespace(
        dataset=SimpleNamespace(tiles=tiles),
        folds=SimpleNamespace(names=("A", "B", "C")),
        val_fold=0,
        threshold_fold=2,
        check_folds=lambda: checked.append("asked"),
    )
    loader = as_tile_loader(foreign)
    assert loader.held_out == "A" and loader.learnt_from == ["B"]
    assert loader.knows_folds
    loader.check_folds()
    assert checked == ["asked"]
    assert loader.places.cities == ("A", "B") and loader.places.city_indices == [1, 0]


class Counting(RandomSampler):
    """Remembers the epochs that it was told."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.epochs: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)


def test_samplers_are_told_of_epochs_and_their_generators_are_found_once() -> None:
    data = list(range(6))
    generator = torch.Generator().manual_seed(0)
    sampler = Counting(data, generator=generator)
    for foreign in (
        DataLoader(data, 2, sampler=sampler, generator=generator),  # type: ignore[arg-type]
        DataLoader(data, batch_sampler=BatchSampler(sampler, 2, False)),  # type: ignore[arg-type]
    ):
        loader = as_tile_loader(foreign)
        loader.set_epoch(4)
        assert list(loader.generators()) == [generator]
    assert sampler.epochs == [4]


def test_batches_know_their_places() -> None:
    tiles = [SimpleNamespace(tile_id=f"t{i}", city=city) for i, city in enumerate("BAB")]
    places = Places.of(tiles)
    batch = {"index": torch.tensor([2, 1]), "mask": torch.zeros(2, 1, 1)}
    assert places.names(batch) == ["t2", "t1"]
    assert places.numbers(batch) == [2, 1] and places.of_batch(batch) == [1, 0]
    unknown = Places()
    assert unknown.names(batch) == ["sample 2", "sample 1"]
    assert unknown.numbers(batch) == [] and unknown.of_batch(batch) == [0, 0]
