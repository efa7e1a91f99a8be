"""What stands on the ground beside houses: trees and shrubs, vehicles, clutter, pools."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from builtup.simulate.aerial.canvas import Canvas, hashed
from builtup.simulate.aerial.flight import Flight
from builtup.simulate.aerial.ground import LARGE, REACH, Ground
from builtup.simulate.aerial.materials import CODE, PAINTS, SHARED
from builtup.simulate.plan import landcover
from builtup.simulate.plan.buildings import boxes
from builtup.simulate.plan.noise import hash_cells, hash_uniform

__all__ = ["CAR", "CLUTTER", "POOL", "TREE_REACH", "Boxes", "Trees", "boxes_of", "trees_of"]

#: Kinds of boxes.
POOL, CLUTTER, CAR = 0, 1, 2
#: Side (m) of the cells that hold a tree or none, and the largest radius of a crown.
TREE_CELL, TREE_REACH = 4.6, 5.0
#: Share of cells with a tree, and with a shrub, by land cover; on lots; elsewhere.
TREES = {
    "forest": (0.85, 0.1), "belt": (0.75, 0.2), "orchard": (0.6, 0.05), "wet": (0.04, 0.1),
    "grass": (0.025, 0.03), "rock": (0.02, 0.12), "bare": (0.01, 0.05), "reed": (0.02, 0.4),
}  # fmt: skip
ON_LOTS, ELSEWHERE = (0.1, 0.07), (0.004, 0.004)
#: Meadows of this share are overgrown with trees and shrubs in clumps.
SCRUB, CLUMPS = 0.3, (0.35, 0.3)
#: Length and width (m) of a stall of a car park.
STALL = (2.7, 8.0)

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Trees:
    """Crowns: `place` (n, 2) and `radius` in metres, `height` above the ground, a hash each."""

    place: NDArray[np.float64]
    radius: Float
    height: Float
    objects: NDArray[np.uint32]


@dataclass(frozen=True)
class Boxes:
    """Rectangles: `polygons`, `kind` (POOL, CLUTTER, CAR), `height` (m), `material`, a hash each,
    and `glass`: what is dark of a car."""

    polygons: NDArray[Any]
    kind: NDArray[np.uint8]
    height: Float
    material: NDArray[np.uint8]
    objects: NDArray[np.uint32]
    glass: NDArray[Any]


def trees_of(canvas: Canvas, ground: Ground, built: NDArray[np.int32], flight: Flight) -> Trees:
    """The trees and shrubs of a canvas; none stands in a house, a street or water."""
    salt = flight.city.country.salt & 0xFFFF
    column, row = canvas.cells(TREE_CELL)
    own = hash_cells(column, row, salt + 3)
    jitter = np.stack([hash_uniform(own, 5), hash_uniform(own, 7)], 1)
    place = (np.stack([column, row], 1) + jitter.astype(np.float64)) * TREE_CELL
    at_row, at_column, inside = canvas.places(place)
    tree, shrub = _tree_shares(canvas, ground, flight)
    free = ~(ground.street | ground.water | (built > 0)) & (ground.away > 1.5)
    chance = hash_uniform(own, 9)
    share = tree[at_row, at_column]
    stands = inside & free[at_row, at_column]
    stands &= chance < share + shrub[at_row, at_column]
    low = chance[stands] >= share[stands]
    own, place = own[stands], place[stands]
    size = hash_uniform(own, 11) ** 1.3
    radius = np.where(low, 0.6 + 0.9 * size, 1.3 + (TREE_REACH - 1.3) * 0.85 * size)
    spread = 0.7 + 0.6 * hash_uniform(own, 13)
    height = np.where(low, 0.7 + 1.4 * size, 2.8 + 10.5 * size * spread + 1.5 * spread)
    return Trees(place, radius.astype(np.float32), height.astype(np.float32), own)


def _tree_shares(canvas: Canvas, ground: Ground, flight: Flight) -> tuple[Float, Float]:
    """Shares of cells with a tree and with a shrub."""
    table = np.full((len(landcover.NAMES), 2), ELSEWHERE, np.float32)
    for name, shares in TREES.items():
        table[landcover.CODE[name]] = shares
    both = table[ground.cover]
    salt = flight.city.country.salt & 0xFFFF
    clump = canvas.noise(21.0, salt + 15) + 0.6 * canvas.noise(9.0, salt + 17)
    grass = np.isin(ground.cover, [landcover.CODE[n] for n in ("grass", "bare", "wet", "rock")])
    both[grass & (hash_uniform(ground.objects, 19) < SCRUB) & (clump > 0.1)] = CLUMPS
    both[ground.lot >= 0] = ON_LOTS
    # gardens differ: some are wooded, some bare
    both[ground.lot >= 0] *= (2.2 * hash_uniform(hashed(ground.lot, 21)) ** 1.5)[
        ground.lot >= 0, None
    ]
    both *= np.float32(flight.season.trees)
    return both[..., 0], both[..., 1]


class _Frames:
    """The buildings near a canvas, each with a place, a direction and half its length and width."""

    def __init__(self, canvas: Canvas, flight: Flight) -> None:
        houses = flight.city.buildings
        self.number = canvas.near(houses.bounds, REACH)
        near = houses.take(self.number)
        self.large = near.areas() > LARGE
        self.middle, self.along, self.half = envelopes(near.polygons())
        self.own = hashed(self.number, 23)

    def points(self, of: NDArray[Any], u: NDArray[Any], v: NDArray[Any]) -> NDArray[np.float64]:
        """Places in metres from those in the frames of buildings."""
        along = self.along[of]
        across = np.stack([-along[:, 1], along[:, 0]], 1)
        return self.middle[of] + u[:, None] * along + v[:, None] * across

    def angle(self, of: NDArray[Any]) -> NDArray[np.float64]:
        """Direction of buildings, in radians."""
        return np.arctan2(self.along[of, 1], self.along[of, 0])


def envelopes(
    polygons: NDArray[Any],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Middle, direction of the longer side, and half lengths of polygons' smallest rectangles."""
    if not len(polygons):
        return np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 2))
    rings = shapely.get_exterior_ring(shapely.oriented_envelope(polygons))
    corners = shapely.get_coordinates(rings).reshape(-1, 5, 2)
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 1]
    one, two = np.hypot(*first.T), np.hypot(*second.T)
    longer = np.where((one >= two)[:, None], first, second)
    half = np.stack([np.maximum(one, two), np.minimum(one, two)], 1) / 2
    return corners[:, :4].mean(1), longer / np.maximum(2 * half[:, :1], 1e-6), half


