"""Folds by hand: who decides where, and what stays as it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from builtup.errors import ConfigError
from builtup.prediction.fold import Enlarge, Folding, Level

THIRD = 1 / 3


def pixel(*p: float) -> Level:
    """One pixel, known."""
    return Level(torch.tensor(p)[:, None, None])


def unknown(*p: float) -> Level:
    return Level(torch.tensor(p)[:, None, None], torch.zeros((1, 1), dtype=torch.bool))


def values(tensor: Tensor) -> list[float]:
    return [round(v, 4) for v in tensor.flatten().tolist()]


def test_the_coarser_map_decides_where_the_margin_is_below_alpha() -> None:
    coarse = pixel(0.1, 0.8, 0.1)
    close = Folding("vote", THIRD).fold([coarse, pixel(0.5, 0.3, 0.2)]).p
    assert values(close * (1 + THIRD)) == [0.5, 0.6333, 0.2]
    assert int(close.argmax()) == 1
    sure = Folding("vote", THIRD).fold([coarse, pixel(0.7, 0.25, 0.05)]).p
    assert values(sure * (1 + THIRD)) == [0.7, 0.5833, 0.05]
    assert int(sure.argmax()) == 0


def test_a_vote_passes_on_a_class_and_no_probability() -> None:
    """Twice: the coarsest says 2, the next is too sure of 0 to follow, so the finest hears 0."""
    levels = [pixel(0, 0, 1.0), pixel(0.7, 0, 0.3), pixel(0.2, 0.45, 0.35)]
    assert int(Folding("vote", THIRD).fold(levels).p.argmax()) == 0  # .2 + .333 > .45
    assert int(Folding("vote", THIRD).fold([levels[0], levels[2]]).p.argmax()) == 2
    assert int(Folding("vote", THIRD).fold(levels[2:]).p.argmax()) == 1


def test_of_classes_that_are_alike_the_first_is_what_the_coarser_map_says() -> None:
    alike = pixel(0.2, 0.4, 0.4)
    folded = Folding("vote", THIRD).fold([alike, pixel(0.3, 0.3, 0.4)]).p
    assert values(folded * (1 + THIRD)) == [0.3, 0.6333, 0.4]
    all_alike = Folding("vote", THIRD).fold([pixel(0.25, 0.25, 0.25, 0.25)] * 2).p
    assert values(all_alike * (1 + THIRD)) == [0.5833, 0.25, 0.25, 0.25]


def test_soft_is_the_recursion_of_the_spec_made_to_sum_to_one() -> None:
    levels = [pixel(0.2, 0.8), pixel(0.6, 0.4), pixel(0.9, 0.1)]
    p = torch.zeros(2)
    for level in levels:
        p = (THIRD * p + level.p.flatten()) / (1 + THIRD)
    folded = Folding("soft", THIRD).fold(levels).p.flatten()
    torch.testing.assert_close(folded, p / p.sum())


def test_the_mean_is_the_mean() -> None:
    levels = [pixel(0.2, 0.8), pixel(0.6, 0.4), pixel(1.0, 0.0)]
    assert values(Folding("mean").fold(levels).p) == [0.6, 0.4]


def test_logits_are_weighted_by_scale_and_class() -> None:
    fold = Folding("logits", weights=((0.5, 0.0, 1.0), (1.0, 1.0, 1.0)))
    coarse, fine = np.array([0.2, 0.3, 0.5]), np.array([0.5, 0.3, 0.2])
    score = np.exp(np.array([0.5, 0, 1]) * np.log(coarse) + np.log(fine))
    np.testing.assert_allclose(
        fold.fold([pixel(*coarse), pixel(*fine)]).p.numpy().ravel(), score / score.sum(), rtol=1e-5
    )
    only_fine = Folding("logits", weights=((0.0,) * 3, (1.0,) * 3))
    np.testing.assert_allclose(
        only_fine.fold([pixel(*coarse), pixel(*fine)]).p.numpy().ravel(), fine, rtol=1e-5
    )


def test_of_two_classes_one_band_is_folded_as_both_would_be() -> None:
    coarse, fine = 0.8, 0.4
    both = [pixel(1 - p, p) for p in (coarse, fine)]
    one = [pixel(p) for p in (coarse, fine)]
    rows = ((0.5, 0.7), (1.0, 0.9))
    for fold in (Folding("vote", THIRD), Folding("soft", THIRD), Folding("mean")):
        torch.testing.assert_close(fold.fold(one).p[0], fold.fold(both).p[1])
    together = Folding("logits", weights=rows).fold(one).p
    score = [0.5 * np.log(0.2) + np.log(0.6), 0.7 * np.log(0.8) + 0.9 * np.log(0.4)]
    assert together.item() == pytest.approx(1 / (1 + np.exp(score[0] - score[1])), rel=1e-5)
    first = Folding("logits", weights=tuple(row[::-1] for row in rows), mapped=0)
    assert first.fold(one).p.item() == pytest.approx(together.item(), rel=1e-5)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_the_threshold_of_two_classes_moves_by_what_the_coarser_map_says(threshold: float) -> None:
    """Mapped from t(1 + α) − α on where the coarser map has the class, from t(1 + α) on elsewhere:
    for t = ½ from ⅓ and from ⅔ on."""
    fold = Folding("vote", THIRD, threshold=threshold)
    for coarse, least in (
        (threshold + 0.01, threshold * (1 + THIRD) - THIRD),
        (threshold - 0.01, threshold * (1 + THIRD)),
    ):
        for step in (-0.01, 0.01):
            if 0 <= least + step <= 1:
                folded = fold.fold([pixel(coarse), pixel(least + step)]).p
                assert bool(folded >= threshold) == (step > 0)


probabilities = st.integers(0, 254).map(lambda v: v / 254)


@given(st.lists(probabilities, min_size=1, max_size=5), st.sampled_from(["vote", "soft"]))
def test_without_alpha_the_finest_scale_is_all(levels: list[float], kind: str) -> None:
    folded = Folding(kind, 0.0).fold([pixel(p) for p in levels]).p
    assert torch.round(folded * 254).item() == round(levels[-1] * 254)


@given(probabilities, st.integers(1, 5), st.sampled_from(["soft", "mean"]), st.floats(0, 1))
def test_scales_that_agree_give_what_they_agree_on(
    p: float, number: int, kind: str, alpha: float
) -> None:
    folded = Folding(kind, alpha).fold([pixel(p)] * number).p
    assert torch.round(folded * 254).item() == round(p * 254)


@pytest.mark.parametrize("kind", ["vote", "soft", "mean", "logits"])
def test_what_a_scale_does_not_know_takes_no_part(kind: str) -> None:
    fold = Folding(kind, THIRD, weights=((0.5,) * 2, (1.0,) * 2))
    alone = Folding(kind, THIRD, weights=((1.0,) * 2,)).fold([pixel(0.3, 0.7)]).p
    torch.testing.assert_close(fold.fold([unknown(1.0, 0.0), pixel(0.3, 0.7)]).p, alone)
    if kind != "logits":
        torch.testing.assert_close(fold.fold([pixel(0.3, 0.7), unknown(1.0, 0.0)]).p, alone)


def test_what_coarser_scales_gave_is_brought_to_the_pixels_of_the_next() -> None:
    """One pixel says 1, then two say ½, 0: by hand, with α = ⅓; a gap is filled from beside it."""
    twice = Enlarge(torch.ones((2, 1)), torch.ones((1, 2)))
    coarse = Level(torch.ones((1, 1, 1)))
    fine = Level(torch.tensor([[[0.5, 0.0], [0.5, 0.0]]]), enlarge=twice)
    soft = Folding("soft", THIRD).fold([coarse, fine])
    # weights α / (1 + α) · 1 / (1 + α) and 1 / (1 + α): a fifth and four
    assert values(soft.p) == [0.6, 0.2, 0.6, 0.2] and soft.known is None
    assert values(Folding("mean").fold([coarse, fine]).p) == [0.75, 0.5, 0.75, 0.5]
    assert values(Folding("vote", THIRD).fold([coarse, fine]).p) == [0.625, 0.25, 0.625, 0.25]
    gap = Level(fine.p, torch.tensor([[True, False], [True, False]]), twice)
    for kind, expected in (("soft", [0.6, 1, 0.6, 1]), ("vote", [0.625, 1, 0.625, 1])):
        assert values(Folding(kind, THIRD).fold([coarse, gap]).p) == expected
    last = Folding("soft", THIRD).fold([coarse], twice)
    assert values(last.p) == [1.0] * 4
    unseen = Level(torch.ones((1, 1, 1)), torch.zeros((1, 1), dtype=torch.bool))
    for kind in ("vote", "soft", "mean"):
        found = Folding(kind, THIRD).fold([unseen], twice).known
        assert found is not None and not found.any()


@pytest.mark.parametrize(
    ("kind", "alpha", "message"),
    [("max", 0.3, "fold=max: unknown; use one of vote, soft"), ("vote", -0.1, "alpha=-0.1: a sh")],
)
def test_what_makes_no_sense_is_named(kind: str, alpha: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Folding(kind, alpha)
