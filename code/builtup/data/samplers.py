"""Which tiles make the batches of an epoch, the same whatever the number of processes.

Every sample carries the seed of its own crop and augmentation, so that workers and processes do
not change what is seen. An epoch is drawn whole, with its first batch. To resume at the start of an
epoch, exactly, either the generator's state then (`TrainingBatches.generator`) or the epoch's
number (`set_epoch`, before every epoch of both runs) is all that is needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import Sampler

from builtup.errors import ConfigError

__all__ = ["Draw", "TrainingBatches", "ValidationBatches"]


@dataclass(frozen=True, slots=True)
class Draw:
    """A sample to be made: the tile's index and the seed of its augmentation."""

    index: int
    seed: int


class TrainingBatches(Sampler[list[Draw]]):
    """Batches of random tiles; every process gets its part of each batch.

    An epoch has as many full batches as `samples` fill, rounded up. With `weights` (one a tile, any
    scale) tiles are drawn with replacement, without each as often as another: in random orders of
    all, one after the other. Where `samples` is None it is the number of tiles; without weights an
    epoch is then one such order, cut to full batches (one short batch where there are fewer tiles
    than that). With `groups` (one a tile) as well, all tiles of a batch are of one
    group, each group as likely as another: a batch has the statistics of a scene, which is what a
    network meets that is adapted to scenes. `batch_size` counts the samples of all processes: each
    takes every `world_size`-th of a batch, none is seen twice and none is padded, and all make
    equal steps.
    Raises ConfigError where a batch cannot be shared out evenly.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        *,
        weights: Sequence[float] | None = None,
        samples: int | None = None,
        groups: Sequence[str] | None = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size < 1 or batch_size % world_size:
            raise ConfigError(
                f"batch_size={batch_size}: must be a multiple of the {world_size} processes "
                "that share each batch"
            )
        if count < 1 or (weights is not None and not _usable(weights, count)):
            raise ConfigError(
                "sampler: no tile can be drawn; sampler_weights must be finite, at least 0 and "
                "above 0 for tiles that exist"
            )
        self.count = count
        self.batch_size = batch_size
        self.weights = None if weights is None else torch.tensor(weights, dtype=torch.float64)
        self.samples = count if samples is None and weights is not None else samples
        self.members = None if groups is None else self._members(groups)
        self.seed = seed
        self.generator = torch.Generator().manual_seed(seed)
        self.rank, self.world_size = rank, world_size
        if self.samples is None and count < world_size:
            raise ConfigError(f"{count} tiles cannot feed {world_size} processes")

    def _members(self, groups: Sequence[str]) -> list[torch.Tensor]:
        """The tiles of each group that has any to be drawn."""
        if self.weights is None:
            raise ConfigError(
                "batches of one group are drawn with replacement: set sampler_weights"
            )
        by_group: dict[str, list[int]] = {}
        for index, group in enumerate(groups):
            if self.weights[index] > 0:
                by_group.setdefault(group, []).append(index)
        return [torch.tensor(members) for members in by_group.values()]

    def set_epoch(self, epoch: int) -> None:
        """Choose the stream of an epoch by its number; without, epochs follow one another."""
        self.generator.manual_seed(_mix(self.seed, epoch))

    def __len__(self) -> int:
        if self.samples is None:
            return max(1, self.count // self.batch_size)
        return math.ceil(self.samples / self.batch_size)

    def __iter__(self) -> Iterator[list[Draw]]:
        # a generator: DataLoader makes iterators that it throws away, which must draw nothing
        draws, size = self._draw()
        for start in range(0, len(draws), size):
            yield draws[start + self.rank : start + size : self.world_size]

    def _draw(self) -> tuple[list[Draw], int]:
        """The samples of the next epoch, for all processes, and how many make a batch."""
        g, total = self.generator, len(self) * self.batch_size
        if self.weights is None:
            rounds = 1 if self.samples is None else math.ceil(total / self.count)
            order = torch.cat([torch.randperm(self.count, generator=g) for _ in range(rounds)])
        elif self.members is None:
            order = torch.multinomial(self.weights, total, replacement=True, generator=g)
        else:
            order = torch.cat([self._of_one_group() for _ in range(len(self))])
        size = min(self.batch_size, len(order) // self.world_size * self.world_size)
        seeds = torch.randint(2**62, (len(self) * size,), generator=g).tolist()
        indices = order[: len(seeds)].tolist()
        return [Draw(*pair) for pair in zip(indices, seeds, strict=True)], size

    def _of_one_group(self) -> torch.Tensor:
        """The tiles of a batch."""
        assert self.members is not None
        assert self.weights is not None
        g = self.generator
        members = self.members[int(torch.randint(len(self.members), (), generator=g))]
        size = self.batch_size
        chosen = torch.multinomial(self.weights[members], size, replacement=True, generator=g)
        return members[chosen]


class ValidationBatches(Sampler[list[int]]):
    """All tiles once, in order, in batches that do not depend on the number of processes.

    Whole batches are dealt to the processes in turn: nothing is padded or counted twice, and
    whatever depends on a batch's company is the same for any number of them. One process may
    have one batch more than another, so reduce sums over processes only at the end.
    """

    def __init__(self, count: int, batch_size: int, *, rank: int = 0, world_size: int = 1) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size={batch_size}: must be at least 1")
        starts = range(rank * batch_size, count, world_size * batch_size)
        self.batches = [list(range(s, min(s + batch_size, count))) for s in starts]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)


def _usable(weights: Sequence[float], count: int) -> bool:
    return (
        len(weights) == count
        and all(0 <= w < math.inf for w in weights)
        and any(w > 0 for w in weights)
    )


def _mix(seed: int, epoch: int) -> int:
    """A seed from two numbers; neighbours give unrelated streams (SplitMix64's finaliser)."""
    z = (seed * 0x9E3779B97F4A7C15 + epoch + 1) & (2**64 - 1)
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
    return (z ^ (z >> 31)) & (2**63 - 1)
