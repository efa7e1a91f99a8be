"""The moving average of the weights."""

import pytest
import torch
from torch import nn

from builtup.errors import BuiltupError
from builtup.training.learner import WARMUPS, Learner, in_one_line


def learner(decay: float) -> Learner:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    own = Learner(model, nn.MSELoss(), torch.optim.SGD(model.parameters(), lr=0.1))
    own.average(decay)
    return own


def set_all(model: nn.Module, value: float) -> None:
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.fill_(value)


def test_average_forgets_the_start_soon_and_reaches_its_decay():
    own = learner(0.9)
    expected, values = None, [1.0, 2.0, 4.0, 8.0]
    for n, value in enumerate(values):
        set_all(own.model, value)
        own.ema.update_parameters(own.model)
        decay = min(0.9, (1 + n) / (10 + n))
        expected = value if expected is None else decay * expected + (1 - decay) * value
    torch.testing.assert_close(own.weights[0].weight, torch.full((2, 1, 1, 1), expected))


def test_average_covers_the_batch_norm_statistics_and_copies_their_counter():
    own = learner(0.9)
    for value in (1.0, 3.0):
        set_all(own.model, value)
        own.ema.update_parameters(own.model)
    decay = 2 / 11
    torch.testing.assert_close(
        own.weights[1].running_mean, torch.full((2,), decay * 1 + (1 - decay) * 3)
    )
    assert int(own.weights[1].num_batches_tracked) == 3


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ValueError("Expected more than 1 value\n per channel"),
            r"training stopped: ValueError: Expected more than 1 value per channel \(tiles a, b\);"
            ".* another batch_size or crop",
        ),
        (IndexError("Target 255 is out of bounds."), "ignore_index=255"),
    ],
)
def test_what_torch_says_of_a_step_is_one_line(error: Exception, message: str) -> None:
    with pytest.raises(BuiltupError, match=message) as caught, in_one_line("training", ["a", "b"]):
        raise error
    assert "\n" not in str(caught.value)
    with pytest.raises(BuiltupError, match="ours"), in_one_line("training"):
        raise BuiltupError("ours")
    with pytest.raises(KeyboardInterrupt), in_one_line("training"):
        raise KeyboardInterrupt


@pytest.mark.parametrize(("updates", "decay"), [(0, 0.0), (1, 0.5), (249, 0.996), (999, 0.996)])
def test_the_decay_of_unimatch_begins_as_a_plain_mean(updates: int, decay: float):
    assert min(WARMUPS["one"](updates), 0.996) == pytest.approx(decay)
    own = learner(0.9)
    own.average(0.996, "one")
    for value in (1.0, 3.0, 8.0):
        set_all(own.model, value)
        own.ema.update_parameters(own.model)
    torch.testing.assert_close(own.weights[0].weight, torch.full((2, 1, 1, 1), 4.0))
