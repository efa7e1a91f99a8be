from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from builtup.geo import chains
from builtup.geo.chains import Chains
from builtup.geo.corners import scan
from traced import steps


def comb(teeth: int) -> NDArray[np.bool_]:
    """A region whose outline is open to the last row, with holes and a region in each of these."""
    row = np.array(
        [[1, 1, 1, 1, 1, 1, 1, 0], [1, 0, 0, 0, 0, 0, 1, 0], [1, 0, 1, 1, 1, 0, 1, 1],
         [1, 0, 0, 0, 0, 0, 1, 0]], bool
    )  # fmt: skip
    return np.tile(row, (teeth, 12))


@pytest.mark.parametrize("teeth", [20, 80])
def test_a_row_of_blocks_looks_at_what_is_new_in_it_not_at_all_that_is_open(
    teeth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = 0
    labels_of = chains.labels_of

    def count(following: NDArray[np.int64]) -> NDArray[np.int64]:
        nonlocal looked_at
        looked_at += len(following)
        return labels_of(following)

    monkeypatch.setattr(chains, "labels_of", count)
    found = steps(comb(teeth), 8)
    assert sum(map(len, found)) == 12 * teeth + 1
    corners = sum(len(p.exterior.coords) - 1 for of in found for p in of.outlines)
    corners += sum(len(r.coords) - 1 for of in found for p in of.outlines for r in p.interiors)
    assert corners < looked_at < 3 * corners


def test_an_outline_closes_with_all_that_was_put_away_and_knows_its_uppermost_row() -> None:
    mask = np.zeros((12, 9), bool)
    mask[1:11, 1:3] = mask[1:11, 6:8] = mask[9:11, 1:8] = True  # an upright U
    mask[3, 4] = True
    read = lambda w: (mask[w.slices], mask[w.slices].astype(np.uint8))  # noqa: E731
    follower, tops, closed = Chains(), [], []
    for found in scan(9, 12, read, (2, 16)):
        closed.append(follower.follow(found))
        tops.append(follower.top)
    assert tops == [1, 1, 1, 1, 1, None, None]
    assert [len(of.turns) for of in closed] == [0, 0, 4, 0, 0, 8, 0]
    turns, following = closed[5].turns, closed[5].following
    way, at = [], 0
    for _ in range(8):
        way.append((int(turns.x[at]), int(turns.y[at])))
        at = int(following[at])
    assert at == 0
    # the region on the left, from the upper left corner: down, along the bottom, up
    assert way == [(1, 1), (1, 11), (8, 11), (8, 1), (6, 1), (6, 9), (3, 9), (3, 1)]
