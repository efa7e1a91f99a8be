"""Borders of classes that a loss leaves out."""

from __future__ import annotations

import pytest
import torch
from scipy import ndimage
from torch import Tensor

from builtup.errors import ConfigError
from builtup.models.borders import IgnoreBorders, ignore_borders
from builtup.models.heads import On, terms_of
from builtup.models.losses import CrossEntropy

IGNORE = 255


def test_both_sides_of_a_border_are_ignored_and_a_gap_is_no_border() -> None:
    row = torch.tensor([0, 0, 0, 1, 1, 1, IGNORE, 1, 1, IGNORE, 2, 2])
    expected = {
        1: [0, 0, 255, 255, 1, 1, 255, 1, 1, 255, 2, 2],
        # 2 px: the gap of one pixel no longer parts 1 from 2
        2: [0, 255, 255, 255, 255, 1, 255, 1, 255, 255, 255, 2],
    }
    for width, wanted in expected.items():
        assert ignore_borders(row[None, None], width)[0, 0].tolist() == wanted


@pytest.mark.parametrize("width", [1, 3])
def test_borders_are_those_of_scipys_filters(width: int) -> None:
    mask = torch.randint(0, 3, (2, 6, 7), generator=torch.Generator().manual_seed(0))
    mask = mask.repeat_interleave(4, 1).repeat_interleave(4, 2)
    mask[0, 5:9, 5:20] = IGNORE
    found = ignore_borders(mask, width)
    for before, after in zip(mask.numpy(), found.numpy(), strict=True):
        known = before != IGNORE
        most, least = (
            of(before * 1.0 * known + other * ~known, 2 * width + 1, mode="nearest")
            for of, other in ((ndimage.maximum_filter, -1), (ndimage.minimum_filter, 9))
        )
        border = (most != least) & (most >= 0) & (least < 9)
        assert (after == IGNORE).tolist() == (border | ~known).tolist()
        assert (after[~border & known] == before[~border & known]).all()


def test_a_mask_of_one_class_or_of_none_has_no_border() -> None:
    for value in (2, IGNORE):
        mask = torch.full((1, 5, 5), value)
        assert torch.equal(ignore_borders(mask, 2), mask)


def blocks() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(3)
    mask = torch.zeros(1, 8, 8, dtype=torch.int64)
    mask[:, :, 4:] = 1
    return torch.randn(1, 2, 8, 8, generator=g), mask


def test_a_loss_without_borders_is_that_of_the_rest_and_counts_it() -> None:
    logits, mask = blocks()
    loss = IgnoreBorders(CrossEntropy(), 1)
    left = mask.clone()
    left[:, :, 3:5] = IGNORE
    torch.testing.assert_close(loss(logits, mask), CrossEntropy()(logits, left))
    assert loss.count(mask) == 8 * 6
    (term,) = terms_of(On("classes", "mask", loss))
    assert term.loss.count(mask) == 8 * 6
    assert str(2 * loss) == "2·CE() without borders of 1 px"


def test_an_accumulated_step_counts_what_is_left() -> None:
    """Of two batches with unlike borders, by the trainer."""
    from torch import nn

    from builtup.training.learner import Learner
    from trainings import train

    plain = torch.zeros(1, 8, 8, dtype=torch.int64)
    g = torch.Generator().manual_seed(0)
    parts = [
        {"image": torch.randn(1, 3, 8, 8, generator=g), "mask": mask}
        for mask in (blocks()[1], plain)
    ]
    weights = []
    for batches, steps in (
        (parts, 2),
        ([{k: torch.cat([p[k] for p in parts]) for k in parts[0]}], 1),
    ):
        torch.manual_seed(0)
        model = nn.Conv2d(3, 2, 3, padding=1)
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        train(
            Learner(model, IgnoreBorders(CrossEntropy(), 1), optimizer),
            batches,
            accumulation_steps=steps,
        )
        weights.append(model.weight.detach())
    torch.testing.assert_close(*weights)


def test_a_width_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected 1 pixel or more"):
        IgnoreBorders(CrossEntropy(), 0)
