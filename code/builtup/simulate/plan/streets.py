"""Towns, villages and farms: where the houses of a procedural street plan stand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from builtup.simulate.plan.buildings import Buildings, boxes, wall_strength

__all__ = ["Roads", "Settlement", "build", "draw_roads", "draw_settlements"]

#: Side of the squares of country that hold one town each at most, in metres.
REGION = 10240.0

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Kind:
    """How a district is built; lengths in metres.

    `lot`: size along and across the street; `street`: width; `per_block`: lots between side
    streets; `length`, `width`, `height`: ranges of a building; `occupied`: share of built lots;
    `wobble`: deviation of a house's angle from the street's, in degrees.
    """

    lot: tuple[float, float]
    street: float
    per_block: int
    length: tuple[float, float]
    width: tuple[float, float]
    height: tuple[float, float]
    occupied: float
    wobble: float


KINDS = {
    "core": Kind((19, 22), 10, 5, (14, 19), (11, 17), (8, 24), 0.93, 1.5),
    "rows": Kind((27, 30), 13, 4, (17, 26), (9, 13), (6, 15), 0.82, 1.5),
    "suburb": Kind((23, 31), 11, 6, (9, 15), (8, 12), (3.5, 8), 0.75, 6),
    "industry": Kind((75, 62), 18, 2, (30, 66), (20, 46), (6, 13), 0.6, 1),
    "village": Kind((25, 34), 9, 7, (9, 20), (8, 13), (3.5, 9), 0.6, 10),
}


@dataclass(frozen=True)
class Settlement:
    """A town or village: middle, mean radius, outline's harmonics and number of its stream."""

    x: float
    y: float
    radius: float
    stretch: float
    turn: float
    town: bool

    @property
    def rank(self) -> float:
        """Size, for the choice of what roads lead to."""
        return self.radius * (2 if self.town else 1)


@dataclass(frozen=True)
class Roads:
    """All roads: points (n, 2) about every 5 m and the square metres of asphalt at each."""

    points: Points
    area: NDArray[np.float64]


def draw_settlements(rng: np.random.Generator, extent: float) -> list[Settlement]:
    """Towns and villages of a square of country; a town stands near the middle of the first."""
    side = min(extent, REGION)
    count = math.ceil(extent / side)
    found: list[Settlement] = []
    for row in range(count):
        for column in range(count):
            found += _draw_region(rng, column * side, row * side, side, first=row + column == 0)
    return found


def _draw_region(
    rng: np.random.Generator, left: float, top: float, side: float, first: bool
) -> list[Settlement]:
    found = []
    if rng.random() < 0.75 or first:
        x, y = rng.uniform(0.36, 0.64, 2) * side
        radius = rng.uniform(0.15, 0.235) * side
        found.append(_settlement(rng, left + x, top + y, radius, True))
    for _ in range(rng.poisson(18 * (side / REGION) ** 2) + 1):
        x, y = rng.uniform(0.03, 0.97, 2) * side
        radius = min(170 * math.exp(rng.normal(0, 0.55)), 0.12 * side)
        new = _settlement(rng, left + x, top + y, radius, False)
        near = (math.hypot(new.x - s.x, new.y - s.y) - radius - 1.2 * s.radius for s in found)
        if min(near, default=1000.0) > 250:
            found.append(new)
    return found


def _settlement(
    rng: np.random.Generator, x: float, y: float, radius: float, town: bool
) -> Settlement:
    stretch = rng.uniform(1.0, 1.35 if town else 1.9)
    return Settlement(x, y, radius, stretch, rng.uniform(0, math.pi), town)


def build(rng: np.random.Generator, settlements: list[Settlement], extent: float) -> Buildings:
    """The buildings of all settlements, and of farms in the open country."""
    parts = [_houses(rng, settlement) for settlement in settlements]
    parts.append(_farms(rng, extent))
    table = np.concatenate(parts)
    inside = (np.abs(table[:, :2] - extent / 2) < extent / 2 + 200).all(axis=1)
    table = table[inside]
    strength = wall_strength(rng, len(table))
    return boxes(table[:, :2], table[:, 2], table[:, 3], table[:, 4], table[:, 5], strength)


def _houses(rng: np.random.Generator, town: Settlement) -> Points:
    """Table (n, 6) of one settlement: x, y, length, width, angle, height."""
    reach = town.radius * 1.9
    harmonics = rng.normal(0, 1, (2, 6)) * 0.26 / np.sqrt(np.arange(1, 7))
    spacing = min(380.0, town.radius * 0.9)
    count = max(1, int((2 * reach / spacing) ** 2))
    seeds = rng.uniform(-reach, reach, (count, 2))
    tree = cKDTree(seeds)
    main_angle = rng.uniform(0, math.pi)
    share = _share(town, harmonics, seeds)
    parts = []
    for number in np.flatnonzero(share < 1.3).tolist():
        name = _kind_of(rng, town, share[number])
        angle = main_angle if rng.random() < 0.45 else rng.uniform(0, math.pi)
        if name is not None:
            parts.append(_district(rng, KINDS[name], tree, number, angle, spacing))
    if not parts:
        return np.zeros((0, 6))
    table = np.concatenate(parts)
    edge = np.clip((1.08 - _share(town, harmonics, table[:, :2])) / 0.16, 0, 1)
    table = table[rng.random(len(table)) < edge]
    table[:, :2] += (town.x, town.y)
    return table


