"""What training, evaluation and records may ask of a loader, whoever wrote it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader

from builtup.models.heads import Targets
from builtup.tiles.folds import Folds
from builtup.tiles.table import TrainTile

__all__ = ["Place", "Places", "PrepareBatch", "SampleLoader", "as_tile_loader"]

#: (batch, device, non_blocking) -> image (B, bands, H, W) float32 and the target: the mask
#: (B, H, W) int64, or a dict of it and further ones (see `builtup.models.heads`).
PrepareBatch = Callable[[Any, torch.device, bool], tuple[Tensor, Targets]]


class Place(Protocol):
    """Where a sample lies: at least a tile's id and its city's key."""

    @property
    def tile_id(self) -> str:
        """Unique among the tiles of a data set."""

    @property
    def city(self) -> str:
        """The city's key."""


@dataclass(frozen=True)
class Places:
    """Where samples lie: the tile id of each, and its city as an index into `cities`."""

    tile_ids: Sequence[str] = ()
    cities: tuple[str, ...] = ()
    city_indices: Sequence[int] = ()

    @classmethod
    def of(cls, tiles: Sequence[Place] | None) -> Places:
        """Of samples that are these tiles; None where samples have a number and no city."""
        if tiles is None:
            return cls()
        cities = tuple(sorted({tile.city for tile in tiles}))
        index = {city: i for i, city in enumerate(cities)}
        return cls([tile.tile_id for tile in tiles], cities, [index[tile.city] for tile in tiles])

    def names(self, batch: Any) -> list[str]:
        """Tile ids of a batch's samples."""
        numbers = [int(i) for i in batch.get("index", ())]
        return [self.tile_ids[i] if self.tile_ids else f"sample {i}" for i in numbers]

    def numbers(self, batch: Any) -> list[int]:
        """Tile numbers of a batch's samples; none where tiles are not known."""
        return [int(i) for i in batch["index"]] if self.tile_ids else []

    def of_batch(self, batch: Any) -> list[int]:
        """City index of each of a batch's samples."""
        if not self.city_indices:
            return [0] * len(batch["mask"])
        return [self.city_indices[int(i)] for i in batch["index"]]


class SampleLoader(ABC):
    """Batches on the CPU (see `builtup.data.datasets.Batch`), and what they are made from.

    `dataset` gives samples by number, `sample_tiles` says which tile each is: a TrainTile, or what
    a foreign data set has for one; None where that is not known. `tiles` are all rows of the
    folder's tile_stats.csv, None where there is no such list. `folds`, `val_fold` and
    `threshold_fold` (indices) say what is held out, None where that is not known or nothing.
    `folder` is the folder of tiles that the samples come from, None where that is not known.
    """

    folder: Path | None = None
    dataset: Any = None
    tiles: Sequence[TrainTile] | None = None
    folds: Folds | None = None
    val_fold: int | None = None
    threshold_fold: int | None = None

    @abstractmethod
    def __len__(self) -> int:
        """Batches of an epoch in this process."""

    @abstractmethod
    def __iter__(self) -> Iterator[Any]:
        """The batches of an epoch."""

    @property
    @abstractmethod
    def sample_tiles(self) -> Sequence[Any] | None:
        """See the class."""

    @abstractmethod
    def set_epoch(self, epoch: int) -> None:
        """Choose the stream of an epoch, where there are several."""

    @abstractmethod
    def generators(self) -> Iterator[torch.Generator]:
        """The random generators that batches are drawn with, each once."""

    @property
    @abstractmethod
    def knows_folds(self) -> bool:
        """Whether `check_folds` can tell, and `folds` and `val_fold` say what is held out."""

    @abstractmethod
    def check_folds(self) -> None:
        """Raise LeakageError where training ground is too near to validation ground."""

    @abstractmethod
    def dealt(self) -> SampleLoader:
        """Of a loader of all samples in a fixed order, this process's share of the batches."""

    @property
    def places(self) -> Places:
        """Where the samples lie."""
        tiles = self.sample_tiles
        return Places.of(None if tiles is None else [getattr(t, "tile", t) for t in tiles])

    @property
    def held_out(self) -> str:
        """The name of the fold held out, or nothing."""
        if self.folds is None or self.val_fold is None:
            return ""
        return self.folds.names[self.val_fold]

    @property
    def fold_names(self) -> tuple[str, ...]:
        """The names of all folds, none where they are not known."""
        return () if self.folds is None else self.folds.names

    @property
    def learnt_from(self) -> list[str]:
        """The folds that are not held out; the samples' cities where folds are not known."""
        if self.folds is None:
            return list(self.places.cities)
        left_out = (self.val_fold, self.threshold_fold)
        return [name for i, name in enumerate(self.folds.names) if i not in left_out]


