"""Outlines followed from one row of blocks to the next.

An outline that goes on below is a chain of corners of which only the two ends matter: what lies
between them is put away, and taken out again when the outline closes. So a row of blocks costs
what is new in it and what closes, however large the outlines are that pass through it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from builtup.geo.columns import Columns, ranges
from builtup.geo.corners import Corners

__all__ = ["Chains", "Closed", "Edges", "Turns", "labels_of"]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Edges(Columns):
    """Edges from point to point (x, y), (to_x, to_y), and the part of an outline each belongs to.

    Parts have running numbers: a chain has one, and so has the outline of closed holes.
    """

    x: NDArray[np.int32]
    y: NDArray[np.int32]
    to_x: NDArray[np.int32]
    to_y: NDArray[np.int32]
    part: Ints

    @classmethod
    def none(cls) -> Self:
        """No edges."""
        ints = np.zeros(0, np.int32)
        return cls(ints, ints, ints, ints, np.zeros(0, np.int64))


@dataclass(frozen=True)
class Turns(Columns):
    """Corners of outlines (as in `Corners`), each with its running number and the next one's."""

    x: NDArray[np.int32]
    y: NDArray[np.int32]
    sign: NDArray[np.int8]
    twin: Bools
    integral: Ints
    number: Ints
    following: Ints


@dataclass(frozen=True)
class _Nodes(Turns):
    """Corners that are being joined: with where the next one lies, and the chain that each ends.

    `following` is −1 while that is not known; `down` as in `Corners`.
    """

    to_x: NDArray[np.int32]
    to_y: NDArray[np.int32]
    down: Bools
    chain: Ints

    @classmethod
    def of(cls, corners: Corners, first: int) -> Self:
        """New corners, numbered from `first` on."""
        c = corners
        number = np.arange(first, first + len(c))
        unset = np.full(len(c), -1, np.int64)
        return cls(
            c.x, c.y, c.sign, c.twin, c.integral, number, unset, c.x, c.y, c.down, unset
        )  # fmt: skip

    def turns(self) -> Turns:
        return Turns(
            self.x, self.y, self.sign, self.twin, self.integral, self.number, self.following
        )

    def edges(self, part: Ints) -> Edges:
        return Edges(self.x, self.y, self.to_x, self.to_y, part)


class Closed(NamedTuple):
    """Outlines that have closed: their corners by number, the index of the next one of each, and
    the label of its outline, a number below `labels`.

    `chains` are those that they were made of, `chain_label` the label of the outline of each.
    `edges` are those not known before, with the label as their part.
    """

    turns: Turns
    following: Ints
    label: Ints
    labels: int
    chains: Ints
    chain_label: Ints
    edges: Edges


class Chains:
    """The outlines that go on below."""

    def __init__(self) -> None:
        # the ends of each chain side by side: the first one, at which the outline comes from
        # below, then the last one, at which it goes there
        self._ends = _Nodes.of(Corners.none(), 0)
        self._inner = _PutAway()
        self._corners = 0
        self._parts = 0
        #: new edges within chains, and chains that became part of others (child, parent)
        self.edges = Edges.none()
        self.joined = np.zeros((0, 2), np.int64)

    def new_parts(self, count: int) -> Ints:
        """Numbers for `count` parts of outlines."""
        self._parts += count
        return np.arange(self._parts - count, self._parts)

    def front(self, bottom: int) -> Edges:
        """The edges at the ends of the chains; the vertical ones reach to `bottom`."""
        ends = self._ends
        below = Edges(ends.x, ends.y, ends.x, np.full_like(ends.y, bottom), ends.chain)
        first = ends.taken(np.arange(0, len(ends), 2))
        return first.edges(first.chain).concatenated(below)

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
        self._keep(nodes, following, along, label, firsts)
        return self._closed(nodes, following, label, firsts)

    def _closed(self, nodes: _Nodes, following: Ints, label: Ints, firsts: Ints) -> Closed:
        closed = label >= 0
        firsts = firsts[closed[firsts]]
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
        return Closed(
            turns.taken(order),
            ahead[order],
            of[order],
            len(nodes),
            nodes.chain[firsts],
            label[firsts],
            kept.edges(label[closed]),
        )

    def _keep(self, nodes: _Nodes, following: Ints, along: Ints, label: Ints, firsts: Ints) -> None:
        """Put away what lies within the chains."""
        is_open = label < 0
        is_first = is_open & (along < 0) & (nodes.sign < 0)
        is_last = is_open & (along < 0) & (nodes.sign > 0)
        last_of = _ends_of(following, is_open)
        first = np.flatnonzero(is_first)
        last = last_of[first]
        is_new = nodes.chain[first] < 0
        is_new |= nodes.chain[first] != nodes.chain[last]
        chain = nodes.chain[first]
        chain[is_new] = self.new_parts(int(is_new.sum()))
        chain_of = np.full(len(nodes), -1, np.int64)  # by the last corner
        chain_of[last] = chain
        inner = np.flatnonzero(is_open & ~is_first & ~is_last)
        of = chain_of[last_of[inner]]
        order = np.argsort(of, kind="stable")
        inner, of = inner[order], of[order]
        firsts = firsts[is_open[firsts]]
        child, parent = nodes.chain[firsts], chain_of[last_of[firsts]]
        gone = child != parent
        self.joined = np.stack((child[gone], parent[gone]), axis=1)
        within = nodes.taken(inner)
        self.edges = within.edges(of)
        self._inner.put(chain[is_new], within.turns(), of, self.joined)
        ends = nodes.taken(np.stack((first, last), axis=1).ravel())
        self._ends = replace(ends, chain=np.repeat(chain, 2))


def _linked(nodes: _Nodes, following: Ints, known: int) -> _Nodes:
    """The nodes with what is known now of the next ones."""
    found = following >= 0
    found[:known:2] = False  # a chain's first corner is followed by one that was put away
    out = replace(
        nodes, following=nodes.following.copy(), to_x=nodes.to_x.copy(), to_y=nodes.to_y.copy()
    )
    for column, values in ((out.following, nodes.number), (out.to_x, nodes.x), (out.to_y, nodes.y)):
        column[found] = values[following[found]]
    return out


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

    Chain i has the turns from `start[i]`, `count[i]` of them, and the chains `child` from
    `child_start[i]`, `child_count[i]` of them.
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
