"""All generators go on as if nothing had been drawn between."""

from __future__ import annotations

import random

import numpy as np
import torch

from builtup.training.random_state import random_state, set_random_state


def drawn() -> list[float]:
    rng = np.random.random_sample  # the global generator is what is kept
    return [random.random(), float(rng()), float(torch.rand(1))]


def test_what_is_drawn_is_drawn_again() -> None:
    kept = random_state()
    first, second = drawn(), drawn()
    assert first != second
    set_random_state(kept)
    assert drawn() == first
