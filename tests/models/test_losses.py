import math

import pytest
import torch
import torch.nn.functional as F

from builtup.errors import ConfigError
from builtup.models.losses import (
    F1,
    CrossEntropy,
    Dice,
    Focal,
    FocalTversky,
    Jaccard,
    Lovasz,
    NoLabels,
    SymmetricCrossEntropy,
    Tversky,
)

ALL = [
    CrossEntropy(0.1, 2),
    CrossEntropy(),
    CrossEntropy(0.5, 1, label_smoothing=0.1),
    Focal(0.25, 0.75),
    Focal(gamma=0.5),
    Jaccard(),
    Dice(),
    Tversky(),
    FocalTversky(),
    F1(),
    Lovasz(),
    SymmetricCrossEntropy(0.75, 1.5),
    CrossEntropy() + 2 * Jaccard(),
    SymmetricCrossEntropy() + 0.5 * Lovasz() + 0.1 * Focal(),
]


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


@pytest.mark.parametrize("criterion", ALL, ids=str)
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


@pytest.mark.parametrize("criterion", ALL, ids=str)
def test_what_is_ignored_changes_neither_loss_nor_gradient(criterion):
    logits, target = batch()
    loss = criterion(logits, target)
    loss.backward()
    assert loss.item() > 0
    ignored = (target == 255)[:, None].expand_as(logits)
    assert (logits.grad[ignored] == 0).all() and (logits.grad[~ignored] != 0).any()
    other = torch.where(ignored, 30 * torch.randn_like(logits), logits.detach())
    torch.testing.assert_close(criterion(other, target), loss.detach())


@pytest.mark.parametrize("criterion", ALL, ids=str)
def test_the_gradient_is_that_of_the_loss(criterion):
    g = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 2, 3, 3, generator=g, dtype=torch.float64, requires_grad=True)
    target = torch.randint(0, 2, (2, 3, 3), generator=g)
    target[0, 0] = 255
    exact = "Lovasz" not in str(criterion)  # which is computed in float32
    eps, tolerance = (1e-6, 1e-5) if exact else (1e-3, 1e-2)
    assert torch.autograd.gradcheck(
        lambda x: criterion(x, target).double(), (logits,), eps=eps, atol=tolerance
    )


@pytest.mark.parametrize("criterion", ALL, ids=str)
@pytest.mark.parametrize("only", [0, 1])
def test_one_class_alone_is_finite_and_right_answers_cost_least(criterion, only):
    target = torch.full((1, 4, 4), only)
    sure = torch.zeros(1, 2, 4, 4)
    sure[:, only] = 12
    right, wrong = criterion(sure, target), criterion(-sure, target)
    assert torch.isfinite(right) and torch.isfinite(wrong) and right < wrong


@pytest.mark.parametrize("weights", [(), (0.5, 3.0)])
def test_label_smoothing_is_torchs(weights):
    logits, target = batch()
    expected = F.cross_entropy(
        logits,
        target,
        torch.tensor(weights) if weights else None,
        ignore_index=255,
        label_smoothing=0.1,
    )
    criterion = CrossEntropy(*weights, label_smoothing=0.1)
    torch.testing.assert_close(criterion(logits, target), expected)


def test_focal_of_two_pixels_by_hand():
    # probabilities of the true class: .9 and .5; the third is ignored
    logits = torch.tensor([[[[math.log(9), 0.0, 5.0]], [[0.0, 0.0, -5.0]]]])
    target = torch.tensor([[[0, 1, 255]]])
    first, second = -(0.1**2) * math.log(0.9), -(0.5**2) * math.log(0.5)
    assert Focal()(logits, target).item() == pytest.approx((first + second) / 2, rel=1e-5)
    weighted = (0.25 * first + 0.75 * second) / 2
    assert Focal(0.25, 0.75)(logits, target).item() == pytest.approx(weighted, rel=1e-5)


def test_focal_without_gamma_is_cross_entropy():
    logits, target = batch()
    torch.testing.assert_close(Focal(gamma=0.0)(logits, target), CrossEntropy()(logits, target))


def test_focal_of_a_building_pixel_that_is_nearly_right():
    """p .9, gamma 2, alpha .75: .75 · .01 · .1054 = 7.9e-4, whatever alpha the background has."""
    logit, target = torch.tensor([[[[math.log(9)]]]]), torch.tensor([[[1]]])
    assert Focal(0.25, 0.75)(logit, target).item() == pytest.approx(7.9e-4, rel=1e-3)
    assert Focal(5, 0.75)(logit, target).item() == pytest.approx(7.9e-4, rel=1e-3)


