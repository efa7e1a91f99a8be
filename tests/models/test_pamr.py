"""Masks that follow the edges of their image."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from builtup.models.pamr import pamr


def test_on_a_constant_image_a_mask_spreads_evenly_and_keeps_its_sum() -> None:
    image, mask = torch.full((1, 3, 21, 21), 7.0), torch.zeros(1, 1, 21, 21)
    mask[..., 10, 10] = 1.0
    once = pamr(image, mask, iterations=1, dilations=(1, 2))
    assert float(once[0, 0, 10, 10]) == 0  # a pixel is the mean of its neighbours
    around = {(y * d, x * d) for d in (1, 2) for y in (-1, 0, 1) for x in (-1, 0, 1)} - {(0, 0)}
    for y, x in around:
        torch.testing.assert_close(once[0, 0, 10 + y, 10 + x], torch.tensor(1 / 16))
    torch.testing.assert_close(once.sum(), torch.tensor(1.0))
    often = pamr(image, mask, iterations=5, dilations=(1, 2))
    torch.testing.assert_close(often.sum(), torch.tensor(1.0))


def test_an_edge_lets_nothing_through() -> None:
    image, mask = torch.zeros(1, 2, 16, 16), torch.zeros(1, 2, 16, 16)
    image[..., 8:] = 200.0
    mask[:, 0, :, :8], mask[:, 1, :, 8:] = 1.0, 1.0
    refined = pamr(image, mask, dilations=(1, 2))
    torch.testing.assert_close(refined, mask, atol=1e-3, rtol=0)
    blurred = pamr(torch.zeros_like(image), mask, dilations=(1, 2))
    assert float((blurred - mask).abs().max()) > 0.2


def test_weights_are_those_of_the_formula() -> None:
    torch.manual_seed(0)
    image, mask, dilations = torch.randn(1, 3, 9, 9) + 50, torch.rand(1, 2, 9, 9), (1, 2)
    wide = F.pad(image, (2,) * 4, mode="replicate")
    masks = F.pad(mask, (2,) * 4, mode="replicate")
    y, x = 4, 3  # its neighbours, and itself once a dilation
    places = [(i * d, j * d) for d in dilations for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]
    seen = torch.stack([wide[0, :, 2 + y + i, 2 + x + j] for i, j in places])
    own = image[0, :, y, x]
    deviation = torch.cat([seen, own[None], own[None]]).std(0)
    weight = (-(seen - own).abs() / (1e-8 + 0.1 * deviation)).mean(1).softmax(0)
    around = torch.stack([masks[0, :, 2 + y + i, 2 + x + j] for i, j in places])
    found = pamr(image, mask, iterations=1, dilations=dilations)[0, :, y, x]
    torch.testing.assert_close(found, (weight[:, None] * around).sum(0), atol=1e-4, rtol=1e-4)


def test_the_unit_of_the_image_does_not_matter_and_no_gradient_passes() -> None:
    torch.manual_seed(0)
    image, mask = torch.rand(2, 3, 12, 12), torch.rand(2, 4, 12, 12, requires_grad=True)
    refined = pamr(image, mask)
    assert not refined.requires_grad and refined.shape == mask.shape
    torch.testing.assert_close(pamr(1000 * image, mask), refined, atol=1e-3, rtol=1e-3)
    # means of masks that sum to 1 do so too
    whole = mask.detach().softmax(1)
    torch.testing.assert_close(pamr(image, whole).sum(1), torch.ones(2, 12, 12))


def test_a_pixel_between_a_like_and_an_unlike_one_is_what_was_computed_by_hand() -> None:
    """Of a row 0, 1, 100 with its edges repeated the middle has 3 neighbours of 0, 2 of 1 and 3 of
    100, and is itself the ninth value: σ = 49.752, a = 1 / (.1 σ) = .2010, and the share of the
    left ones 3 e^−a / (3 e^−a + 2 + 3 e^−99a) = .5509."""
    image = torch.tensor([[[[0.0, 1.0, 100.0]]]])
    mask = torch.tensor([[[[1.0, 0.0, 0.0]]]])
    refined = pamr(image, mask, iterations=1, dilations=(1,))
    assert float(refined[0, 0, 0, 1]) == pytest.approx(0.5509, abs=5e-5)
