"""Speckle has the looks and the correlation of the product, and no seams."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from builtup.simulate.radar.speckle import LOOKS, SpeckleRows, gamma_from_normal


def test_speckle_has_the_looks_and_the_correlation_of_grd() -> None:
    source = SpeckleRows((1, 2), 700)
    field = np.concatenate([source.next(350), source.next(350)])
    assert field.mean() == pytest.approx(1, abs=0.01)
    assert 1 / field.var() == pytest.approx(LOOKS, rel=0.04)
    # far enough apart to be independent, as the test needs
    sample = field[::8, ::8].ravel()
    assert stats.kstest(sample, stats.gamma(LOOKS, scale=1 / LOOKS).cdf).pvalue > 1e-3
    for shift, low, high in ((1, 0.66, 0.78), (2, 0.2, 0.34), (5, -0.02, 0.03)):
        for a, b in ((field[shift:], field[:-shift]), (field[:, shift:], field[:, :-shift])):
            assert low < np.corrcoef(a.ravel(), b.ravel())[0, 1] < high


def test_speckle_has_no_seam_between_strips() -> None:
    source = SpeckleRows((3,), 3000)
    above, below = source.next(40), source.next(40)
    seam = np.corrcoef(above[-1], below[0])[0, 1]
    assert seam == pytest.approx(np.corrcoef(above[-2], above[-1])[0, 1], abs=0.06)


def test_the_speckle_table_agrees_with_scipy() -> None:
    normal = np.linspace(-4, 4, 101, dtype=np.float32)
    expected = stats.gamma(LOOKS, scale=1 / LOOKS).ppf(stats.norm.cdf(normal.astype(float)))
    np.testing.assert_allclose(gamma_from_normal(normal), expected, rtol=2e-3)


@pytest.mark.parametrize("looks", [1.3, 20.0])
def test_other_sensors_have_other_looks_and_correlation(looks: float) -> None:
    field = SpeckleRows((1, 2), 700, looks, 0.5).next(500)
    assert field.mean() == pytest.approx(1, abs=0.02)
    assert 1 / field.var() == pytest.approx(looks, rel=0.06)
    assert np.corrcoef(field[1:].ravel(), field[:-1].ravel())[0, 1] < 0.45
