"""Which scenes of a weakened data set are learnt from by pixels, by tags, or validated on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from builtup.errors import ConfigError, InputError

__all__ = ["N1", "N2", "UNLABELLED", "VALIDATION", "percentages", "split_scenes"]

#: The roles of scenes: pixel labels, tags of cells, pixel labels to validate on, nothing.
N1, N2, VALIDATION, UNLABELLED = "labelled", "tags", "validation", "unlabelled"


def split_scenes(
    ground_of: Mapping[str, str],
    with_masks: set[str],
    percent: Sequence[float],
    seed: int,
    where: Path = Path(),
) -> dict[str, str]:
    """The role of each scene, by a seeded order of the sorted names of their ground.

    Scenes of one ground have one role. Of the ground with masks validation takes its share first,
    then N1 (each at least one), then N2; so validation is the same whatever N1 and N2 are, and a
    larger N1 holds the smaller. What shares leave over is unlabelled; ground without masks is N2.
    Raises InputError where there is too little ground.
    """
    labelled = sorted({ground_of[scene] for scene in with_masks})
    if len(labelled) < 2:
        raise InputError(
            where,
            f"{len(labelled)} scenes (or sites) with masks: N1 or validation is empty",
            "give at least two with pixel labels",
        )
    order = [labelled[i] for i in np.random.default_rng(seed).permutation(len(labelled))]
    of_n1, of_n2, of_validation = (share * len(labelled) / 100 for share in percent)
    validation = min(len(labelled) - 1, max(1, round(of_validation)))
    first = min(len(labelled) - validation, max(1, round(of_n1)))
    rest = len(labelled) - validation - first
    second = rest if math.isclose(sum(percent), 100) else min(rest, round(of_n2))
    spans = (validation, first, second, rest - second)
    names = (VALIDATION, N1, N2, UNLABELLED)
    roles = [name for name, count in zip(names, spans, strict=True) for _ in range(count)]
    role_of = dict(zip(order, roles, strict=True))
    return {scene: role_of.get(ground, N2) for scene, ground in ground_of.items()}


def percentages(text: str) -> tuple[float, float, float]:
    """Those of N1, N2 and validation, such as "10;70;20"; ConfigError for other ones."""
    try:
        n1, n2, validation = (float(part) for part in text.split(";"))
        if min(n1, n2, validation) < 0 or n1 + n2 + validation > 100.001:
            raise ValueError
    except ValueError:
        raise ConfigError(
            f"shares={text}: expected percentages of N1, N2 and validation, such as 10;70;20"
        ) from None
    for name, share in (("N1", n1), ("validation", validation)):
        if share == 0:
            raise ConfigError(f"shares={text}: {name} is empty; give it a share above 0")
    return n1, n2, validation
