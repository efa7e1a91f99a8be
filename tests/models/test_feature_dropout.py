"""Features that are hidden between encoder and decoder."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from builtup.errors import ConfigError
from builtup.models.feature_dropout import complementary, deepest_parts, dropped, single
from builtup.models.small import SmallUNet
from builtup.models.smp import smp_network


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_complementary_factors_sum_to_2_and_half_of_the_pairs_are_whole() -> None:
    factors = complementary(9, range(4), range(4, 8), generator())(64)
    torch.testing.assert_close(factors[:4] + factors[4:8], torch.full((4, 64), 2.0))
    whole = (factors[:4] == 1).all(1)
    assert int(whole.sum()) == 2
    assert set(factors[:4][~whole].flatten().tolist()) == {0.0, 2.0}
    assert (factors[8] == 1).all()  # no view of the two


def test_single_factors_are_0_or_2_and_of_their_rows_only() -> None:
    factors = single(3, [1], generator())(1000)
    assert set(factors[1].tolist()) == {0.0, 2.0}
    assert float(factors[1].mean()) == pytest.approx(1, abs=0.1)
    assert (factors[[0, 2]] == 1).all()


def test_two_views_must_be_pairs() -> None:
    with pytest.raises(ValueError, match="3 and 2 rows: complementary views are pairs"):
        complementary(5, range(3), range(3, 5), generator())


@pytest.mark.parametrize(
    "network",
    [SmallUNet(3, 2, (4, 8)), smp_network("unet", "mobilenet_v2", in_channels=3, num_classes=2)],
    ids=["down", "encoder"],
)
def test_rows_that_hide_nothing_are_what_they_were_and_the_hook_goes(network: nn.Module) -> None:
    network.eval()
    image = torch.rand(2, 3, 32, 32, generator=generator(1))
    with torch.no_grad():
        plain = network(image)
        with dropped(network, single(2, [1], generator())):
            hidden = network(image)
        torch.testing.assert_close(hidden[0], plain[0])
        assert not torch.allclose(hidden[1], plain[1])
        torch.testing.assert_close(network(image), plain)


class Pooling(nn.Module):
    """An encoder that gives features, places and what it was given."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        features, places = nn.functional.max_pool2d(x, 2, return_indices=True)
        return x, features, places


def test_places_of_pooling_and_the_input_stay() -> None:
    network = nn.Module()
    network.encoder = Pooling()
    image = torch.rand(1, 8, 4, 4)
    plain = network.encoder(image)
    with dropped(network, single(1, [0], generator())):
        image_too, features, places = network.encoder(image)
    assert image_too is image
    torch.testing.assert_close(places, plain[2])
    factors = (features / plain[1]).flatten(2)[0, :, 0]
    assert set(factors.round().tolist()) == {0.0, 2.0}


def test_a_network_whose_features_cannot_be_found_is_refused() -> None:
    with pytest.raises(ConfigError, match="network Conv2d has no encoder, and no list `down`"):
        deepest_parts(nn.Conv2d(1, 1, 1))
    compiled = nn.Module()  # as torch.compile wraps a network
    compiled._orig_mod = SmallUNet(3, 2, (4, 8))
    with pytest.raises(ConfigError, match="set compile = False"):
        deepest_parts(compiled)
