"""Intervals over blocks, compared with scipy's bootstrap where there is one stratum."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from builtup.scoring.bootstrap import interval, resample
from builtup.scoring.counts import f1


def blocks(number: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.integers(1, 60, (number, 4))


def test_one_stratum_gives_scipy_s_percentile_interval() -> None:
    counts = blocks(40)
    drawn = resample(counts, np.zeros(40, int), resamples=9000)
    own = interval(f1(drawn[:, 0]), 0.9)

    def pooled(*columns: np.ndarray, axis: int) -> np.ndarray:
        return f1(np.stack([c.sum(axis=axis) for c in columns], axis=-1))

    theirs = stats.bootstrap(
        tuple(counts.T),
        pooled,
        paired=True,
        vectorized=True,
        n_resamples=9000,
        confidence_level=0.9,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert own.low == pytest.approx(theirs.low, abs=0.002)
    assert own.high == pytest.approx(theirs.high, abs=0.002)


def test_each_stratum_draws_its_own_blocks() -> None:
    counts = np.concatenate([np.full((5, 1), 1), np.full((3, 1), 100)])
    drawn = resample(counts, np.array([0] * 5 + [1] * 3), resamples=50)
    assert (drawn[:, 0, 0] == 5).all()
    assert (drawn[:, 1, 0] == 300).all()


def test_further_axes_are_drawn_together() -> None:
    counts = np.repeat(blocks(20)[:, None], 3, axis=1)
    drawn = resample(counts, np.arange(20) % 2, resamples=30)
    assert drawn.shape == (30, 2, 3, 4)
    assert (drawn[:, :, 0] == drawn[:, :, 2]).all()


def test_the_seed_decides_and_pieces_of_the_draws_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from builtup.scoring import bootstrap

    counts = blocks(30)
    one = resample(counts, np.zeros(30, int), resamples=70, seed=3)
    assert (one == resample(counts, np.zeros(30, int), resamples=70, seed=3)).all()
    assert (one != resample(counts, np.zeros(30, int), resamples=70, seed=4)).any()
    monkeypatch.setattr(bootstrap, "_MOST_DRAWN", 300)
    assert (one == resample(counts, np.zeros(30, int), resamples=70, seed=3)).all()


def test_what_is_undefined_is_left_out_and_counted() -> None:
    found = interval(np.array([np.nan, 1.0, 2.0, 3.0]), 0.5)
    assert (found.low, found.high, found.undefined) == (1.5, 2.5, 0.25)
    assert np.isnan(interval(np.array([np.nan])).low)


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Of 200 samples of 40 blocks, a 90 % interval should miss the population's F1 in 20 or so."""
    population = blocks(4000, seed=5)
    true = float(f1(population.sum(axis=0)))
    generator = np.random.default_rng(6)
    hits = 0
    for seed in range(200):
        sample = population[generator.integers(0, len(population), 40)]
        found = interval(
            f1(resample(sample, np.zeros(40, int), resamples=400, seed=seed)[:, 0]), 0.9
        )
        hits += found.low <= true <= found.high
    assert 165 <= hits <= 194
