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
from builtup.training.tagged import SharesRecord, TagLoss, shares_lesson


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


def cost(p: float, share: float, loss: TagLoss) -> float:
    return float(loss.cost(torch.tensor([p]), torch.tensor([share]))[0])


def test_a_cell_costs_what_is_computed_by_hand() -> None:
    loss = TagLoss(4, tolerance=0.1, alpha=0.5)
    # of share .6 the band ends at .5; KL(.5 ‖ .2) = .5 ln 2.5 + .5 ln .625
    divergence = 0.5 * math.log(0.5 / 0.2) + 0.5 * math.log(0.5 / 0.8)
    assert cost(0.2, 0.6, loss) == pytest.approx(0.5 * divergence + 0.3, rel=1e-5)
    assert cost(0.55, 0.6, loss) == 0
    # without a building there is no band: KL(0 ‖ .3) = −ln .7
    assert cost(0.3, 0.0, loss) == pytest.approx(-0.5 * math.log(0.7) + 0.3, rel=1e-5)
    assert cost(0.09, 0.05, loss) == 0  # 0 to .1


@given(st.floats(0.001, 0.999), st.floats(0, 1))
def test_the_cost_is_bounded_and_falls_towards_the_band(p: float, share: float) -> None:
    loss = TagLoss(4)
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
    taught = TagLoss(4, apart=0.75)(teaching(Given()), batch(p, levels))
    # the first is .95 from its share, the last is unknown, the second within its band
    assert taught.count == 2
    assert float(taught.loss.detach()) == pytest.approx(cost(0.3, 0, TagLoss(4)) / 2, rel=1e-4)
    every = TagLoss(4, apart=None)(teaching(), batch(p, levels))
    assert every.count == 3


def test_pixels_that_are_not_valid_say_nothing_of_their_cell() -> None:
    one = batch(torch.tensor([[0.4]]), torch.tensor([[0]]))
    one["image"][..., :2] = 9.0
    one["mask"][..., :2] = 255
    taught = TagLoss(4, apart=None)(teaching(), one)
    assert float(taught.loss.detach()) == pytest.approx(cost(0.4, 0, TagLoss(4)), rel=1e-4)
    one["mask"][..., :3] = 255  # too few are left
    none = TagLoss(4, apart=None)(teaching(), one)
    assert (none.count, float(none.loss.detach())) == (0, 0.0)
    none.loss.backward()


def test_what_makes_no_sense_is_refused() -> None:
    cells = batch(torch.tensor([[0.4]]), torch.tensor([[0]]))
    with pytest.raises(ConfigError, match="needs a teacher; set ema_decay, or apart=None"):
        TagLoss(4)(teaching(), cells)
    with pytest.raises(ConfigError, match="samples of 4 × 4 pixels hold no whole number of cells"):
        TagLoss(3, apart=None)(teaching(), cells)
    for wrong in ({"cell": 0}, {"tolerance": 1.0}, {"apart": 0.0}, {"alpha": -1.0}):
        with pytest.raises(ConfigError, match="expected cells of 1 pixel or more"):
            TagLoss(**{"cell": 4, **wrong})  # type: ignore[arg-type]


def test_a_lesson_needs_its_layer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"shares\.json: no record of shares of cells"):
        shares_lesson(tmp_path, batch_size=4)
    SharesRecord(cell=20, source="layer.tif").write(tmp_path)
    with pytest.raises(InputError, match=r"tile_stats\.csv"):
        shares_lesson(tmp_path, batch_size=4)
