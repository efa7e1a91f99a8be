"""A house for tests of the simulator."""

from __future__ import annotations

import numpy as np

from builtup.simulate.plan.buildings import Buildings, boxes


def house(x: float = 400, y: float = 400, height: float = 6, angle: float = 0) -> Buildings:
    one = np.ones(1)
    return boxes(
        np.array([[x, y]]), 20 * one, 12 * one, angle * one, height * one, np.ones((1, 2), "f4")
    )
