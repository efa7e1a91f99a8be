"""Views are averaged as probabilities; a network without a direction does not notice them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from builtup.errors import ConfigError
from builtup.prediction.network import make_stream, predict_array
from builtup.prediction.tta import TTA_SETS, average_views, views_of
from builtup.prediction.windows import Stream


class Equivariant(nn.Module):
    """Filters with the symmetry of a square: turning the image turns the logits."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        kernel = torch.randn((6, 2, 3, 3), generator=generator)
        turned = [k for i in range(4) for k in (kernel.rot90(i, (2, 3)),)]
        turned += [k.flip(3) for k in turned]
        self.first = nn.Parameter(torch.stack(turned).mean(0))
        self.last = nn.Parameter(torch.randn((2, 6, 1, 1), generator=generator))

    def forward(self, power: Tensor) -> Tensor:
        hidden = nn.functional.conv2d(power.nan_to_num(0), self.first, padding=1).tanh()
        return nn.functional.conv2d(hidden, self.last)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        *(("none", 1), ("hflip", 2), ("vflip", 2), ("flips", 4), ("transpose", 2)),
        *(("rotations", 4), ("d4", 8)),
    ],
)
def test_a_set_has_distinct_views_and_each_is_undone(name: str, count: int) -> None:
    image = torch.arange(9.0).view(1, 1, 3, 3)
    views = views_of(name)
    assert len({tuple(v.augment_image(image).flatten().tolist()) for v in views}) == count
    for view in views:
        assert torch.equal(view.deaugment_mask(view.augment_image(image)), image)


def test_every_view_of_every_set_is_one_of_the_eight_symmetries_and_undone_as_such() -> None:
    """Against numpy: a wrong inverse of any view, alone or after another set's, shows."""
    image = torch.arange(50.0).view(1, 2, 5, 5)
    plain = image.numpy()
    turned = [np.rot90(plain, k, (2, 3)) for k in range(4)]
    eight = {one.tobytes() for t in turned for one in (t, t[..., ::-1])}
    assert len(eight) == 8
    seen = set()
    for outer in [view for name in TTA_SETS for view in views_of(name)]:
        once = outer.augment_image(image)
        assert once.numpy().tobytes() in eight
        assert torch.equal(outer.deaugment_mask(once), image)
        for inner in views_of("flips"):
            twice = inner.augment_image(once)
            seen.add(twice.numpy().tobytes())
            back = outer.deaugment_mask(inner.deaugment_mask(twice))
            assert torch.equal(back, image)
    assert seen == eight


def test_flips_are_none_both_ways_and_both() -> None:
    image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    views = {tuple(v.augment_image(image).flatten().tolist()) for v in views_of("flips")}
    assert views == {(1, 2, 3, 4), (2, 1, 4, 3), (3, 4, 1, 2), (4, 3, 2, 1)}
    other = [v.augment_image(image).flatten().tolist() for v in views_of("transpose")]
    assert other == [[1, 2, 3, 4], [1, 3, 2, 4]]


@given(st.integers(0, 1000), st.sampled_from(sorted(TTA_SETS)), st.booleans())
def test_an_equivariant_network_gives_one_map_under_every_tta(
    seed: int, tta: str, gaps: bool
) -> None:
    generator = np.random.default_rng(seed)
    scene = generator.random((2, 30, 23), dtype=np.float32)
    if gaps:
        scene[:, generator.random((30, 23)) < 0.2] = np.nan
    maps = [
        predict_array(scene, make_stream(Equivariant(seed), window=12, overlap=4, tta=t))
        for t in ("none", tta)
    ]
    assert np.abs(maps[0].astype(int) - maps[1].astype(int)).max() <= 1


@given(st.integers(0, 254), st.sampled_from(sorted(TTA_SETS)))
def test_constants_stay_exact_under_every_tta(k: int, tta: str) -> None:
    def network(power: Tensor) -> Tensor:
        return torch.full_like(power[:, :1], k / 254)

    views = views_of(tta)
    stream = Stream(lambda power: average_views(network, power, views), window=8, overlap=3)
    assert (predict_array(np.ones((2, 19, 11), np.float32), stream) == k).all()


def test_probabilities_are_averaged_and_views_go_through_together() -> None:
    calls = []

    def network(power: Tensor) -> Tensor:
        calls.append(power.shape)
        return torch.linspace(0, 1, power.shape[3]).expand(len(power), 1, *power.shape[2:])

    mean = average_views(network, torch.zeros(3, 2, 4, 4), views_of("hflip"))
    assert calls == [(6, 2, 4, 4)]
    torch.testing.assert_close(mean, torch.full((3, 1, 4, 4), 0.5))


def test_an_unknown_set_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="none, hflip, vflip, flips, transpose, rotations, d4"):
        views_of("sideways")
