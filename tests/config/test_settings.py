"""Which values of settings make sense, in words where they do not."""

from __future__ import annotations

from typing import Any

import pytest

from builtup.config.settings import KNOWN, senseless


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("momentum", 0.9, ""),
        ("momentum", 1.0, "0 or more, below 1"),
        ("threshold", "mean", ""),
        ("threshold", 1.5, "a number from 0 to 1"),
        ("temperature", 0.0, "a number above 0"),
        ("std", (1.0, 0.0), "a number above 0, each"),
        ("ratio", (0.9, 1.1), ""),
        ("pixel_size", (0.7, 1.4), ""),
        ("pixel_size", (1.4, 0.7), "two numbers above 0, the smaller first"),
        ("speckle_looks", 4.4, ""),
        ("speckle_looks", (1, 30), ""),
        ("speckle_looks", (0, 30), "two numbers above 0, the smaller first"),
        ("drop_polarisation", 1.5, "a number from 0 to 1"),
        ("contrast", -0.1, "0 or more"),
        ("sampler_weights", None, ""),
        ("soup", 5, ""),
        ("somebody_s_own", -1, ""),
        ("lr", True, ""),
    ],
)
def test_what_makes_sense(name: str, value: Any, expected: str) -> None:
    assert senseless(name, value) == expected


def test_defaults_make_sense() -> None:
    assert [name for name, known in KNOWN.items() if senseless(name, known.default)] == []