def boxes_of(canvas: Canvas, ground: Ground, flight: Flight, pieces: NDArray[np.float64]) -> Boxes:
    """Vehicles, clutter and pools of a canvas, where there is room for them."""
    frames = _Frames(canvas, flight)
    parts = [
        _clutter(canvas, ground, frames),
        _pools(canvas, ground, frames),
        _parked(canvas, ground, frames),
        _at_homes(canvas, ground, frames),
        _on_streets(canvas, flight, pieces),
    ]
    table = np.concatenate(parts)
    own = _keys(table)
    kind = table[:, 6].astype(np.uint8)
    polygons = _rectangles(table)
    cars = table[kind == CAR].copy()
    cars[:, 2] *= 0.52
    cars[:, 3] *= 0.82
    inner = table[kind == CAR].copy()
    inner[:, 2] *= 0.26
    inner[:, 3] *= 0.8
    glass = shapely.difference(_rectangles(cars), _rectangles(inner)) if len(cars) else cars[:, 0]
    return Boxes(polygons, kind, table[:, 5].astype(np.float32), _materials(kind, own), own, glass)


def _keys(table: NDArray[np.float64]) -> NDArray[np.uint32]:
    """A hash of each box by its place, in centimetres."""
    place = np.round(table[:, :2] * 100)
    return hash_cells(place[:, 0], place[:, 1], 25)


