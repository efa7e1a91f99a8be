"""Rectangles of other samples."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from builtup.data.mixing import AREA, cutmix, cutmix_boxes, seeded


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(2, 70), st.integers(2, 70), st.integers(0, 2**31))
def test_a_box_is_one_rectangle_within_the_image(height: int, width: int, seed: int) -> None:
    (box,) = cutmix_boxes(1, height, width, 1.0, generator(seed))
    rows, columns = box.any(1), box.any(0)
    assert bool((box == rows[:, None] & columns).all())
    for side in (rows, columns):
        assert int(side.sum()) >= 1 and int(side.int().diff().abs().sum()) <= 2


def test_areas_are_those_that_were_asked_for_and_as_often() -> None:
    boxes = cutmix_boxes(400, 64, 64, 0.5, generator())
    areas = boxes.float().mean((1, 2))
    some = areas[areas > 0]
    assert 160 < len(some) < 240
    assert AREA[0] * 0.9 < float(some.min()) and float(some.max()) < AREA[1] * 1.1
    assert not cutmix_boxes(20, 8, 8, 0.0, generator()).any()


def test_images_maps_and_masks_are_mixed_alike() -> None:
    boxes = torch.zeros(2, 2, 2, dtype=torch.bool)
    boxes[0, 0, 1] = True
    mask = torch.tensor([[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
    mixed = cutmix(mask, [1, 0], boxes)
    assert mixed.tolist() == [[[1, 6], [3, 4]], [[5, 6], [7, 8]]]
    image = torch.stack([mask, 10 * mask], 1)
    torch.testing.assert_close(cutmix(image, [1, 0], boxes)[:, 1], 10 * mixed)


def test_what_is_drawn_by_a_seed_leaves_the_generator_alone() -> None:
    torch.manual_seed(3)
    state = torch.default_generator.get_state()
    with seeded(5):
        first = torch.rand(2)
    with seeded(5):
        torch.testing.assert_close(torch.rand(2), first)
    assert bool((torch.default_generator.get_state() == state).all())
    with seeded(None):
        torch.rand(2)
    assert not bool((torch.default_generator.get_state() == state).all())
