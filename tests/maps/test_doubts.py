"""What speaks against a map: told from its probabilities alone."""

from __future__ import annotations

import numpy as np
import pytest

from builtup.maps.doubts import map_doubts


def levels(**pixels: int) -> np.ndarray:
    """Pixels by level: `v10=500` for 500 pixels of the value 10."""
    counts = np.zeros(255, np.int64)
    for name, count in pixels.items():
        counts[int(name[1:])] = count
    return counts


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (levels(v10=90_000, v240=10_000), []),
        (levels(v120=60_000, v122=40_000), ["hardly vary (0.48 ± 0.004)", "nothing is mapped"]),
        (levels(v10=100_000, v100=100_000), ["nothing is mapped"]),
        (levels(v10=4_000, v240=96_000), ["96% of the ground"]),
        (levels(v10=100_000, v100=100_000, v240=5), ["next to nothing (0.0025% of the ground)"]),
        (levels(v120=999), []),  # too few to tell
    ],
)
def test_doubts_are_told_from_the_levels(counts: np.ndarray, expected: list[str]) -> None:
    found = map_doubts(counts, 0.5, "building")
    assert len(found) == len(expected)
    for text, part in zip(found, expected, strict=True):
        assert part in text


def test_the_threshold_decides_what_is_mapped() -> None:
    counts = levels(v10=4_000, v200=96_000)
    assert map_doubts(counts, 0.5, "roof") == ("96% of the ground is mapped as roof",)
    assert map_doubts(counts, 0.9, "roof") == ("nothing is mapped as roof",)
