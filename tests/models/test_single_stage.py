"""Masks from tags in one stage: scores, penalty, gate, cues and the network."""

from __future__ import annotations

import math

import pytest
import torch

from builtup.errors import ConfigError
from builtup.models.single_stage import (
    GlobalCues,
    SingleStage,
    StochasticGate,
    mask_penalty,
    normalised_score,
)


def test_scores_are_those_computed_by_hand() -> None:
    """m = (.2, .8), y = (1, 3): 2.6 / (1 + 1) = 1.3 with a background, 2.6 without."""
    # of the two classes' softmax at each pixel the second one's masks are .2 and .8
    other = torch.tensor([1 - math.log(0.25), 3 - math.log(4.0)])
    logits = torch.stack([other, torch.tensor([1.0, 3.0])])[None, :, None]
    inside = torch.ones(1, 1, 2, dtype=torch.bool)
    with_background, mean = normalised_score(logits, inside, background=0)
    assert float(with_background[0, 1]) == pytest.approx(1.3)
    assert float(mean[0, 1]) == pytest.approx(0.5)
    assert float(normalised_score(logits, inside)[0][0, 1]) == pytest.approx(2.6)
    first, share = normalised_score(logits, torch.tensor([[[True, False]]]))
    assert float(first[0, 1]) == pytest.approx(1.0) and float(share[0, 1]) == pytest.approx(0.2)
    nothing, none = normalised_score(logits, torch.zeros(1, 1, 2, dtype=torch.bool))
    assert float(nothing.abs().max()) == float(none.max()) == 0


def test_the_penalty_of_half_a_mask_is_an_eighth_of_the_logarithm_of_51_hundredths() -> None:
    assert float(mask_penalty(torch.tensor(0.5))) == pytest.approx(-0.0842, abs=5e-5)
    assert float(mask_penalty(torch.tensor(0.5))) == pytest.approx(0.125 * math.log(0.51))
    assert float(mask_penalty(torch.tensor(1.0))) == 0
    assert float(mask_penalty(torch.tensor(0.0))) == pytest.approx(math.log(0.01))


def test_the_gate_has_two_values_by_design() -> None:
    torch.manual_seed(0)
    gate = StochasticGate(0.3)
    deep, shallow = torch.full((1, 1, 400, 400), 2.0), torch.full((1, 1, 400, 400), -1.0)
    drawn = gate(deep, shallow)
    values = drawn.unique()
    torch.testing.assert_close(values, torch.tensor([-1.0, (2 + 0.3) / 0.7]))
    assert float(drawn.mean()) == pytest.approx(2.0, abs=0.02)  # its mean is that of the deep ones
    torch.testing.assert_close(gate.eval()(deep, shallow), torch.full_like(deep, 0.7 * 2 - 0.3))
    with pytest.raises(ConfigError, match="psi = 1"):
        StochasticGate(1)


def test_cues_come_from_anywhere_in_the_deep_features() -> None:
    torch.manual_seed(0)
    cues = GlobalCues(3, 5, 4).eval()
    shallow, deep = torch.rand(1, 3, 8, 8), torch.rand(1, 5, 4, 4)
    plain = cues(shallow, deep)
    assert plain.shape == (1, 4, 8, 8)
    # where in the image deep features are does not matter
    torch.testing.assert_close(cues(shallow, deep.flip(2, 3)), plain)
    assert not torch.allclose(cues(shallow, 9 * deep), plain)


def test_cues_are_those_computed_by_hand() -> None:
    """γ = .2 · 5 = 1 and β = .1 · 5 = .5 of deep (3, 5): shallow (1, 2) become 2.5 and 4.5, times 2
    by the last convolution; a negative cue is none."""
    cues = GlobalCues(1, 1, 1).eval()
    deep, shallow = torch.tensor([[[[3.0, 5.0]]]]), torch.tensor([[[[1.0, 2.0]]]])
    with torch.no_grad():
        cues.cues[0].weight.copy_(torch.tensor([0.2, 0.1]).reshape(2, 1, 1, 1))
        cues.reduce[0].weight.fill_(1.0)
        cues.fuse[0].weight.fill_(2.0)
        found = cues(shallow, deep)
        torch.testing.assert_close(found, torch.tensor([[[[5.0, 9.0]]]]), rtol=1e-4, atol=0)
        cues.cues[0].weight[1] = -1.0
        unshifted = cues(shallow, deep).flatten()
        torch.testing.assert_close(unshifted, torch.tensor([4.0, 8.0]), rtol=1e-4, atol=0)


@pytest.mark.parametrize("plain", [False, True])
def test_a_network_gives_logits_and_every_parameter_learns(plain: bool) -> None:
    torch.manual_seed(0)
    network = SingleStage(3, 4, width=4, plain=plain)
    logits = network(torch.rand(2, 3, 32, 48))
    assert logits.shape == (2, 4, 32, 48)
    logits.square().mean().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_the_background_is_the_constant_1_in_its_own_channel() -> None:
    network = SingleStage(3, 3, width=4, background=1).eval()
    with torch.no_grad():
        logits = network(torch.rand(1, 3, 16, 16))
    assert logits.shape == (1, 3, 16, 16) and bool((logits[:, 1] == 1).all())
    with pytest.raises(ConfigError, match="background = 3: no number of 3 classes"):
        SingleStage(3, 3, width=4, background=3)
