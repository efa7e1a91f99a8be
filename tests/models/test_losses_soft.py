"""Losses of soft labels: divergences by hand, what is unknown, temperatures."""

import math

import pytest
import torch

from builtup.errors import ConfigError
from builtup.models.losses import SoftLabels


def as_logits(*probabilities):
    """Logits (1, 2, 1, W) of pixels of these probabilities of class 1."""
    p = torch.tensor(probabilities, dtype=torch.float64)
    return torch.stack([(1 - p).log(), p.log()])[None, :, None]


def test_soft_labels_are_the_divergence_by_hand():
    """KL((.2, .8) ‖ (.5, .5)) = .8 ln 1.6 + .2 ln .4 = .1927; 203/254 is .7992."""
    target = torch.tensor([[[203]]])
    p = 203 / 254
    exact = p * math.log(p / 0.5) + (1 - p) * math.log((1 - p) / 0.5)
    found = float(SoftLabels()(as_logits(0.5), target))
    assert found == pytest.approx(exact, rel=1e-6)
    assert found == pytest.approx(0.1927, abs=2e-3)
    assert float(SoftLabels()(as_logits(p), target)) == pytest.approx(0, abs=1e-9)
    # of sure labels it is cross-entropy
    sure = torch.tensor([[[254, 0]]])
    assert float(SoftLabels()(as_logits(0.9, 0.2), sure)) == pytest.approx(
        -(math.log(0.9) + math.log(0.8)) / 2
    )
    assert float(SoftLabels(mapped=0)(as_logits(0.1, 0.8), sure)) == pytest.approx(
        -(math.log(0.9) + math.log(0.8)) / 2
    )


def test_soft_labels_leave_out_what_is_unknown():
    logits = as_logits(0.3, 0.6).requires_grad_()
    both, one = torch.tensor([[[100, 255]]]), torch.tensor([[[100]]])
    assert float(SoftLabels()(logits, both)) == pytest.approx(
        float(SoftLabels()(logits[..., :1], one))
    )
    nothing = SoftLabels()(logits, torch.full((1, 1, 2), 255))
    nothing.backward()
    assert float(nothing) == 0 and not logits.grad.any()


def test_a_temperature_softens_both_sides():
    """Logit ln 9 of .9 halved is ln 3, of .75; times T², here 4."""
    level = round(254 * 0.9)
    q, p = 0.5, level / 254
    softer = p**0.5 / (p**0.5 + (1 - p) ** 0.5)
    assert softer == pytest.approx(0.75, abs=2e-3)
    exact = softer * math.log(softer / q) + (1 - softer) * math.log((1 - softer) / q)
    found = SoftLabels(2.0)(as_logits(q), torch.tensor([[[level]]]))
    assert float(found) == pytest.approx(4 * exact)
    assert str(SoftLabels(2.0)) == "KL(temperature 2)" and str(SoftLabels()) == "KL()"


def test_soft_labels_of_three_classes_are_the_divergence_by_hand():
    """(½, ½, 0) against a third each: 2 · ½ ln(½ / ⅓) = ln 1.5; with a temperature times T²."""
    target = torch.tensor([[127, 255], [127, 0], [0, 254]]).reshape(1, 3, 1, 2)  # one is unknown
    even = torch.zeros(1, 3, 1, 2, dtype=torch.float64, requires_grad=True)
    loss = SoftLabels()(even, target)
    assert float(loss) == pytest.approx(math.log(1.5))
    loss.backward()  # q − p of the pixel that is known
    assert even.grad[0, :, 0].T.tolist() == [pytest.approx([-1 / 6, -1 / 6, 1 / 3]), [0.0] * 3]
    assert float(SoftLabels(2.0)(even, target)) == pytest.approx(4 * math.log(1.5))
    # levels that do not sum to 254 are of a whole all the same
    short = torch.tensor([126, 126, 0]).reshape(1, 3, 1, 1)
    assert float(SoftLabels()(even[..., :1], short)) == pytest.approx(math.log(1.5))
    nothing = SoftLabels()(even, torch.full((1, 3, 1, 2), 255))
    assert float(nothing) == 0


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_soft_labels_of_two_bands_are_those_of_one(temperature):
    logits = torch.randn(2, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    level = torch.arange(24).reshape(2, 3, 4) * 11
    loss = SoftLabels(temperature)
    both = torch.stack([254 - level, level], 1)
    assert float(loss(logits, both)) == pytest.approx(float(loss(logits, level)), rel=1e-6)


def test_soft_labels_are_of_the_network_s_classes_and_a_temperature_above_0():
    with pytest.raises(ConfigError, match="labels of 2 classes, a network of 3"):
        SoftLabels()(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64))
    with pytest.raises(ConfigError, match="labels of 3 classes, a network of 2"):
        SoftLabels()(torch.zeros(1, 2, 2, 2), torch.zeros(1, 3, 2, 2, dtype=torch.int64))
    with pytest.raises(ConfigError, match="expected a temperature above 0"):
        SoftLabels(0.0)
