"""Pictures of tiles."""

from __future__ import annotations

import numpy as np

from builtup.training.pictures import LEAST_SIDE, tile_picture


def test_a_picture_shows_five_panels_large_enough_to_read() -> None:
    rng = np.random.default_rng(0)
    power = rng.exponential(0.1, (3, 32, 48)).astype(np.float32)
    label = rng.integers(0, 2, (32, 48))
    picture = tile_picture(power, label.astype(np.float32), label, label, "a tile")
    side = LEAST_SIDE // 32
    assert picture.width == 5 * 48 * side + 4 * 4
    panels = np.asarray(picture)[16 : 16 + 32 * side : side, ::side]
    probability, truth = (panels[:, i : i + 48, 0] for i in (_left(1, side), _left(2, side)))
    assert ((probability > 127) == (label == 1)).all()
    assert ((truth > 127) == (label == 1)).all()


def _left(panel: int, side: int) -> int:
    """First sampled column of a panel; the gaps of 4 px are less than a pixel of the tile."""
    return -(-(panel * (48 * side + 4)) // side)
