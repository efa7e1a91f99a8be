"""Masks and what tracing and simplification make of them, for the tests beside this file."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage

from builtup.geo.features import Features
from builtup.geo.generalise import Simplifier
from builtup.geo.regions import Regions, trace

masks = hnp.arrays(
    bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14), elements=st.booleans()
)


def traced(
    mask: NDArray[np.bool_], block: int = 1024, value: NDArray[np.uint8] | None = None
) -> Regions:
    """All regions of a mask as one."""
    values = np.zeros(mask.shape, np.uint8) if value is None else value
    found = trace(
        mask.shape[1], mask.shape[0], lambda w: (mask[w.slices], values[w.slices]), (block, block)
    )
    points = np.zeros((0, 2), np.int32)
    none = np.zeros(0, np.int64)
    all_of = Regions(np.zeros(0, object), none, none, points, (), mask.shape[0])
    for regions in found:
        all_of = Regions(
            *(
                np.concatenate((getattr(all_of, name), getattr(regions, name)))
                for name in ("outlines", "pixels", "value_sum", "touching")
            ),
            (),
            mask.shape[0],
        )
    return all_of


def generalised(
    mask: NDArray[np.bool_], pixels: float, block: int = 1024, square: bool = False
) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """The exact outlines of a mask and the simplified ones, in the same order."""
    simplifier = Simplifier(10 * pixels, (10, 10), square=square)
    exact, simple = Features.none(), Features.none()
    zeros = np.zeros(mask.shape, np.uint8)
    read = lambda w: (mask[w.slices], zeros[w.slices])  # noqa: E731
    for regions in trace(mask.shape[1], mask.shape[0], read, (block, block)):
        count = len(regions)
        ids = np.arange(len(exact), len(exact) + count, dtype=np.int32)
        features = Features(regions.outlines, ids, np.zeros(count), np.zeros(count))
        exact = exact.concatenated(features)
        simple = simple.concatenated(simplifier.add(features, regions))
    simple = simple.concatenated(simplifier.rest())
    order = np.argsort(simple.id)
    assert simple.id[order].tolist() == exact.id.tolist()  # each one once
    return exact.polygons, simple.polygons[order]


def blobs(size: int, sigma: float = 2.5, share: float = 0.3, seed: int = 0) -> NDArray[np.bool_]:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(size, size)), sigma)
    return np.asarray(noise > np.quantile(noise, 1 - share))
