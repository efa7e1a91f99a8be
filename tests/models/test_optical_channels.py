"""Channels of cameras: as their numpy twins, with heights that may be unknown."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from builtup.errors import ConfigError
from builtup.models.channels import Channels, required_of
from builtup.models.optical_channels import OPTICAL_FORMULAS
from builtup.sensors.optical.cameras import OPTICAL_SETS, RGB


def image(inputs: int, seed: int = 0) -> torch.Tensor:
    """(2, inputs, 6, 7): colours, one gap in them; of four inputs a height, one gap in it."""
    generator = torch.Generator().manual_seed(seed)
    bands = torch.rand((2, inputs, 6, 7), generator=generator) * 255
    bands[0, 1, 2, 3] = torch.nan
    if inputs == 4:
        bands[:, 3] = bands[:, 3] / 20
        bands[1, 3, :2] = torch.nan
    return bands


@pytest.mark.parametrize("name", OPTICAL_FORMULAS)
def test_channels_are_those_of_the_numpy_twin(name: str) -> None:
    channels = Channels(name)
    assert channels.names == OPTICAL_SETS[name].names
    bands = image(len(channels.inputs))
    got = channels(bands)
    for one, out in zip(bands.numpy(), got.numpy(), strict=True):
        seen = ~RGB.invalid(one, None)
        np.testing.assert_allclose(
            out[:, seen], OPTICAL_SETS[name].compute(*one[:, seen]), rtol=1e-6
        )
        assert (out[:, ~seen] == 0).all()


def test_an_unknown_height_is_the_training_mean_and_said_to_be_unknown() -> None:
    channels = Channels("rgb_height", (100, 100, 100, 3, 0), (50, 50, 50, 2, 1))
    bands = image(4)
    got, unknown = channels(bands), torch.isnan(bands[:, 3])
    assert (got[:, 3][unknown] == 0).all() and (got[:, 4][unknown] == 0).all()
    assert (got[1, 4, 3:] == 1).all()
    torch.testing.assert_close(got[1, 3, 4], (bands[1, 3, 4] - 3) / 2)
    assert channels.valid(bands).sum() == 2 * 6 * 7 - 1  # a height is no gap


def test_with_no_height_at_all_the_colours_are_what_they_are_with_one() -> None:
    channels = Channels("rgb_height", (100, 100, 100, 3, 0), (50, 50, 50, 2, 1))
    bands = image(4)
    without = bands.clone()
    without[:, 3] = torch.nan
    assert torch.equal(channels(bands)[:, :3], channels(without)[:, :3])
    assert (channels(without)[:, 3:] == 0).all()


def test_whole_images_go_the_short_way_with_the_same_result() -> None:
    channels = Channels("rgb_height", (100, 100, 100, 3, 0), (50, 50, 50, 2, 1))
    bands = torch.rand(1, 4, 5, 5) * 50
    before = bands.clone()
    whole = channels(bands)
    gap = torch.cat([bands, torch.full((1, 4, 1, 5), torch.nan)], dim=2)
    assert torch.equal(whole, channels(gap)[:, :, :5]) and torch.equal(bands, before)


def test_the_bands_make_a_pixel_valid_and_the_layer_does_not() -> None:
    model = torch.nn.Sequential(Channels("rgb_height"))
    assert required_of(model) == 3 and required_of(torch.nn.Identity()) is None
    assert Channels("rgb_height").inputs == ("red", "green", "blue", "height")
    with pytest.raises(ValueError, match=r"expected \(B, 4, H, W\) bands, got \(1, 3, 8, 8\)"):
        Channels("rgb_height")(torch.ones(1, 3, 8, 8))
    with pytest.raises(ConfigError, match="weights are of the channels rgb"):
        Channels("rgb_height").load_state_dict(Channels("rgb").state_dict())