@pytest.mark.parametrize("loss", [CrossEntropy(), Focal(0.25, 0.75), CrossEntropy(0.5, 2)])
def test_one_logit_is_that_of_the_second_of_two_classes(loss):
    logits, target = torch.randn(3, 1, 4, 5), torch.randint(0, 2, (3, 4, 5))
    target[0, 0] = 255
    both = torch.cat([torch.zeros_like(logits), logits], 1)
    torch.testing.assert_close(loss(logits, target), loss(both, target))
    of_samples = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([1, 255, 0])
    flat = loss(of_samples[0].reshape(1, 1, 1, 3), of_samples[1].reshape(1, 1, 3))
    torch.testing.assert_close(loss(*of_samples), flat)
    assert loss.count(of_samples[1]) == 2


def test_symmetric_cross_entropy_of_two_pixels_by_hand():
    logits = torch.tensor([[[[math.log(9), 0.0, 5.0]], [[0.0, 0.0, -5.0]]]])
    target = torch.tensor([[[0, 1, 255]]])
    # reverse: −Σ_k p_k log q_k = 4 (1 − p of the true class), the logarithm of 0 being −4
    first = 0.1 * -math.log(0.9) + 4 * 0.1
    second = 0.1 * math.log(2) + 4 * 0.5
    got = SymmetricCrossEntropy()(logits, target).item()
    assert got == pytest.approx((first + second) / 2, rel=1e-5)
    got = SymmetricCrossEntropy(1, 3)(logits, target).item()
    assert got == pytest.approx((first + 3 * second) / 4, rel=1e-5)


def test_a_wrong_label_costs_symmetric_cross_entropy_little_more_than_its_bound():
    logits = torch.tensor([30.0, -30.0]).reshape(1, 2, 1, 1)
    target = torch.ones(1, 1, 1, dtype=torch.int64)
    assert CrossEntropy()(logits, target).item() == pytest.approx(60)
    reverse_only = SymmetricCrossEntropy(alpha=0.0)(logits, target).item()
    assert reverse_only == pytest.approx(4)


def areas_by_hand(logits, target, score):
    """`score(tp, fp, fn)` per class over valid pixels, 1 − mean over classes."""
    p, valid = logits.softmax(1), target != 255
    losses = []
    for c in range(2):
        pc, tc = p[:, c][valid], (target[valid] == c).float()
        tp = (pc * tc).sum()
        losses.append(1 - score(tp, pc.sum() - tp, tc.sum() - tp))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("seed", range(2))
def test_dice_and_tversky_per_class_by_hand(seed):
    logits, target = batch(seed)
    dice = areas_by_hand(logits, target, lambda tp, fp, fn: 2 * tp / (2 * tp + fp + fn))
    torch.testing.assert_close(Dice()(logits, target), dice)
    tversky = areas_by_hand(logits, target, lambda tp, fp, fn: tp / (tp + 0.3 * fp + 0.7 * fn))
    torch.testing.assert_close(Tversky()(logits, target), tversky)
    torch.testing.assert_close(Tversky(1, 1)(logits, target), Jaccard()(logits, target))


def test_lovasz_of_three_pixels_by_hand():
    # building probabilities .8, .4, .3, (.9 ignored); truth 1, 1, 0
    p = torch.tensor([0.8, 0.4, 0.3, 0.9])
    logits = torch.stack([(1 - p).log(), p.log()])[None, :, None]
    target = torch.tensor([[[1, 1, 0, 255]]])
    # errors sorted .6 (building), .3 (background), .2 (building).
    # 1 − Jaccard after each, class 1 of 2 pixels: 1 − 1/2, 1 − 1/3, 1 − 0/3
    building = 0.6 * 1 / 2 + 0.3 * (2 / 3 - 1 / 2) + 0.2 * (1 - 2 / 3)
    # class 0 of 1 pixel: 1 − 1/2, 1 − 0/2, 1 − 0/3
    background = 0.6 * 1 / 2 + 0.3 * (1 - 1 / 2) + 0.2 * 0
    got = Lovasz()(logits, target).item()
    assert got == pytest.approx((building + background) / 2, rel=1e-5)


def test_lovasz_of_certain_answers_is_one_minus_the_jaccard_index():
    from sklearn.metrics import jaccard_score

    g = torch.Generator().manual_seed(0)
    target, answer = (torch.randint(0, 2, (1, 9, 9), generator=g) for _ in range(2))
    logits = 60 * torch.stack([1 - answer, answer], 1).float()
    expected = 1 - jaccard_score(target.flatten(), answer.flatten(), average="macro")
    assert Lovasz()(logits, target).item() == pytest.approx(expected, abs=1e-5)


