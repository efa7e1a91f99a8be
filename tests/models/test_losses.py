import math

import pytest
import torch
import torch.nn.functional as F

from builtup.errors import ConfigError
from builtup.models.losses import CrossEntropy, Jaccard


def batch(seed=0, ignored=0.3):
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 2, 8, 9, generator=g)
    target = torch.randint(0, 2, (3, 8, 9), generator=g)
    target[torch.rand(3, 8, 9, generator=g) < ignored] = 255
    return logits.requires_grad_(), target


def jaccard_by_hand(logits, target):
    """Per class over valid pixels of the batch, then the mean; an absent class adds 0."""
    p = logits.softmax(1)
    valid = target != 255
    losses = []
    for c in range(logits.shape[1]):
        pc, tc = p[:, c][valid], (target[valid] == c).float()
        intersection = (pc * tc).sum()
        union = pc.sum() + tc.sum() - intersection
        losses.append(1 - intersection / union if tc.sum() else 0 * pc.sum())
    return torch.stack(losses).mean()


def test_cross_entropy_is_torchs_weighted_mean_over_what_is_not_ignored():
    logits, target = batch()
    for weights in ((0.75, 1.5), (0.1, 2)):
        expected = F.cross_entropy(logits, target, torch.tensor(weights), ignore_index=255)
        torch.testing.assert_close(CrossEntropy(*weights)(logits, target), expected)
    expected = F.cross_entropy(logits, target, ignore_index=255)
    torch.testing.assert_close(CrossEntropy()(logits, target), expected)


def test_cross_entropy_of_two_pixels_by_hand():
    logits = torch.tensor([[[[2.0, 0.0, 5.0]], [[0.0, 0.0, -5.0]]]])
    target = torch.tensor([[[0, 1, 255]]])
    first, second = math.log(1 + math.exp(-2)), math.log(2)
    expected = (0.5 * first + 3 * second) / 3.5
    assert CrossEntropy(0.5, 3)(logits, target).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "criterion", [CrossEntropy(0.1, 2), CrossEntropy(), Jaccard(), CrossEntropy() + 2 * Jaccard()]
)
def test_a_batch_that_is_all_ignored_costs_nothing_and_has_a_gradient_of_zero(criterion):
    logits, target = batch()
    loss = criterion(logits, torch.full_like(target, 255))
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_jaccard_divides_class_by_class_and_skips_what_is_ignored(seed):
    logits, target = batch(seed)
    torch.testing.assert_close(Jaccard()(logits, target), jaccard_by_hand(logits, target))


def test_jaccard_of_four_pixels_by_hand():
    # probabilities of class 1: .5, .5, .9 (ignored), .5; truth 1, 0, -, 0
    logits = torch.zeros(1, 2, 1, 4)
    logits[0, 1, 0, 2] = math.log(9)
    target = torch.tensor([[[1, 0, 255, 0]]])
    building, background = 0.5 / 2.0, 1.0 / 2.5
    expected = 1 - (building + background) / 2
    assert Jaccard()(logits, target).item() == pytest.approx(expected, rel=1e-6)


def test_an_all_background_answer_costs_half_and_not_two_percent():
    target = torch.zeros(1, 100, 100, dtype=torch.int64)
    target[0, :2] = 1  # 2 % built up
    logits = torch.stack([torch.full((100, 100), 20.0), torch.full((100, 100), -20.0)])[None]
    assert Jaccard()(logits, target).item() == pytest.approx((1 + 0.02) / 2, abs=1e-3)


def test_an_absent_class_adds_nothing():
    logits, _ = batch()
    target = torch.zeros(3, 8, 9, dtype=torch.int64)
    torch.testing.assert_close(Jaccard()(logits, target), jaccard_by_hand(logits, target))


def test_sums_are_weighted_and_say_what_they_are():
    logits, target = batch()
    criterion = CrossEntropy(0.75, 1.5) + 2 * Jaccard()
    expected = CrossEntropy(0.75, 1.5)(logits, target) + 2 * Jaccard()(logits, target)
    torch.testing.assert_close(criterion(logits, target), expected)
    assert str(criterion) == "CE(0.75, 1.5) + 2·Jaccard"
    assert "weight" in "".join(criterion.state_dict())


def test_half_precision_logits_do_not_overflow_the_sum():
    logits, target = batch()
    big = logits.detach().half().repeat(1, 1, 64, 64)
    assert torch.isfinite(CrossEntropy(0.1, 2)(big, target.repeat(1, 64, 64)))


def test_weights_that_do_not_fit_are_refused():
    logits, target = batch()
    with pytest.raises(ConfigError, match="3 class weights for 2 classes"):
        CrossEntropy(1, 1, 1)(logits, target)
    with pytest.raises(ConfigError, match="at least 0"):
        CrossEntropy(-1, 1)
