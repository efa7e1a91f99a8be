"""Evaluation: who evaluates what, in which batches, and on which cities it counts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from builtup.data.contract import Places, as_tile_loader
from builtup.errors import BuiltupError
from builtup.sensors.classes import BUILT_UP
from builtup.training.evaluator import create_evaluator, evaluate, prepare_batch
from builtup.training.learner import Learner


def tile(number: int, city: str) -> Any:
    return SimpleNamespace(tile=SimpleNamespace(tile_id=f"t{number}", city=city))


class Answers(nn.Module):
    """Logits that say 1 where the power of VH is above 0.5."""

    def forward(self, power: Tensor) -> Tensor:
        return torch.cat([0.5 - power[:, :1], power[:, :1] - 0.5], 1)


def test_scores_go_to_the_city_of_each_sample() -> None:
    data = [
        {"image": torch.full((3, 2, 2), value), "mask": torch.ones(2, 2), "index": i}
        for i, value in enumerate((0.9, 0.1, 0.9))
    ]
    loader: Any = DataLoader(data, 2)  # type: ignore[arg-type]
    tiles = [tile(0, "B"), tile(1, "A"), tile(2, "B")]
    places = as_tile_loader(SimpleNamespace(dataset=SimpleNamespace(tiles=tiles))).places
    model = Answers()
    parameter = nn.Parameter(torch.zeros(1))
    learner = Learner(model, nn.MSELoss(), torch.optim.SGD([parameter], lr=0.1))
    model.train()
    found = evaluate(create_evaluator(learner, places, BUILT_UP), model, loader)
    assert model.training  # as it was before
    assert places.cities == ("A", "B")
    assert places.names({"index": torch.tensor([2, 0])}) == ["t2", "t0"]
    assert (found["A/recall"], found["B/recall"]) == (0.0, 1.0)
    assert found["recall"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_output_that_is_not_finite_stops_with_its_tiles_unless_the_pixel_does_not_count(
    value: float,
) -> None:
    samples = [torch.full((3, 2, 2), 0.9) for _ in range(3)]
    masks = [torch.ones(2, 2) for _ in range(3)]
    samples[1][:, 0, 0] = samples[2][:, 0, 0] = value
    masks[1][0, 0] = 255
    data = [
        {"image": image, "mask": mask, "index": i}
        for i, (image, mask) in enumerate(zip(samples, masks, strict=True))
    ]
    learner = Learner(
        Answers(), nn.MSELoss(), torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    )
    evaluator = create_evaluator(learner, Places(tile_ids=["t0", "t1", "t2"]), BUILT_UP)
    evaluate(evaluator, learner.model, DataLoader(data[:2], 2))  # type: ignore[arg-type]
    with pytest.raises(BuiltupError, match="not finite on valid pixels of t2;"):
        evaluate(evaluator, learner.model, DataLoader(data, 3))  # type: ignore[arg-type]


def test_a_process_without_a_batch_takes_part_all_the_same() -> None:
    learner = Learner(
        Answers(), nn.MSELoss(), torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    )
    evaluator = create_evaluator(learner, Places(), BUILT_UP)
    found = evaluate(evaluator, learner.model, [])
    assert evaluator.scores.matrices.sum() == 0
    assert found["f1"] != found["f1"]


def test_of_a_network_with_heads_the_classes_are_evaluated() -> None:
    class Headed(Answers):
        def forward(self, power: Tensor) -> Any:
            return {"height": power[:, :1] * float("nan"), "classes": super().forward(power)}

    data = [
        {
            "image": torch.full((3, 2, 2), value),
            "mask": torch.ones(2, 2),
            "height": torch.full((1, 2, 2), 3.0),
            "index": i,
        }
        for i, value in enumerate((0.9, 0.1))
    ]
    learner = Learner(
        Headed(), nn.MSELoss(), torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    )
    loader: Any = DataLoader(data, 2)  # type: ignore[arg-type]
    found = evaluate(create_evaluator(learner, Places(), BUILT_UP), learner.model, loader)
    assert found["recall"] == 0.5


def test_a_batch_with_height_gives_a_dict_of_targets() -> None:
    mask = torch.ones(1, 2, 2, dtype=torch.uint8)
    batch = {"image": torch.zeros(1, 3, 2, 2), "mask": mask, "index": torch.tensor([0])}
    device = torch.device("cpu")
    _, target = prepare_batch(batch, device, False)
    assert isinstance(target, Tensor) and target.dtype == torch.int64
    height = torch.full((1, 1, 2, 2), 2.5, dtype=torch.float64)
    _, targets = prepare_batch(batch | {"height": height}, device, False)
    assert not isinstance(targets, Tensor) and set(targets) == {"mask", "height"}
    assert torch.equal(targets["mask"], target) and targets["height"].dtype == torch.float32