def as_tile_loader(loader: Any) -> SampleLoader:
    """A loader as training sees it: one of ours as it is, a config's own in an adapter."""
    return loader if isinstance(loader, SampleLoader) else _ForeignLoader(loader)


class _ForeignLoader(SampleLoader):
    """A loader that a config made itself, often torch's DataLoader.

    What it or its samplers and data set have of the contract's names is taken from there.
    """

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        for name in ("dataset", "tiles", "folds", "val_fold", "threshold_fold"):
            setattr(self, name, getattr(loader, name, None))

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.loader)

    @property
    def sample_tiles(self) -> Sequence[Any] | None:
        """The `tiles` of its data set."""
        tiles: Sequence[Any] | None = getattr(self.dataset, "tiles", None)
        return tiles

    def set_epoch(self, epoch: int) -> None:
        """Tell the loader and its samplers, as far as they listen."""
        for owner in self._owners():
            if hasattr(owner, "set_epoch"):
                owner.set_epoch(epoch)

    def generators(self) -> Iterator[torch.Generator]:
        """Those of the loader and its samplers."""
        seen: set[int] = set()
        for owner in self._owners():
            for holder in (owner, getattr(owner, "sampler", None)):
                generator = getattr(holder, "generator", None)
                if isinstance(generator, torch.Generator) and id(generator) not in seen:
                    seen.add(id(generator))
                    yield generator

    @property
    def knows_folds(self) -> bool:
        """Whether the loader can be asked."""
        return hasattr(self.loader, "check_folds")

    def check_folds(self) -> None:
        """Ask the loader, if it can be asked."""
        if self.knows_folds:
            self.loader.check_folds()

    def dealt(self) -> SampleLoader:
        """Every so-many-th batch of a DataLoader, whole; another loader as it is.

        Whole batches, since a network's rounding may depend on what a sample shares its batch
        with: the figures of several processes are then those of one. Nothing is padded or seen
        twice.
        """
        import ignite.distributed as idist  # late: a prediction reads this module and needs none

        own, processes = self.loader, idist.get_world_size()
        if processes == 1 or not isinstance(own, DataLoader):
            return self
        return _ForeignLoader(
            DataLoader(
                own.dataset,
                batch_sampler=_DealtBatches(own.batch_sampler, idist.get_rank(), processes),
                num_workers=own.num_workers,
                collate_fn=own.collate_fn,
                pin_memory=own.pin_memory,
                worker_init_fn=own.worker_init_fn,
                persistent_workers=own.persistent_workers,
            )
        )

    def _owners(self) -> Iterator[Any]:
        yield self.loader
        for name in ("sampler", "batch_sampler"):
            if getattr(self.loader, name, None) is not None:
                yield getattr(self.loader, name)


class _DealtBatches(BatchSampler):
    """Every `step`-th batch of another sampler, beginning with batch `first`."""

    def __init__(self, batches: Any, first: int, step: int) -> None:
        self.batches, self.first, self.step = batches, first, step

    def __iter__(self) -> Iterator[list[int]]:
        for number, batch in enumerate(self.batches):
            if number % self.step == self.first:
                yield batch

    def __len__(self) -> int:
        return len(range(self.first, len(self.batches), self.step))
