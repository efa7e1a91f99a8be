"""Materials: shares, tints, and what plants look like."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builtup.simulate.aerial.canvas import Canvas, hashed
from builtup.simulate.aerial.flight import Flight
from builtup.simulate.aerial.ground import FIELDS, HOUSE_LOTS, LARGE_LOTS, STREETS
from builtup.simulate.aerial.materials import CODE, SHARED, Mix, albedo
from builtup.simulate.aerial.surface import HOUSE_ROOFS, LARGE_ROOFS

CANVAS = Canvas(0, 0, 64, 64, 0.25, (0.0, 0.0))


def drawn(flight: Flight, name: str, objects: int = 1) -> np.ndarray:
    material = np.full(CANVAS.shape, CODE[name], np.uint8)
    own = hashed(np.arange(64 * 64) % objects, 1).reshape(CANVAS.shape)
    return albedo(CANVAS, material, own, flight.season, 1)


def test_roofs_and_ground_share_all_nine_materials() -> None:
    roofs = HOUSE_ROOFS.keys() | LARGE_ROOFS.keys()
    ground = HOUSE_LOTS.keys() | LARGE_LOTS.keys() | STREETS.keys()
    ground |= set().union(*(shares.keys() for shares in FIELDS.values()))
    assert roofs == ground == set(SHARED)


def test_a_mix_differs_between_cities_and_has_about_its_shares() -> None:
    objects = hashed(np.arange(4000), 5)
    shares = {"clay": 0.7, "pale": 0.3}
    found = [(Mix((seed, 1), shares).of(objects, 3) == CODE["clay"]).mean() for seed in range(30)]
    assert np.mean(found) == pytest.approx(0.66, abs=0.09)
    assert np.std(found) > 0.08
    np.testing.assert_array_equal(
        Mix((4, 1), shares).of(objects, 3), Mix((4, 1), shares).of(objects, 3)
    )


def test_objects_of_one_material_differ_more_than_its_pixels(flight: Flight) -> None:
    within = drawn(flight, "concrete", objects=1).std(axis=(1, 2)).max()
    between = drawn(flight, "concrete", objects=300).std(axis=(1, 2)).min()
    assert 2 < within < between


def test_dark_roofs_streets_and_ponds_are_alike(flight: Flight) -> None:
    levels = {n: drawn(flight, n, 400).mean(0) for n in ("bitumen", "asphalt", "water")}
    for name in ("asphalt", "water"):
        low, high = np.quantile(levels[name], [0.02, 0.98])
        assert ((levels["bitumen"] > low) & (levels["bitumen"] < high)).mean() > 0.1


def test_grass_dries_and_leaves_turn(flight: Flight) -> None:
    lush = replace(flight, season=replace(flight.season, dry=0.0, autumn=0.0))
    dried = replace(flight, season=replace(flight.season, dry=1.0, autumn=1.0))
    for name in ("grass", "leaf"):
        one, other = drawn(lush, name, 50), drawn(dried, name, 50)
        assert (other[0] - other[1]).mean() > (one[0] - one[1]).mean() + 10
    np.testing.assert_array_equal(drawn(lush, "clay"), drawn(dried, "clay"))
