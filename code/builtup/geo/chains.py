"""Outlines followed from one row of blocks to the next.

Outlines run with the region on their left, over corners (`Corners`) that are joined by their edges
in pairs. Of an outline that goes on below, a *chain*, only the two ends matter: what lies between
them is put away, and taken out again when the outline closes. So a row of blocks costs what is new
in it and what closes, however large the outlines are that pass through it.

    x →    0 ───── 1   4 ───── 5       A region, built up between the lines, whose first row of
    y      │       │   │       │       blocks ends at the dashes. Its outline comes from below to 5
    ↓      │       2 ─ 3       │       and goes there from 0: 5 → 4 → 3 → 2 → 1 → 0. The chain's
         ─ ┼ ─ ─ ─ ─ ─ ─ ─ ─ ─ ┼ ─     first corner is 5, its last one 0; 4, 3, 2, 1 are put away.
           ↓                   ↑

In one row of blocks the corners that can be joined stand in one table of *nodes* (n rows): the ends
of all chains, each first corner (even index) with its last one behind it (odd), then the corners
that were found, in scanning order, which pair up along their rows in the same way: the partner of
node i is i ^ 1. Arrays of one number a node hold indices into that table: `along[i]`, the other end
of i's vertical edge; `following[i]`, what comes after i on its outline; −1 for what lies below.

    index      0      1     2   3   4   5  …      With −1 the sign of a corner says that the outline
    node     first  last    new corners           leaves it along the row, to i ^ 1 (for a chain's
             └ chain 7 ┘   └─┘ └─┘ edges          first corner: over all that is put away, to its
                                                  last one); with +1, along the column.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from builtup.geo.columns import Columns, ranges
from builtup.geo.corners import Corners

__all__ = ["Chains", "Closed", "Turns", "labels_of"]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Turns(Columns):
    """Corners of outlines (as in `Corners`), with their running numbers over the whole raster.

    `following` is the number of the next corner of the outline, −1 while that is not known.
    """

    x: NDArray[np.int32]
    y: NDArray[np.int32]
    sign: NDArray[np.int8]
    twin: Bools
    integral: Ints
    number: Ints
    following: Ints


@dataclass(frozen=True)
class _Nodes(Turns):
    """Corners that are being joined.

    `down` as in `Corners`; `chain` is the number of the chain that a corner ends, −1 for new ones;
    `top` the uppermost row (y) of what the corner is known to belong to.
    """

    down: Bools
    chain: Ints
    top: NDArray[np.int32]

    @classmethod
    def of(cls, corners: Corners, first: int) -> Self:
        """New corners, numbered from `first` on."""
        c, unset = corners, np.full(len(corners), -1, np.int64)
        number = np.arange(first, first + len(c))
        return cls(c.x, c.y, c.sign, c.twin, c.integral, number, unset, c.down, unset, c.y)

    def turns(self) -> Turns:
        return Turns(
            self.x, self.y, self.sign, self.twin, self.integral, self.number, self.following
        )


class Closed(NamedTuple):
    """Outlines that have closed: their corners by number (n), for each the index of the next one,
    and a label that those of one outline share."""

    turns: Turns
    following: Ints
    label: Ints


class Chains:
    """The outlines that go on below."""

    def __init__(self) -> None:
        self._ends = _Nodes.of(Corners.none(), 0)  # first, last, first, last, …
        self._inner = _PutAway()
        self._corners = 0  # numbers given
        self._chains = 0

    @property
    def top(self) -> int | None:
        """The uppermost row (y) of all that is open, None where nothing is."""
        return int(self._ends.top.min()) if len(self._ends) else None

    def follow(self, found: Corners) -> Closed:
        """Join the corners of a row of blocks to the chains; return the outlines that closed."""
        known = len(self._ends)
        nodes = self._ends.concatenated(_Nodes.of(found, self._corners))
        self._corners += len(found)
        along = _pair_vertically(nodes)
        following = np.where(nodes.sign < 0, np.arange(len(nodes)) ^ 1, along)
        nodes = _linked(nodes, following, known)
        label = labels_of(following)
        firsts = np.arange(0, known, 2)
        self._keep(nodes, following, along, firsts[label[firsts] < 0], label < 0)
        return self._closed(nodes, following, label, firsts[label[firsts] >= 0])

    def _closed(self, nodes: _Nodes, following: Ints, label: Ints, firsts: Ints) -> Closed:
        """Outlines without a gap, with what their chains (known by their `firsts`) put away."""
        closed = label >= 0
        kept = nodes.taken(closed)
        within, owner = self._inner.take(nodes.chain[firsts])
        turns = kept.turns().concatenated(*within)
        order = np.argsort(turns.number, kind="stable")  # nearly in order already
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        index = np.cumsum(closed) - 1
        # what follows is known by its number alone to what was put away, and to the first corners
        ahead = np.empty_like(order)
        ahead[: len(kept)] = place[index[following[closed]]]
        away = np.append(index[firsts], np.arange(len(kept), len(turns)))
        ahead[away] = np.searchsorted(turns.number[order], turns.following[away])
        of = np.concatenate((label[closed], label[firsts][owner]))
        return Closed(turns.taken(order), ahead[order], of[order])

    def _keep(
        self, nodes: _Nodes, following: Ints, along: Ints, firsts: Ints, is_open: Bools
    ) -> None:
        """Make chains of what is open, and put away what lies within them.

        A chain whose ends are both where they were stays as it is, under its number. All others
        are new ones, made of corners and of chains, which are known by their `firsts`.
        """
        is_end = is_open & (along < 0)
        last_of = _ends_of(following, is_open)
        first = np.flatnonzero(is_end & (nodes.sign < 0))
        last = last_of[first]
        chain = nodes.chain[first]
        is_new = (chain < 0) | (chain != nodes.chain[last])
        chain[is_new] = np.arange(self._chains, self._chains + is_new.sum())
        self._chains += int(is_new.sum())
        chain_of = np.full(len(nodes), -1, np.int64)  # by the last corner
        chain_of[last] = chain
        inner = np.flatnonzero(is_open & ~is_end)
        of = chain_of[last_of[inner]]
        order = np.argsort(of, kind="stable")
        child, parent = nodes.chain[firsts], chain_of[last_of[firsts]]
        joined = np.stack((child, parent), axis=1)[child != parent]
        self._inner.put(chain[is_new], nodes.taken(inner[order]).turns(), of[order], joined)
        top = nodes.top.copy()  # by the last corner, of all its chain
        np.minimum.at(top, last_of[is_open], nodes.top[is_open])
        ends = nodes.taken(np.stack((first, last), axis=1).ravel())
        self._ends = replace(ends, chain=np.repeat(chain, 2), top=np.repeat(top[last], 2))


def _linked(nodes: _Nodes, following: Ints, known: int) -> _Nodes:
    """The nodes with the numbers of the next ones, as far as they are known now."""
    found = following >= 0
    found[:known:2] = False  # a chain's first corner is followed by one that was put away
    numbers = nodes.following.copy()
    numbers[found] = nodes.number[following[found]]
    return replace(nodes, following=numbers)


def _pair_vertically(nodes: _Nodes) -> Ints:
    """Index of the other end of each vertical edge, −1 where it lies further down."""
    along = np.full(len(nodes), -1, np.int64)
    order = np.lexsort((nodes.down, nodes.y, nodes.x))
    x, down = nodes.x[order], nodes.down[order]
    start = np.flatnonzero(down[:-1] & (x[:-1] == x[1:]))
    upper, lower = order[start], order[start + 1]
    along[upper], along[lower] = lower, upper
    return along


def labels_of(following: Ints) -> Ints:
    """Smallest index in each corner's ring, −1 where the outline is open (pointer doubling)."""
    label = np.arange(len(following))
    label[following < 0] = -1
    ahead = np.where(following < 0, np.arange(len(following)), following)
    # an open outline is followed one way only: mark what comes after its gap as well
    while True:
        smallest = np.minimum(label, label[ahead])
        if np.array_equal(smallest, label):
            return label
        label, ahead = smallest, ahead[ahead]


