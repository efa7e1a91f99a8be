"""Augmentation of cameras' samples: gaps stay gaps, and all layers move alike."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from builtup.data.optical import Optical, blur_known, jitter, warp, warp_mask
from builtup.errors import ConfigError
from helpers import ROOT

NAN, IGNORE = float("nan"), 255

EVERYTHING = Optical(
    brightness=0.3,
    contrast=0.3,
    saturation=0.3,
    hue=0.05,
    blur=2.0,
    shift=0.1,
    rotate=20,
    shear=8,
    cutout=(2, 0.2),
)


def image(gap: bool = True) -> Tensor:
    found = torch.rand(3, 32, 40, generator=torch.Generator().manual_seed(0)) * 255
    if gap:
        found[:, 4:12, 20:30] = NAN
    return found


def layers() -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(1)
    mask = torch.randint(0, 6, (32, 40), generator=g).to(torch.uint8)
    height = torch.rand(1, 32, 40, generator=g) * 10
    height[0, :6, :6] = NAN
    return {"image": image(), "mask": mask, "height": height}


def run(optical: Optical, seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    moved = optical.move(layers())
    return moved | {"image": optical(moved["image"])}


def test_the_defaults_change_nothing_and_draw_nothing() -> None:
    state = torch.default_generator.get_state()
    before, plain = layers(), Optical()
    moved = plain.move(before)
    assert all(moved[name] is values for name, values in before.items())
    assert plain(before["image"]) is before["image"]
    assert torch.equal(torch.default_generator.get_state(), state)


def test_a_seed_decides_all_of_it() -> None:
    for seed in range(3):
        one, two = run(EVERYTHING, seed), run(EVERYTHING, seed)
        for name, values in one.items():
            torch.testing.assert_close(values, two[name], equal_nan=True, rtol=0, atol=0)
    other = run(EVERYTHING, 7)["image"]
    assert not torch.equal(other.nan_to_num(), run(EVERYTHING, 8)["image"].nan_to_num())


def test_colours_change_where_they_lie_and_gaps_stay_gaps() -> None:
    before, optical = image(), Optical(0.4, 0.4, 0.4, 0.1, blur=2.0)
    for seed in range(5):
        torch.manual_seed(seed)
        after = optical(before)
        assert torch.equal(after.isnan(), before.isnan())
        known = after[~after.isnan()]
        assert known.min() >= 0 and known.max() <= 255


def test_jitter_is_torchvisions_and_what_is_unknown_weighs_nowhere() -> None:
    whole = image(gap=False)
    expected = F.adjust_saturation(
        F.adjust_contrast(F.adjust_brightness(whole / 255, 1.2), 0.8), 1.3
    )
    torch.testing.assert_close(jitter(whole, 1.2, 0.8, 1.3, 0.0), expected * 255)
    # contrast is about the mean grey of known pixels: a sample that is half gap is as its half
    half = whole.clone()
    half[:, :, 20:] = NAN
    torch.testing.assert_close(
        jitter(half, 1, 1.5, 1, 0)[:, :, :20], jitter(whole[:, :, :20], 1, 1.5, 1, 0)
    )


def test_a_factor_of_brightness_by_hand() -> None:
    grey = torch.full((3, 2, 2), 100.0)
    torch.testing.assert_close(jitter(grey, 1.5, 1, 1, 0), torch.full((3, 2, 2), 150.0))
    torch.testing.assert_close(jitter(grey, 3.0, 1, 1, 0), torch.full((3, 2, 2), 255.0))


def test_a_blur_averages_known_pixels_among_themselves() -> None:
    flat = torch.full((3, 20, 20), 80.0)
    flat[:, 5:9, 5:9] = NAN
    after = blur_known(flat, 2.0)
    assert torch.equal(after.isnan(), flat.isnan())
    torch.testing.assert_close(after[~after.isnan()], flat[~flat.isnan()])
    sharp = image(gap=False)
    torch.testing.assert_close(blur_known(sharp, 1.0), F.gaussian_blur(sharp, [7, 7], [1.0, 1.0]))
    for small in (torch.ones(3, 1, 1), torch.ones(3, 2, 3)):
        torch.testing.assert_close(blur_known(small, 5.0), small)


def test_image_mask_and_height_move_alike() -> None:
    """A mask drawn as image and height: after any move its classes still lie where they did."""
    square = torch.zeros(64, 64, dtype=torch.uint8)
    square[20:44, 12:36] = 1
    seen = 0
    for seed in range(12):
        torch.manual_seed(seed)
        moved = Optical(shift=0.2, rotate=40, shear=15).move(
            {
                "image": 200.0 * square.expand(3, 64, 64),
                "mask": square,
                "height": 8.0 * square[None],
            }
        )
        known = ~moved["image"].isnan().any(0) & (moved["mask"] != IGNORE)
        assert torch.equal(moved["image"][0].isnan(), moved["height"][0].isnan())
        seen += not torch.equal(moved["mask"], square)
        for values, full in ((moved["image"][0], 200), (moved["height"][0], 8)):
            sure = known & ((values < 0.1 * full) | (values > 0.9 * full))
            assert sure.sum() > 0.8 * known.sum()
            assert torch.equal(values[sure] > full / 2, moved["mask"][sure] == 1)
    assert 2 < seen < 10  # half of them


def test_a_shift_by_whole_pixels_by_hand_and_what_comes_in_is_unknown() -> None:
    values = torch.arange(12.0).reshape(1, 3, 4)
    values[0, 1, 1] = NAN
    moved = warp(values, 0.0, [1, 0], [0.0, 0.0])
    expected = torch.tensor([[[NAN, 0, 1, 2], [NAN, 4, NAN, 6], [NAN, 8, 9, 10]]])
    torch.testing.assert_close(moved, expected, equal_nan=True)
    mask = torch.tensor([[0, 1], [2, 3]], dtype=torch.uint8)
    assert warp_mask(mask, 0.0, [0, 1], [0.0, 0.0]).tolist() == [[255, 255], [0, 1]]


def test_known_pixels_are_interpolated_among_themselves() -> None:
    """A plane stays its own value up to its edge, however it is turned."""
    plane = torch.full((3, 30, 30), 120.0)
    plane[:, :, :10] = NAN
    moved = warp(plane, 23.0, [0.5, 2.25], [5.0, 0.0])
    known = moved[~moved.isnan()]
    torch.testing.assert_close(known, torch.full_like(known, 120.0))
    assert 0.3 < (~moved.isnan()).float().mean() < 0.7


def test_a_quarter_turn_is_that_of_rot90() -> None:
    """Clockwise, of a square."""
    values, mask = torch.rand(2, 8, 8), torch.arange(64, dtype=torch.uint8).reshape(8, 8)
    still = [0.0, 0.0]
    torch.testing.assert_close(warp(values, 90, still, still), values.rot90(-1, (1, 2)))
    assert torch.equal(warp_mask(mask, 90, still, still), mask.rot90(-1, (0, 1)))


def test_cutout_hides_squares_of_the_image_and_no_label() -> None:
    torch.manual_seed(0)
    optical, before = Optical(cutout=(3, 0.25)), layers()
    assert optical.move(before)["mask"] is before["mask"]
    whole = image(gap=False)
    hidden = optical(whole).isnan()
    assert hidden.any() and hidden.all(0).sum() * 3 == hidden.sum()
    assert hidden[0].sum() <= 3 * 8 * 8 and not whole.isnan().any()


@pytest.mark.parametrize(
    ("name", "value"),
    [("brightness", 1.5), ("hue", 0.6), ("blur", -1), ("rotate", 200), ("shear", 90), ("shift", 2)],
)
def test_values_out_of_their_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name} = {value}: expected 0 to"):
        Optical(**{name: value})


def test_a_cutout_out_of_its_range_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cutout = \(0, 0.5\): expected \(most squares"):
        Optical(cutout=(0, 0.5))


def test_configs_may_import_it_without_torchvision() -> None:
    code = "import sys, builtup.data.optical; print('torchvision' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "code")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == "False"
