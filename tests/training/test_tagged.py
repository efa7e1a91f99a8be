"""The lesson of coarse shares: what a cell costs, and which cells are believed."""

from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from builtup.errors import ConfigError, InputError
from builtup.training.evaluator import prepare_batch
from builtup.training.lessons import Teaching
from builtup.training.tagged import (
    Distrust,
    LogSumExp,
    Mean,
    ShareLoss,
    SharesRecord,
    TagLoss,
    shares_lesson,
)


class Given(nn.Module):
    """A network that says its first band: the logit of the second class."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, image: Tensor) -> Tensor:
        logit = self.scale * image[:, 0]
        return torch.stack([torch.zeros_like(logit), logit], 1)


def teaching(average: nn.Module | None = None) -> Teaching:
    return Teaching(Given(), average, torch.device("cpu"), prepare_batch, nullcontext)


def batch(probabilities: Tensor, shares: Tensor, cell: int = 4) -> dict[str, Tensor]:
    """One sample of cells that have one probability and one level each."""
    logit = torch.logit(probabilities).repeat_interleave(cell, 0).repeat_interleave(cell, 1)
    level = shares.repeat_interleave(cell, 0).repeat_interleave(cell, 1)
    return {"image": logit[None, None].float(), "mask": level[None].long()}


def cost(p: float, share: float, loss: Distrust) -> float:
    return float(loss.cost(torch.tensor([p]), torch.tensor([share]))[0])


def test_a_cell_costs_what_is_computed_by_hand() -> None:
    loss = Distrust(tolerance=0.1, alpha=0.5)
    # of share .6 the band ends at .5; KL(.5 ‖ .2) = .5 ln 2.5 + .5 ln .625
    divergence = 0.5 * math.log(0.5 / 0.2) + 0.5 * math.log(0.5 / 0.8)
    assert cost(0.2, 0.6, loss) == pytest.approx(0.5 * divergence + 0.3, rel=1e-5)
    assert cost(0.55, 0.6, loss) == 0
    # without a building there is no band: KL(0 ‖ .3) = −ln .7
    assert cost(0.3, 0.0, loss) == pytest.approx(-0.5 * math.log(0.7) + 0.3, rel=1e-5)
    assert cost(0.09, 0.05, loss) == 0  # 0 to .1


@given(st.floats(0.001, 0.999), st.floats(0, 1))
def test_the_cost_is_bounded_and_falls_towards_the_band(p: float, share: float) -> None:
    loss = Distrust()
    pooled = torch.tensor([p], requires_grad=True)
    found = loss.cost(pooled, torch.tensor([share]))
    found.sum().backward()
    band = min(share, loss.tolerance)
    assert 0 <= float(found.detach()) < 1 + 0.1 * 8
    slope = float(pooled.grad)  # type: ignore[arg-type]
    if p > share + band + 1e-4:
        assert slope > 0
    elif p < share - band - 1e-4:
        assert slope < 0
    elif abs(p - share) < band - 1e-4:
        assert slope == 0


def test_cells_where_the_teacher_says_the_opposite_are_left_out() -> None:
    p = torch.tensor([[0.95, 0.95], [0.3, 0.5]])
    levels = torch.tensor([[0, 254], [0, 255]])
    taught = ShareLoss(4, Distrust(apart=0.75))(teaching(Given()), batch(p, levels))
    # the first is .95 from its share, the last is unknown, the second within its band
    assert taught.count == 2
    assert float(taught.loss.detach()) == pytest.approx(cost(0.3, 0, Distrust()) / 2, rel=1e-4)
    every = ShareLoss(4, Distrust(apart=None))(teaching(), batch(p, levels))
    assert every.count == 3


def test_pixels_that_are_not_valid_say_nothing_of_their_cell() -> None:
    one = batch(torch.tensor([[0.4]]), torch.tensor([[0]]))
    one["image"][..., :2] = 9.0
    one["mask"][..., :2] = 255
    taught = ShareLoss(4, Distrust(apart=None))(teaching(), one)
    assert float(taught.loss.detach()) == pytest.approx(cost(0.4, 0, Distrust()), rel=1e-4)
    one["mask"][..., :3] = 255  # too few are left
    none = ShareLoss(4, Distrust(apart=None))(teaching(), one)
    assert (none.count, float(none.loss.detach())) == (0, 0.0)
    none.loss.backward()


def test_what_makes_no_sense_is_refused() -> None:
    cells = batch(torch.tensor([[0.4]]), torch.tensor([[0]]))
    with pytest.raises(ConfigError, match="needs a teacher; set ema_decay, or apart=None"):
        ShareLoss(4)(teaching(), cells)
    with pytest.raises(ConfigError, match="samples of 4 × 4 pixels hold no whole number of cells"):
        ShareLoss(3, Distrust(apart=None))(teaching(), cells)
    with pytest.raises(ConfigError, match="expected cells of 1 pixel or more"):
        ShareLoss(0)
    for wrong in ({"tolerance": 1.0}, {"apart": 0.0}, {"alpha": -1.0}):
        with pytest.raises(ConfigError, match="expected a tolerance of 0 or more"):
            Distrust(**wrong)


def test_a_lesson_needs_its_layer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"shares\.json: no record of shares of cells"):
        shares_lesson(tmp_path, batch_size=4)
    SharesRecord(cell=20, source="layer.tif").write(tmp_path)
    with pytest.raises(InputError, match=r"tile_stats\.csv"):
        shares_lesson(tmp_path, batch_size=4)


def tagged(probabilities: Tensor, tags: list[list[float]], inside: Tensor) -> dict[str, Tensor]:
    """Samples (N, H, W) of the probability of the second of two classes."""
    mask = torch.where(inside, 0, 255)
    return {"image": probabilities.logit()[:, None], "mask": mask, "tags": torch.tensor(tags)}


def test_log_sum_exp_of_0_and_1_is_nearly_the_greatest() -> None:
    p = torch.tensor([0.0, 1.0])[None, None, None]
    pooled = LogSumExp(20)(p, torch.ones(1, 1, 2, dtype=torch.bool))
    assert float(pooled) == pytest.approx(0.9653, abs=5e-5)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.floats(0.1, 50))
def test_a_pool_lies_between_mean_and_greatest(values: list[float], r: float) -> None:
    p = torch.tensor(values)[None, None, None]
    inside = torch.ones(1, 1, len(values), dtype=torch.bool)
    mean = float(Mean()(p, inside))
    assert mean - 1e-5 <= float(LogSumExp(r)(p, inside)) <= max(values) + 1e-5
    assert mean == pytest.approx(sum(values) / len(values), abs=1e-6)


def test_tags_cost_the_cross_entropy_of_what_is_inside_the_cell() -> None:
    p = torch.tensor([[[0.2, 0.6, 0.9999]]])
    inside = torch.tensor([[[True, True, False]]])
    taught = TagLoss(Mean())(teaching(), tagged(p, [[torch.nan, 1.0]], inside))
    assert taught.count == 1  # the first class is not known
    assert float(taught.loss.detach()) == pytest.approx(-math.log(0.4), rel=1e-4)
    both = TagLoss(Mean())(teaching(), tagged(p, [[0.5, 1.0]], inside))
    first = -0.5 * math.log(0.6) - 0.5 * math.log(0.4)
    assert both.count == 2
    assert float(both.loss.detach()) == pytest.approx((first - math.log(0.4)) / 2, rel=1e-4)


@pytest.mark.parametrize(
    "loss",
    [TagLoss(), TagLoss(Mean()), TagLoss(Mean(), Distrust(apart=None))],
)
def test_cells_of_one_sample_cost_what_they_do_in_samples_of_their_own(loss: TagLoss) -> None:
    p = torch.tensor([[[0.2, 0.6, 0.9, 0.3]]])
    number = torch.tensor([[[0, 0, 1, 255]]])
    tags = [[0.0, 1.0], [1.0, 0.25], [1.0, 1.0]]  # the third cell has no pixel
    together = tagged(p, [], number == 0) | {"mask": number, "tags": torch.tensor([tags])}
    inside = torch.stack([number[0] == 0, number[0] == 1])
    apart = tagged(p.expand(2, 1, 4), tags[:2], inside)
    one, two = loss(teaching(), together), loss(teaching(), apart)
    assert one.count == two.count == 4
    assert float(one.loss.detach()) == pytest.approx(float(two.loss.detach()), rel=1e-6)


def test_a_cell_without_a_pixel_costs_nothing_and_its_gradient_is_finite() -> None:
    p = torch.full((2, 4, 4), 0.3)
    inside = torch.stack([torch.zeros(4, 4, dtype=torch.bool), torch.ones(4, 4, dtype=torch.bool)])
    own = teaching()
    taught = TagLoss()(own, tagged(p, [[0.0, 1.0], [0.0, 1.0]], inside))
    assert taught.count == 2
    taught.loss.backward()
    assert own.network.scale.grad is not None and bool(own.network.scale.grad.isfinite())
    nothing = TagLoss()(own, tagged(p, [[torch.nan] * 2] * 2, inside))
    assert (nothing.count, float(nothing.loss.detach())) == (0, 0.0)


def test_batches_that_do_not_fit_are_refused() -> None:
    p, inside = torch.full((1, 2, 2), 0.5), torch.ones(1, 2, 2, dtype=torch.bool)
    without = {k: v for k, v in tagged(p, [[0.0, 1.0]], inside).items() if k != "tags"}
    with pytest.raises(ConfigError, match="the batches have none; take tag_loader"):
        TagLoss()(teaching(), without)
    with pytest.raises(ConfigError, match="tags: of 3 classes, and the network has 2"):
        TagLoss()(teaching(), tagged(p, [[0.0, 1.0, 1.0]], inside))
    with pytest.raises(ConfigError, match="expected a number above 0"):
        LogSumExp(0)


def test_shares_that_may_be_wrong_cost_what_distrust_says_of_cells_that_are_believed() -> None:
    p = torch.tensor([[[0.3, 0.5]], [[0.95, 0.95]]])
    inside = torch.ones(2, 1, 2, dtype=torch.bool)
    loss = TagLoss(Mean(), Distrust(apart=0.75))
    assert loss.needs_average and not TagLoss(Mean()).needs_average
    # the second cell, of which the teacher says .95, has a share of 0: it is left out
    batches = tagged(p, [[torch.nan, 0.1], [torch.nan, 0.0]], inside)
    taught = loss(teaching(Given()), batches)
    assert taught.count == 1
    expected = cost(0.4, 0.1, Distrust())
    assert expected > 0
    assert float(taught.loss.detach()) == pytest.approx(expected, rel=1e-4)
    every = TagLoss(Mean(), Distrust(apart=None))(teaching(), batches)
    assert every.count == 2
    with pytest.raises(ConfigError, match="needs a teacher; set ema_decay"):
        loss(teaching(), batches)