def _ends_of(following: Ints, is_open: Bools) -> Ints:
    """Index of the last corner of each open outline, at all of its corners (pointer doubling)."""
    ahead = np.where(is_open & (following >= 0), following, np.arange(len(following)))
    while True:
        further = ahead[ahead]
        if np.array_equal(further, ahead):
            return ahead
        ahead = further


# --- what is put away -------------------------------------------------------------------------


@dataclass
class _Batch:
    """The inside of the chains numbered from `first` on, one after the other.

    Chain `first + i` has the turns `start[i]` to `start[i] + count[i]`, and is made of the chains
    whose numbers stand in `child`, from `child_start[i]` on, `child_count[i]` of them:

        turns   ┌ chain first ┬ first + 1 ┬ (none) ┬ first + 3 ┐
                start[0]      start[1]             start[3]
    """

    first: int
    turns: Turns
    start: Ints
    count: Ints
    child: Ints
    child_start: Ints
    child_count: Ints

    def take(self, chains: Ints, owner: Ints) -> tuple[Turns, Ints, Ints, Ints]:
        """Take out the turns of chains; return them and the chains that these are made of, both
        with their owners, those of the chains."""
        at = chains - self.first
        count, child_count = self.count[at], self.child_count[at]
        turns = self.turns.taken(ranges(self.start[at], count))
        children = self.child[ranges(self.child_start[at], child_count)]
        self.count[at] = 0
        left = int(self.count.sum())
        if 2 * left <= len(self.turns):
            self.turns = self.turns.taken(ranges(self.start, self.count))
            self.start = np.cumsum(self.count) - self.count
        return turns, np.repeat(owner, count), children, np.repeat(owner, child_count)


class _PutAway:
    """The corners inside chains, by the row of blocks in which they were put away."""

    def __init__(self) -> None:
        self._batches: list[_Batch] = []

    def put(self, chains: Ints, turns: Turns, of: Ints, joined: Ints) -> None:
        """Add new chains (running numbers): `of` is the chain of each turn, in their order;
        `joined` (n, 2) are chains that became part of these."""
        if not len(chains):
            return
        joined = joined[np.argsort(joined[:, 1], kind="stable")]
        first, n = int(chains[0]), len(chains)
        count = np.bincount(of - first, minlength=n)
        child_count = np.bincount(joined[:, 1] - first, minlength=n)
        start, child_start = (np.cumsum(c) - c for c in (count, child_count))
        self._batches.append(
            _Batch(first, turns, start, count, joined[:, 0].copy(), child_start, child_count)
        )

    def take(self, chains: Ints) -> tuple[list[Turns], Ints]:
        """Take out all corners inside chains, from last to first of the rows of blocks.

        Returns with them, for each corner, the index of the chain that it was inside of.
        """
        out, owners = [], [np.zeros(0, np.int64)]
        owner = np.arange(len(chains))
        for batch in reversed(self._batches):
            if not len(chains):
                break
            here = (chains >= batch.first) & (chains < batch.first + len(batch.count))
            if here.any():
                turns, of, children, of_child = batch.take(chains[here], owner[here])
                out.append(turns)
                owners.append(of)
                chains = np.concatenate((chains[~here], children))
                owner = np.concatenate((owner[~here], of_child))
        self._batches = [batch for batch in self._batches if batch.count.any()]
        return out, np.concatenate(owners)