def _materials(kind: NDArray[np.uint8], own: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Cars are painted, clutter is of any material or painted."""
    paints = np.array([CODE[name] for name in PAINTS], np.uint8)
    shares = np.cumsum([0.27, 0.27, 0.2, 0.1, 0.14])
    painted = paints[np.searchsorted(shares, hash_uniform(own, 27))]
    shared = np.array([CODE[name] for name in SHARED], np.uint8)
    any_of = shared[(hash_uniform(own, 29) * len(SHARED)).astype(np.intp)]
    bright = paints[(hash_uniform(own, 31) * len(PAINTS)).astype(np.intp)]
    out = np.where(hash_uniform(own, 33) < 0.55, any_of, bright)
    out = np.where(kind == CAR, painted, out)
    return np.where(kind == POOL, np.uint8(CODE["pool"]), out).astype(np.uint8)


def _rectangles(table: NDArray[np.float64]) -> NDArray[Any]:
    nothing = np.zeros((len(table), 2), np.float32)
    return boxes(
        table[:, :2], table[:, 2], table[:, 3], table[:, 4], table[:, 5], nothing
    ).polygons()


def _fitting(
    canvas: Canvas, ground: Ground, table: NDArray[np.float64], lots: NDArray[Any], room: float
) -> NDArray[np.float64]:
    """The rows whose middle lies on the given lot, `room` metres from its building at least."""
    row, column, inside = canvas.places(table[:, :2])
    keep = inside & (ground.lot[row, column] == lots) & (ground.away[row, column] > room)
    keep &= ~(ground.street | ground.water)[row, column]
    return table[keep]


def _rows(
    points: NDArray[Any], length: Any, width: Any, angle: Any, height: Any, kind: int
) -> NDArray[np.float64]:
    n = len(points)
    columns = [np.broadcast_to(np.asarray(c, float), n) for c in (length, width, angle, height)]
    return np.column_stack([points, *columns, np.full(n, float(kind))])


def _clutter(canvas: Canvas, ground: Ground, frames: _Frames) -> NDArray[np.float64]:
    """Sheds, containers, heaps and machines: a few at a house, more around halls."""
    most = np.where(frames.large, 26, 5)
    count = np.floor(most * hash_uniform(frames.own, 35) ** 1.5).astype(np.intp)
    of = np.repeat(np.arange(len(count)), count)
    number = np.arange(len(of)) - np.repeat(np.cumsum(count) - count, count)
    own = hash_cells(frames.number[of], number, 37)
    reach = frames.half[of] + np.where(frames.large[of], 20.0, 10.0)[:, None]
    u, v = (2 * hash_uniform(own, 39 + 2 * i).astype(float) - 1 for i in (0, 1))
    points = frames.points(of, u * reach[:, 0], v * reach[:, 1])
    size = hash_uniform(own, 43).astype(float)
    long = np.where(frames.large[of], 1.2 + 7.5 * size**1.5, 0.8 + 3.2 * size**1.5)
    wide = long * (0.35 + 0.6 * hash_uniform(own, 45))
    angle = frames.angle(of) + np.where(
        hash_uniform(own, 47) < 0.7, 0, np.pi * hash_uniform(own, 49)
    )
    height = 0.3 + 2.4 * hash_uniform(own, 51) * np.minimum(1, long / 2)
    table = _rows(points, long, np.minimum(wide, 3.2), angle, height, CLUTTER)
    return _fitting(canvas, ground, table, frames.number[of], 0.8)


def _pools(canvas: Canvas, ground: Ground, frames: _Frames) -> NDArray[np.float64]:
    of = np.flatnonzero(~frames.large & (hash_uniform(frames.own, 53) < 0.06))
    own = frames.own[of]
    side = np.where(hash_uniform(own, 55) < 0.5, -1.0, 1.0)
    v = side * (frames.half[of, 1] + 4 + 4 * hash_uniform(own, 57))
    points = frames.points(of, frames.half[of, 0] * (hash_uniform(own, 59) - 0.5), v)
    long = 5.0 + 5 * hash_uniform(own, 61)
    table = _rows(points, long, long / 2, frames.angle(of), 0.0, POOL)
    return _fitting(canvas, ground, table, frames.number[of], 2.5)


def _parked(canvas: Canvas, ground: Ground, frames: _Frames) -> NDArray[np.float64]:
    """Cars in the rows of car parks beside large buildings."""
    parts = [np.zeros((0, 7))]
    for i in np.flatnonzero(frames.large & (hash_uniform(frames.own, 63) < 0.6)).tolist():
        reach = frames.half[i] + REACH
        columns = np.arange(-int(reach[0] / STALL[0]), int(reach[0] / STALL[0]) + 1)
        rows = np.arange(-int(reach[1] / STALL[1]), int(reach[1] / STALL[1]) + 1)
        column, row = (a.ravel() for a in np.meshgrid(columns, rows))
        own = hash_cells(column, row + 1000 * frames.number[i], 65)
        full = 0.1 + 0.7 * float(hash_uniform(frames.own[i : i + 1], 67)[0])
        taken = hash_uniform(own, 69) < full
        column, row, own = column[taken], row[taken], own[taken]
        v = row * STALL[1] + 0.4 * hash_uniform(own, 71)
        points = frames.points(np.full(len(own), i), column * STALL[0], v)
        angle = float(frames.angle(np.array([i]))[0]) + np.pi / 2
        table = _rows(points, 4.0 + 0.9 * hash_uniform(own, 73), 1.8, angle, 1.5, CAR)
        parts.append(_fitting(canvas, ground, table, frames.number[i], 2.5))
    return np.concatenate(parts)


def _at_homes(canvas: Canvas, ground: Ground, frames: _Frames) -> NDArray[np.float64]:
    """A car beside every second house."""
    of = np.flatnonzero(~frames.large & (hash_uniform(frames.own, 75) < 0.5))
    own = frames.own[of]
    beside = hash_uniform(own, 77) < 0.5
    side = np.where(hash_uniform(own, 79) < 0.5, -1.0, 1.0)
    u = np.where(beside, side * (frames.half[of, 0] + 2.0), 0.0)
    v = np.where(beside, 0.0, side * (frames.half[of, 1] + 3.5))
    table = _rows(frames.points(of, u, v), 4.4, 1.8, frames.angle(of) + np.pi / 2, 1.5, CAR)
    return _fitting(canvas, ground, table, frames.number[of], 0.9)


def _on_streets(canvas: Canvas, flight: Flight, pieces: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cars on the move, and parked along the sides of streets."""
    middle = (pieces[:, :2] + pieces[:, 2:4]) / 2
    near = canvas.near(np.hstack([middle, middle]), 5.0)
    step = pieces[near, 2:4] - pieces[near, :2]
    angle = np.arctan2(step[:, 1], step[:, 0])
    place = np.round(middle[near] * 10)
    own = hash_cells(place[:, 0], place[:, 1], flight.number + 81)
    side = np.where(hash_uniform(own, 83) < 0.5, -1.0, 1.0)
    wide = pieces[near, 4]
    off = np.where(hash_uniform(own, 85) < 0.75, wide / 2 - 1.1, wide / 4) * side
    across = np.stack([-np.sin(angle), np.cos(angle)], 1)
    points = middle[near] + off[:, None] * across
    length = 3.9 + 1.1 * hash_uniform(own, 87)
    table = _rows(points, length, 1.8, angle, 1.3 + 0.5 * hash_uniform(own, 89), CAR)
    often = 0.16 * np.minimum(1, np.hypot(*step.T) / 6)
    table = table[(hash_uniform(own, 91) < often) & (wide > 3.5)]
    return table[canvas.places(table[:, :2])[2]]
