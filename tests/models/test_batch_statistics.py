"""Statistics of batch normalisation, against numpy and against PyTorch's own training mode."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from builtup.models.batch_statistics import (
    LEAST_POSITIONS,
    BatchStatistics,
    Moments,
    norm_layers,
    with_statistics,
)
from builtup.models.channels import Channels
from builtup.models.heads import class_logits
from builtup.models.networks import create_network
from builtup.models.segmenter import Segmenter
from builtup.models.small import SmallUNet


def _one_layer(mean: float = 0.0, variance: float = 1.0) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(2).eval()
    layer.running_mean.fill_(mean)
    layer.running_var.fill_(variance)
    return layer


def _network(seed: int = 0) -> Segmenter:
    torch.manual_seed(seed)
    channels = Channels("db_3b", (-18.0, -11.0, -14.0), (4.0, 4.0, 4.0))
    return Segmenter(channels, SmallUNet(3, 2, (4, 8, 8, 8))).eval()


def test_a_scene_of_two_halves_has_the_moments_that_numpy_gives() -> None:
    generator = np.random.default_rng(0)
    image = np.concatenate(
        [generator.normal(-3, 1, (1, 2, 64, 32)), generator.normal(5, 2, (1, 2, 64, 32))], axis=3
    ).astype(np.float32)
    found = BatchStatistics(_one_layer(), 1.0)
    found.add(torch.from_numpy(image))
    (moments,) = found.mixed().values()
    assert moments.count == 64 * 64
    np.testing.assert_allclose(moments.mean, image[0].mean(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_allclose(moments.variance, image[0].var(axis=(1, 2)), rtol=1e-5)


def test_what_is_invalid_counts_nowhere() -> None:
    generator = np.random.default_rng(1)
    image = generator.normal(2, 3, (2, 2, 64, 64)).astype(np.float32)
    image[0, :, :20], image[1, :, :, 50:] = np.nan, np.nan
    layer = nn.Sequential(nn.Identity(), _one_layer())

    class Filled(nn.Module):
        """What channels do: a gap is 0."""

        def __init__(self) -> None:
            super().__init__()
            self.norm = layer

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(torch.nan_to_num(x))

    found = BatchStatistics(Filled(), 1.0)
    found.add(torch.from_numpy(image))
    valid = np.isfinite(image).all(axis=1)
    (moments,) = found.mixed().values()
    assert (moments.count, found.pixels) == (valid.sum(), valid.sum())
    for channel in range(2):
        values = image[:, channel][valid]
        np.testing.assert_allclose(moments.mean[channel], values.mean(), rtol=1e-5)
        np.testing.assert_allclose(moments.variance[channel], values.var(), rtol=1e-4)


def test_statistics_alone_are_those_of_pytorchs_training_mode() -> None:
    """With weight 1 and one batch every layer normalises by its batch, as in training."""
    model = _network()
    power = torch.rand((4, 2, 256, 256), generator=torch.Generator().manual_seed(0)) + 0.01
    found = BatchStatistics(model, 1.0)
    adapted = found.add(power)
    torch.testing.assert_close(adapted, _network().train()(power), rtol=1e-3, atol=1e-3)
    made = with_statistics(model, found.mixed())
    with torch.inference_mode():
        torch.testing.assert_close(made(power), adapted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("architecture", "encoder"),
    [("efficient_fpn", "efficientnet-lite0"), ("unet", "tu-mobilenetv3_small_050")],
)
def test_activations_that_are_fused_with_a_normalisation_stay(
    architecture: str, encoder: str
) -> None:
    """With weight 0 nothing is changed, whatever the library puts into a normalisation's layer."""
    torch.manual_seed(0)
    model = create_network(architecture, encoder, in_channels=3, num_classes=2).eval()
    images = torch.rand((2, 3, 64, 64))
    found = BatchStatistics(model, 0.0)
    logits = found.add(images)
    with torch.inference_mode():
        torch.testing.assert_close(logits, class_logits(model(images)))


def test_the_model_is_left_as_it_was() -> None:
    model = _network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    power = torch.full((1, 2, 32, 32), 0.1)
    with torch.inference_mode():
        logits = model(power)
    BatchStatistics(model, 0.8).add(torch.rand((2, 2, 64, 64)))
    with torch.inference_mode():
        assert torch.equal(model(power), logits)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any("forward" in vars(module) for module in model.modules())


def test_weights_mix_means_and_variances() -> None:
    mixed = Moments(0, np.zeros(2), np.full(2, 4.0)).mixed(
        Moments(9, np.array([1.0, -5.0]), np.full(2, 9.0)), 0.8
    )
    np.testing.assert_allclose(mixed.mean, [0.8, -4.0])
    np.testing.assert_allclose(mixed.variance, [8.0, 8.0])


@given(st.lists(st.floats(-9, 9), min_size=2, max_size=20), st.integers(1, 19))
def test_joined_moments_are_those_of_all_values(values: list[float], cut: int) -> None:
    parts = [np.array(part)[None] for part in (values[:cut], values[cut:]) if part]
    of = [Moments(p.size, p.mean(axis=1), p.var(axis=1)) for p in parts]
    joined = of[0] if len(of) == 1 else of[0].joined(of[1])
    assert joined.count == len(values)
    np.testing.assert_allclose(joined.mean[0], np.mean(values), atol=1e-9)
    np.testing.assert_allclose(joined.variance[0], np.var(values), atol=1e-9)


def test_distance_is_the_shift_in_standard_deviations_of_training() -> None:
    found = BatchStatistics(_one_layer(mean=1.0, variance=4.0), 0.8)
    image = torch.zeros((1, 2, 64, 64))
    image[:, 0], image[:, 1] = 7.0, 1.0
    found.add(image)
    assert found.distance() == pytest.approx(np.sqrt((9 + 0) / 2))


def test_a_layer_that_sees_little_keeps_its_training() -> None:
    found = BatchStatistics(_one_layer(), 1.0)
    found.add(torch.rand((1, 2, 7, 7)))
    assert LEAST_POSITIONS > 7 * 7
    assert not found.mixed()
    assert found.distance() == 0


def test_only_running_statistics_of_images_are_adapted() -> None:
    model = nn.Sequential(
        nn.BatchNorm2d(2), nn.BatchNorm2d(2, track_running_stats=False), nn.GroupNorm(1, 2)
    )
    assert list(norm_layers(model)) == ["0"]


def test_variety_tells_a_single_cover() -> None:
    generator = torch.Generator().manual_seed(0)
    speckle = torch.empty((2, 2, 128, 128)).exponential_(generator=generator)
    water, town = BatchStatistics(_network(), 0.8), BatchStatistics(_network(), 0.8)
    water.add(0.01 * speckle)
    speckle[:, :, :64] *= 20
    town.add(0.01 * speckle)
    assert water.variety() < 0.15 < town.variety()