def test_losses_say_what_they_are():
    assert str(CrossEntropy(0.5, 1, label_smoothing=0.1)) == "CE(0.5, 1, smoothing 0.1)"
    assert str(Focal() + 2 * Tversky()) == "focal(gamma 2) + 2·Tversky(0.3, 0.7)"
    assert str(SymmetricCrossEntropy(1, 2)) == "symmetric CE(1, 2, alpha 0.1, beta 1)"


@pytest.mark.parametrize(
    "make",
    [
        lambda: CrossEntropy(label_smoothing=1.0),
        lambda: Focal(gamma=-1),
        lambda: SymmetricCrossEntropy(log_zero=0.0),
        lambda: Tversky(0, 0),
    ],
)
def test_options_that_make_no_loss_are_refused(make):
    with pytest.raises(ConfigError, match="expected"):
        make()


def sure(predicted):
    """Logits of pixels that are all but one-hot, of three classes."""
    return 60.0 * F.one_hot(torch.tensor([[predicted]]), 3).movedim(-1, 1).float()


def test_focal_tversky_of_six_right_and_two_wrong_pixels_by_hand():
    """TP 6, FP 2, FN 2 over all classes: T = 6 / (6 + 1.4 + .6) = .75, and .25^.75 = .3536."""
    logits, target = (
        sure([0, 0, 1, 1, 2, 2, 0, 1, 2]),
        torch.tensor([[[0, 0, 1, 1, 2, 2, 1, 2, 255]]]),
    )
    loss = FocalTversky()(logits, target)
    assert loss.item() == pytest.approx(0.25**0.75, rel=1e-5)
    assert loss.item() == pytest.approx(0.3536, abs=1e-4)
    assert FocalTversky(gamma=1)(logits, target).item() == pytest.approx(0.25, rel=1e-5)


@pytest.mark.parametrize(("alpha", "beta", "gamma"), [(0.7, 0.3, 0.75), (0.3, 0.9, 2.0)])
def test_focal_tversky_is_the_librarys_of_one_class_that_is_all_pixels_of_all_classes(
    alpha, beta, gamma
):
    from segmentation_models_pytorch.losses import TverskyLoss

    g = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 4, 5, 6, generator=g, requires_grad=True)
    target = torch.randint(0, 4, (2, 5, 6), generator=g)
    target[0, :2] = 255
    loss = FocalTversky(alpha, beta, gamma)(logits, target)
    valid = target != 255
    p = logits.softmax(1).movedim(1, -1)[valid]
    one_hot = F.one_hot(target[valid], 4)
    library = TverskyLoss("binary", from_logits=False, alpha=alpha, beta=beta, gamma=gamma)
    expected = library(p.reshape(1, 1, -1), one_hot.reshape(1, 1, -1))
    torch.testing.assert_close(loss, expected)
    (ours,) = torch.autograd.grad(loss, logits, retain_graph=True)
    (theirs,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(ours, theirs)


def test_focal_tversky_of_an_answer_without_an_error_has_a_finite_gradient():
    logits = sure([0, 1, 2]).requires_grad_()
    loss = FocalTversky()(logits, torch.tensor([[[0, 1, 2]]]))
    loss.backward()
    assert loss.item() < 1e-4 and logits.grad.isfinite().all()
    with pytest.raises(ConfigError, match="gamma above 0"):
        FocalTversky(gamma=0)


def test_f1_is_that_of_precision_and_recall_of_each_class():
    logits, target = batch()
    p, valid = logits.softmax(1), target != 255
    scores = []
    for c in range(2):
        pc, tc = p[:, c][valid], (target[valid] == c).float()
        precision, recall = (pc * tc).sum() / pc.sum(), (pc * tc).sum() / tc.sum()
        scores.append(2 * precision * recall / (precision + recall))
    torch.testing.assert_close(F1()(logits, target), 1 - torch.stack(scores).mean())
    assert str(F1()) == "F1"


def test_no_labels_cost_nothing_and_count_for_nothing() -> None:
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    target = torch.zeros(1, 2, 2, dtype=torch.long)
    loss = NoLabels()
    value = loss(logits, target)
    value.backward()
    assert float(value.detach()) == loss.count(target) == 0 and str(loss) == "no labels"
    assert logits.grad is not None and not logits.grad.any()
