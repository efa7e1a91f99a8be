"""Tags of whole cells, and the masks that a network makes for itself."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from builtup.errors import ConfigError
from builtup.models.single_stage import SingleStage, mask_penalty
from builtup.training.evaluator import prepare_batch
from builtup.training.lessons import Teaching
from builtup.training.self_masks import (
    ActivationMaps,
    MaskScores,
    SelfMasks,
    pixel_weights,
    pseudo_masks,
)


class Given(nn.Module):
    """A network that says its bands: the logits of its classes."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, image: Tensor) -> Tensor:
        return self.scale * image


def teaching(network: nn.Module | None = None) -> Teaching:
    own = Given() if network is None else network
    return Teaching(own, None, torch.device("cpu"), prepare_batch, nullcontext)


def batch(image: Tensor, tags: list[list[float]]) -> dict[str, Any]:
    mask = torch.zeros(len(image), *image.shape[2:])
    return {"image": image, "mask": mask, "tags": torch.tensor(tags)}


def test_a_cell_costs_the_soft_margin_of_its_scores_and_penalty() -> None:
    image = torch.tensor([2.0, 0.0])[None, :, None, None].expand(1, 2, 4, 4)
    found = MaskScores()(teaching(), batch(image, [[1.0, 0.0]]))
    mean = torch.tensor([2.0, 0.0]).softmax(0)
    score = torch.tensor([2.0, 0.0]) + mask_penalty(mean)  # means of a constant are the constant
    expected = F.multilabel_soft_margin_loss(score[None], torch.tensor([[1.0, 0.0]]))
    assert found.count == 2
    torch.testing.assert_close(found.loss.detach(), expected)
    # the constant channel is not learnt from tags, and adds 1 below
    total = 16 * mean[0]
    alone = MaskScores(background=1)(teaching(), batch(image, [[1.0, 0.0]]))
    expected = F.softplus(-(2 * total / (1 + total) + mask_penalty(mean[0])))
    assert alone.count == 1
    torch.testing.assert_close(alone.loss.detach(), expected)


def test_activation_maps_are_means_of_logits() -> None:
    image = torch.tensor([[[[1.0, 3.0]], [[-1.0, 0.0]]]])
    found = ActivationMaps()(teaching(), batch(image, [[1.0, torch.nan]]))
    assert found.count == 1
    assert float(found.loss.detach()) == pytest.approx(math.log(1 + math.exp(-2)), rel=1e-5)
    # the constant channel is not learnt from tags
    alone = ActivationMaps(background=0)(teaching(), batch(image, [[1.0, 0.0]]))
    assert alone.count == 1
    assert float(alone.loss.detach()) == pytest.approx(math.log(1 + math.exp(-0.5)), rel=1e-5)
    with pytest.raises(ConfigError, match="take tag_loader for this lesson"):
        ActivationMaps()(teaching(), {"image": image, "mask": torch.zeros(1, 1, 2)})
    two = batch(image, [[1.0, 0.0]]) | {"tags": torch.zeros(1, 2, 2)}
    with pytest.raises(ConfigError, match=r"samples of 2 cells, .* weaken with block=1"):
        ActivationMaps()(teaching(), two)


def test_weights_are_those_of_a_small_sample_by_hand() -> None:
    label = torch.tensor([[[0, 0, 0], [1, 255, 255]]])
    # N = 4: of the first class (4 − 3) / 5, of the second (4 − 1) / 5
    expected = torch.tensor([[[0.2, 0.2, 0.2], [0.6, 0.0, 0.0]]])
    torch.testing.assert_close(pixel_weights(label, 3), expected)
    assert not pixel_weights(torch.full((1, 2, 2), 255), 3).any()


def test_pixels_are_kept_where_just_one_mask_is_sure() -> None:
    refined = torch.tensor([[0.9, 0.5, 0.6, 0.1], [0.1, 0.4, 0.39, 0.1], [0.0, 0.1, 0.01, 0.8]])
    refined = refined[None, :, None]
    inside = torch.ones(1, 1, 4, dtype=torch.bool)
    # bounds .54 and .24 (.6 of the greatest): sure are 0 and 2 of the first, 1 and 2 of the second
    label = pseudo_masks(refined, torch.tensor([[1.0, 1.0, 0.0]]), inside)
    assert label.flatten().tolist() == [0, 1, 255, 255]
    # a class that is tagged and not found, or nothing known: the sample teaches nothing
    faint = refined.clone()
    faint[:, 1] = 0.1
    tags = torch.tensor([[1.0, 1.0, 0.0]])
    assert (pseudo_masks(faint, tags, inside) == 255).all()
    assert (pseudo_masks(refined, torch.full((1, 3), torch.nan), inside) == 255).all()
    # context is no part of it
    outside = pseudo_masks(refined, tags, torch.tensor([[[True, True, False, False]]]))
    assert outside.flatten().tolist() == [0, 1, 255, 255]


def test_the_background_has_a_bound_of_its_own_and_need_not_be_tagged() -> None:
    refined = torch.tensor([[1.0, 0.65, 0.0], [0.0, 0.0, 0.9]])[None, :, None]
    inside = torch.ones(1, 1, 3, dtype=torch.bool)
    tags = torch.tensor([[torch.nan, 1.0]])
    label = pseudo_masks(refined, tags, inside, background=0)
    assert label.flatten().tolist() == [0, 255, 1]


def test_a_network_learns_from_its_own_masks() -> None:
    torch.manual_seed(0)
    image = torch.zeros(2, 2, 16, 16)
    image[:, 0, :, :8], image[:, 1, :, 8:] = 4.0, 4.0
    own = teaching()
    found = SelfMasks(iterations=2, dilations=(1, 2))(own, batch(image, [[1.0, 1.0], [1.0, 0.0]]))
    # of the second sample, one class alone is tagged: its pixels weigh (N − N) / (1 + N)
    weight = 128 / 257
    expected = weight * math.log(1 + math.exp(-4)) * 256 / (256 + 128)
    assert found.count == 256 + 128
    assert float(found.loss.detach()) == pytest.approx(expected, rel=1e-3)
    found.loss.backward()
    assert own.network.scale.grad is not None


def test_the_single_stage_network_runs_both_lessons() -> None:
    torch.manual_seed(0)
    own = teaching(SingleStage(2, 3, width=2))
    given = batch(torch.rand(2, 2, 32, 32), [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    scores = MaskScores()(own, given)
    scores.loss.backward()
    assert scores.count == 6 and all(p.grad is not None for p in own.network.parameters())
    masks = SelfMasks(iterations=1, dilations=(1,))(own, given)
    assert bool(masks.loss.isfinite())
