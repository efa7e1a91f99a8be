import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import tv_tensors

from builtup.data.transforms import (
    RandomCrop,
    RandomPixelSize,
    RandomQuarterTurn,
    RandomResizedCrop,
    ResizePower,
    dihedral,
    ignore_gaps,
    pad_sample,
    resize_levels,
    resize_power,
)
from builtup.errors import ConfigError

sides = st.integers(1, 90)


def mean_band(image):
    return (image[0] + image[1]) * 0.5


@given(sides, sides, st.integers(1, 40), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_a_random_crop_lies_in_the_tile_or_holds_all_of_it(height, width, size, seed):
    torch.manual_seed(seed)
    w = RandomCrop(size).window(height, width)
    assert (w.height, w.width) == (size, size)
    for start, length in ((w.y, height), (w.x, width)):
        if length >= size:
            assert 0 <= start <= length - size
        else:
            assert start <= 0 and start + size >= length


@given(sides, sides, st.integers(8, 60), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_a_resized_crop_keeps_pixels_near_their_size_on_the_ground(height, width, size, seed):
    torch.manual_seed(seed)
    w = RandomResizedCrop(size).window(height, width)
    for side in (w.height, w.width):
        assert 0.7**0.5 * 0.95 - 1 / size <= side / (size * 16 / 15) <= 1.05 + 1 / size
    nominal = round(size * 16 / 15)
    if height >= nominal and width >= nominal:
        assert w.y >= 0 and w.x >= 0 and w.y + w.height <= height and w.x + w.width <= width


@given(sides, sides, st.integers(8, 60), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_pixels_of_another_size_lie_in_the_tile_or_hold_all_of_it(height, width, size, seed):
    torch.manual_seed(seed)
    w = RandomPixelSize(size, (0.7, 1.4)).window(height, width)
    assert w.height == w.width and 0.7 * size - 1 <= w.height <= 1.4 * size + 1
    for start, side, length in ((w.y, w.height, height), (w.x, w.width, width)):
        if length >= side:
            assert 0 <= start <= length - side
        else:
            assert start <= 0 and start + side >= length


def test_pixel_sizes_are_spread_evenly_in_their_logarithm():
    torch.manual_seed(0)
    crop = RandomPixelSize(400, (0.5, 2.0))
    sides = torch.tensor([crop.window(900, 900).height for _ in range(1600)])
    octaves = (sides[sides != 400] / 400).log2()
    assert 700 < len(octaves) < 900  # half of the samples keep their pixels
    assert octaves.mean().abs() < 0.07
    assert octaves.std().item() == pytest.approx(2 / 12**0.5, abs=0.03)
    assert octaves.min() < -0.95 and octaves.max() > 0.95


@pytest.mark.parametrize("factors", [(0.0, 1.0), (1.4, 0.7), (1.0, float("inf"))])
def test_pixel_sizes_out_of_range_are_refused(factors):
    with pytest.raises(ConfigError, match="pixel_size"):
        RandomPixelSize(8, factors)


@given(st.integers(20, 70), st.integers(0, 2**31 - 1))
@settings(max_examples=30, deadline=None)
def test_image_and_mask_are_resized_onto_each_other(side, seed):
    """A block of bright pixels stays under its mask, to within a pixel of its outline."""
    torch.manual_seed(seed)
    y, x = (int(torch.randint(side - 10, ())) for _ in range(2))
    mask = torch.zeros(side, side, dtype=torch.uint8)
    mask[y : y + 10, x : x + 10] = 1
    image, labels = ResizePower(48)(
        tv_tensors.Image(mask.float().repeat(2, 1, 1) + 1), tv_tensors.Mask(mask)
    )
    half = image[0].as_subclass(torch.Tensor) > 1.5
    different = half != (labels.as_subclass(torch.Tensor) == 1)
    assert different.sum() <= 4 * (10 * 48 / side + 1)
    assert half.sum().item() == pytest.approx(labels.sum().item(), rel=0.35)


def test_a_resized_crop_of_480_from_512_is_torchvisions():
    from torchvision.transforms import v2

    ours, theirs = RandomResizedCrop(480), v2.RandomResizedCrop(480, (0.7, 1.0), (0.9, 1.1))
    for seed in range(20):
        torch.manual_seed(seed)
        w = ours.window(512, 512)
        torch.manual_seed(seed)
        p = theirs.make_params([torch.empty(1, 512, 512)])
        assert (w.y, w.x, w.height, w.width) == (p["top"], p["left"], p["height"], p["width"])


def test_crops_reach_every_corner_of_a_larger_tile():
    torch.manual_seed(0)
    windows = [RandomResizedCrop(32).window(200, 200) for _ in range(400)]
    assert min(w.x for w in windows) < 5 and max(w.x + w.width for w in windows) > 195
    assert min(w.y for w in windows) < 5 and max(w.y + w.height for w in windows) > 195


def test_resizing_a_constant_with_gaps_gives_the_constant_and_gaps():
    image = torch.full((3, 40, 50), 0.125)
    image[:, :, :20] = torch.nan
    image[:, 30:, 30] = torch.nan
    out = resize_power(image, (36, 47))
    gaps = torch.isnan(out)
    assert (gaps == gaps[0]).all()
    torch.testing.assert_close(out[~gaps], torch.full_like(out[~gaps], 0.125))
    # the edge of the gap stays where it was, to within half a pixel
    edge = gaps[0, 0].sum().item()
    assert abs(edge - 20 * 47 / 50) <= 0.5


def test_resizing_without_gaps_is_torchvisions_bilinear():
    image = torch.rand(3, 33, 41)
    expected = torch.nn.functional.interpolate(
        image[None], (48, 48), mode="bilinear", align_corners=False, antialias=True
    )[0]
    torch.testing.assert_close(resize_power(image, (48, 48)), expected)


def test_a_value_never_leaves_the_range_of_its_valid_neighbours():
    torch.manual_seed(0)
    image = torch.rand(3, 30, 30) + 1
    image[:, torch.rand(30, 30) < 0.4] = torch.nan
    out = resize_power(image, (41, 41))
    valid = out[~torch.isnan(out)]
    assert len(valid) > 500
    assert valid.min() >= 1 and valid.max() <= 2


def test_masks_take_the_nearest_value_and_what_fits_is_untouched():
    mask = torch.randint(0, 2, (20, 30), dtype=torch.uint8)
    mask[5] = 255
    out = ResizePower(24)(tv_tensors.Mask(mask))
    assert out.shape == (24, 24) and set(out.unique().tolist()) <= {0, 1, 255}
    rows = ((torch.arange(24) + 0.5) * 20 / 24).floor().long()
    columns = ((torch.arange(24) + 0.5) * 30 / 24).floor().long()
    torch.testing.assert_close(out.as_subclass(torch.Tensor), mask[rows][:, columns])
    image = tv_tensors.Image(torch.full((3, 24, 24), torch.nan))
    assert ResizePower(24)(image) is image


def test_image_and_mask_are_turned_and_flipped_together_in_all_eight_ways():
    torch.manual_seed(0)
    values = torch.arange(36.0).reshape(6, 6)
    seen = set()
    for _ in range(80):
        image, mask = dihedral()(
            tv_tensors.Image(values.repeat(3, 1, 1)), tv_tensors.Mask(values.to(torch.uint8))
        )
        torch.testing.assert_close(image[0].to(torch.uint8).data, mask.data)
        seen.add(tuple(mask.flatten().tolist()))
    assert len(seen) == 8
    expected = {
        tuple(np.rot90(flip, k).astype(int).ravel().tolist())
        for flip in (values.numpy(), values.numpy()[:, ::-1])
        for k in range(4)
    }
    assert seen == expected


def test_a_quarter_turn_keeps_the_kind_of_its_input():
    image, mask = RandomQuarterTurn()(
        tv_tensors.Image(torch.rand(3, 4, 4)), tv_tensors.Mask(torch.zeros(4, 4))
    )
    assert isinstance(image, tv_tensors.Image) and isinstance(mask, tv_tensors.Mask)


def test_gaps_of_the_image_are_ignored_in_the_mask():
    image = torch.rand(3, 4, 4)
    image[1, 2, 3] = torch.nan
    mask = ignore_gaps(image, torch.ones(4, 4, dtype=torch.uint8))
    assert mask[2, 3] == 255 and (mask == 1).sum() == 15


@pytest.mark.parametrize("size", [(5, 7), (9, 9)])
def test_padding_is_no_data_to_the_right_and_below(size):
    image, mask = torch.rand(3, 5, 7), torch.zeros(5, 7, dtype=torch.int64)
    out, padded = pad_sample(image, mask, *size)
    assert out.shape == (3, *size) and padded.shape == size
    torch.testing.assert_close(out[:, :5, :7], image)
    assert torch.isnan(out[:, 5:]).all() and torch.isnan(out[:, :, 7:]).all()
    assert (padded[5:] == 255).all() and (padded[:, 7:] == 255).all()
    assert (padded[:5, :7] == 0).all()


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**31 - 1))
@settings(max_examples=40, deadline=None)
def test_levels_resized_by_area_keep_their_sum(side, height, width, seed):
    """To half a level a pixel, which is what rounding costs; nothing is eroded or widened."""
    generator = torch.Generator().manual_seed(seed)
    levels = torch.randint(0, 255, (side, side), generator=generator, dtype=torch.uint8)
    resized = resize_levels(levels, (height, width))
    assert resized.shape == (height, width) and resized.dtype == torch.uint8
    areas = side * side / (height * width)
    assert abs(resized.double().sum() * areas - levels.double().sum()) <= 0.5 * side**2 + 1e-6


def test_levels_by_area_by_hand():
    levels = torch.tensor([[252, 0, 0, 124], [252, 0, 255, 255]], dtype=torch.uint8)
    assert resize_levels(levels, (1, 2)).tolist() == [[126, 62]]  # (0 + 124) / 2, half is known
    assert resize_levels(levels, (2, 3)).tolist() == [[189, 0, 93], [189, 0, 255]]
    gap = torch.tensor([[9, 255, 255, 255]], dtype=torch.uint8)
    assert resize_levels(gap, (1, 1)).tolist() == [[255]]


def test_levels_of_several_classes_are_resized_one_by_one():
    levels = torch.randint(0, 255, (3, 6, 8), dtype=torch.uint8)
    levels[:, :2] = 255
    resized = resize_levels(levels, (3, 4))
    assert resized.shape == (3, 3, 4) and (resized[:, 0] == 255).all()
    for one, of_all in zip(levels, resized, strict=True):
        assert torch.equal(resize_levels(one, (3, 4)), of_all)


def test_a_soft_mask_is_resized_by_area_and_a_hard_one_to_the_nearest():
    mask = tv_tensors.Mask(torch.tensor([[0, 1, 1, 1]] * 4, dtype=torch.uint8) * 100)
    assert ResizePower(2, soft=True)(mask).tolist() == [[50, 100]] * 2
    assert set(ResizePower(2)(mask).unique().tolist()) <= {0, 100}