def _share(town: Settlement, harmonics: Points, points: Points) -> Points:
    """Distance from the middle as a share of the outline's distance in that direction."""
    cos, sin = math.cos(town.turn), math.sin(town.turn)
    u = (points[:, 0] * cos + points[:, 1] * sin) / math.sqrt(town.stretch)
    v = (points[:, 1] * cos - points[:, 0] * sin) * math.sqrt(town.stretch)
    angle = np.arctan2(v, u)
    order = np.arange(1, 7)[:, None]
    wave = harmonics[0] @ np.cos(order * angle) + harmonics[1] @ np.sin(order * angle)
    return np.hypot(u, v) / (town.radius * np.clip(1 + wave, 0.4, 1.8))


def _kind_of(rng: np.random.Generator, town: Settlement, share: float) -> str | None:
    """What stands in a district at that share of the way out; None for open ground."""
    chance = rng.random()
    if not town.town:
        return None if chance < 0.05 else "village"
    if chance < 0.04 + 0.22 * share:
        return None
    if share < 0.25:
        return "core"
    if share > 0.45 and rng.random() < 0.16:
        return "industry"
    if share < 0.55:
        return "core" if rng.random() < 0.3 else "rows"
    return "suburb" if rng.random() < 0.85 else "rows"


def _district(
    rng: np.random.Generator,
    kind: Kind,
    tree: Any,
    number: int,
    angle: float,
    reach: float,
) -> Points:
    """Houses on a lattice of lots and streets, within the cell of seed `number`."""
    along, across = kind.lot
    columns = np.arange(-int(reach / along) - 1, int(reach / along) + 2)
    rows = np.arange(-int(reach / across) - 1, int(reach / across) + 2)
    u = columns * along + (columns // kind.per_block) * kind.street
    v = rows * across + (rows // 2) * kind.street
    u, v = (a.ravel() for a in np.meshgrid(u, v))
    cos, sin = math.cos(angle), math.sin(angle)
    centres = np.stack([u * cos - v * sin, u * sin + v * cos], axis=1) + tree.data[number]
    own = tree.query(centres, distance_upper_bound=1.5 * reach)[1] == number
    centres = centres[own & (rng.random(len(centres)) < kind.occupied)]
    n = len(centres)
    centres += rng.normal(0, 1.2, (n, 2))
    low, high = kind.height
    storeys = low + (high - low) * rng.beta(1.6, 2.6, n)
    turned = angle + np.radians(rng.normal(0, kind.wobble, n))
    turned += np.where(rng.random(n) < 0.3, math.pi / 2, 0)
    length = rng.uniform(*kind.length, n)
    return np.column_stack([centres, length, rng.uniform(*kind.width, n), turned, storeys])


def _farms(rng: np.random.Generator, extent: float) -> Points:
    """A house and up to three barns each, anywhere."""
    count = rng.poisson(0.45 * (extent / 1000) ** 2)
    yards = rng.integers(1, 5, count)
    n = int(yards.sum())
    middle = np.repeat(rng.uniform(0, extent, (count, 2)), yards, axis=0)
    angle = np.repeat(rng.uniform(0, math.pi, count), yards)
    angle = angle + rng.integers(0, 2, n) * math.pi / 2
    centres = middle + rng.normal(0, 22, (n, 2))
    length, width = rng.uniform(10, 38, n), rng.uniform(8, 16, n)
    return np.column_stack([centres, length, width, angle, rng.uniform(3.5, 8, n)])


def draw_roads(rng: np.random.Generator, settlements: list[Settlement], extent: float) -> Roads:
    """Roads from each settlement to the nearest larger one, and two across the country."""
    roads: list[tuple[Points, float]] = []
    middles = np.array([(s.x, s.y) for s in settlements])
    for i, place in enumerate(settlements):
        larger = [j for j, s in enumerate(settlements) if s.rank > place.rank]
        if larger:
            gaps = np.hypot(*(middles[larger] - middles[i]).T)
            target = middles[larger[int(gaps.argmin())]]
            roads.append((_road(rng, middles[i], target), 9.0))
    for place in [s for s in settlements if s.town]:
        angle = rng.uniform(0, math.pi)
        step = np.array([math.cos(angle), math.sin(angle)]) * min(extent, 2 * REGION)
        middle = np.array([place.x, place.y]) + rng.normal(0, place.radius * 0.7, 2)
        roads.append((_road(rng, middle - step, middle + step), 24.0))
    parts = [np.full(len(points), 5 * width) for points, width in roads]
    return Roads(np.concatenate([points for points, _ in roads]), np.concatenate(parts))


def _road(rng: np.random.Generator, start: Points, end: Points) -> Points:
    """A gently winding road, a point every 5 m."""
    length = float(np.hypot(*(end - start)))
    n = max(2, int(length / 5))
    t = np.linspace(0, 1, n)
    normal = np.array([start[1] - end[1], end[0] - start[0]]) / max(length, 1.0)
    bend = sum(rng.normal(0, 0.05 * length / k) * np.sin(math.pi * k * t) for k in (1, 2, 3, 5))
    return start + t[:, None] * (end - start) + np.outer(bend, normal)
