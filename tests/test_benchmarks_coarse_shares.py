"""benchmarks/coarse_shares.py: shares of cells, by hand, and exchanged among one another."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from coarse_shares import exchanged

from builtup.geo.probability import IGNORE


def test_shares_are_of_the_known_pixels_of_each_cell() -> None:
    truth = np.zeros((4, 5), np.uint8)
    truth[0, 0] = truth[1, 1] = 1
    truth[2:, :2] = IGNORE
    truth[2, 2] = 1
    truth[2, 3] = IGNORE

    shares = exchanged(truth, 2, 0.0, seed=0)

    np.testing.assert_allclose(shares, [[0.5, 0, 0], [np.nan, 1 / 3, 0]], rtol=1e-6)


def test_so_many_cells_are_exchanged_and_their_sum_stays() -> None:
    truth = (np.random.default_rng(1).random((40, 40)) < np.linspace(0, 1, 40)).astype(np.uint8)

    plain, wrong = (exchanged(truth, 4, share, seed=3) for share in (0.0, 0.3))

    assert 20 <= (plain != wrong).sum() <= 30
    np.testing.assert_allclose(np.sort(plain.ravel()), np.sort(wrong.ravel()))
