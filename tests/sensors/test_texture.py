"""How rough images are where they are smoothest."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import generic_filter

from builtup.sensors.radar.sentinel1 import SENTINEL1
from builtup.sensors.texture import LEAST, Texture, texture_ratio


def _speckled(looks: float, seed: int = 0, side: int = 96) -> np.ndarray:
    """Fields and, a quarter of it, a town of strong texture; linear power (2, side, side)."""
    generator = np.random.default_rng(seed)
    level = np.full((2, side, side), 0.02)
    level[:, : side // 2, : side // 2] *= generator.gamma(0.5, 2, (2, side // 2, side // 2))
    return (level * generator.gamma(looks, 1 / looks, level.shape)).astype(np.float32)


def _texture(*windows: np.ndarray) -> tuple[float, ...]:
    texture = Texture(SENTINEL1)
    assert len(list(texture.passing(windows))) == len(windows)
    return texture.median


def test_it_is_the_twentieth_of_deviations_of_decibels() -> None:
    window = _speckled(4.0)
    window[:, 40, 50] = np.nan
    expected = []
    for band in window:
        deviation = generic_filter(10 * np.log10(band.astype(float)), np.std, size=3)[1:-1, 1:-1]
        expected.append(np.quantile(deviation[np.isfinite(deviation)], 0.05))

    assert _texture(window) == pytest.approx(expected, rel=1e-5)


def test_neither_level_nor_town_moves_it_but_looks_do() -> None:
    few, many = _texture(_speckled(4.0)), _texture(_speckled(64.0))
    dark = _texture(_speckled(4.0, seed=1) * np.float32(0.01))
    plain = _speckled(4.0)
    plain[:, :48, :48] = plain[:, 48:, 48:]

    assert texture_ratio(few, dark) < 1.1
    assert texture_ratio(few, _texture(plain)) < 1.2
    assert texture_ratio(few, many) == pytest.approx(4, rel=0.15)  # the root of 16
    assert texture_ratio(many, few) == texture_ratio(few, many)


def test_the_median_of_windows_is_taken() -> None:
    one, other, third = (_texture(_speckled(n, seed=int(n))) for n in (4.0, 9.0, 64.0))
    together = _texture(*(_speckled(n, seed=int(n)) for n in (4.0, 9.0, 64.0)))

    assert together == pytest.approx(np.median([one, other, third], axis=0))


def test_what_is_too_small_or_a_gap_says_nothing() -> None:
    gap = np.full((2, 64, 64), np.nan, np.float32)
    flat = np.ones((2, 64, 64), np.float32)

    assert _texture(_speckled(4.0, side=30)) == ()  # 28 × 28 neighbourhoods
    assert LEAST > 28 * 28
    assert _texture(gap, np.ones((2, 2, 2), np.float32)) == ()
    assert math.isnan(texture_ratio((), (1.0, 1.0)))
    assert math.isnan(texture_ratio(_texture(flat), (1.0, 1.0)))
