"""Towns, villages and farms: where the houses of a procedural street plan stand."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from builtup.simulate.plan import countryside
from builtup.simulate.plan.buildings import Buildings, boxes, wall_strength
from builtup.simulate.plan.style import Towns

__all__ = ["Roads", "Settlement", "build", "draw_roads", "draw_settlements"]

#: Side of the squares of country that hold one town each at most, in metres.
REGION = 10240.0
#: Width of an avenue in metres.
AVENUE = 30.0
#: Streets are drawn in pieces of this length, as far out as this share of a town's outline, and
#: take this share of the gap between lots (m).
LANE, LAST_LANE, PAVED = 6.0, 1.0, 0.6
#: The towns of the plain world.
PLAIN = Towns()

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Kind:
    """How a district is built; lengths in metres.

    `lot`: size along and across the street; `street`: width; `per_block`: lots between side
    streets; `length`, `width`, `height`: ranges of a building; `occupied`: share of built lots;
    `wobble`: deviation of a house's angle from the street's, in degrees; `turned`: share of houses
    that stand across the street.
    """

    lot: tuple[float, float]
    street: float
    per_block: int
    length: tuple[float, float]
    width: tuple[float, float]
    height: tuple[float, float]
    occupied: float
    wobble: float
    turned: float = 0.3


KINDS = {
    "core": Kind((19, 22), 10, 5, (14, 19), (11, 17), (8, 24), 0.93, 1.5),
    "rows": Kind((27, 30), 13, 4, (17, 26), (9, 13), (6, 15), 0.82, 1.5),
    "suburb": Kind((23, 31), 11, 6, (9, 15), (8, 12), (3.5, 8), 0.75, 6),
    "industry": Kind((75, 62), 18, 2, (30, 66), (20, 46), (6, 13), 0.6, 1),
    "village": Kind((25, 34), 9, 7, (9, 20), (8, 13), (3.5, 9), 0.6, 10),
    # kinds that only wide and shifted towns have: high slabs in rows, huts, lattices of
    # terraces, wide plots, and halls of bright sheet metal
    "slabs": Kind((72, 46), 20, 4, (36, 64), (11, 15), (14, 50), 0.85, 1, 0.08),
    "shacks": Kind((17, 18), 6, 7, (8, 13), (7, 12), (2.6, 4), 0.92, 9),
    "terraces": Kind((9, 38), 17, 24, (8, 9), (13, 22), (6, 11), 0.96, 0.5, 0),
    "plots": Kind((44, 62), 14, 6, (12, 22), (9, 15), (3.5, 7), 0.7, 5),
    "hamlet": Kind((36, 46), 9, 5, (9, 18), (8, 12), (3.5, 8), 0.5, 14),
    "halls": Kind((120, 95), 22, 2, (50, 108), (30, 80), (6, 13), 0.7, 1, 0),
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


def draw_settlements(
    rng: np.random.Generator, extent: float, towns: Towns = PLAIN
) -> list[Settlement]:
    """Towns and villages of a square of country; a town stands near the middle of the first."""
    side = min(extent, REGION)
    count = math.ceil(extent / side)
    found: list[Settlement] = []
    for row in range(count):
        for column in range(count):
            corner = (column * side, row * side)
            found += _draw_region(rng, corner, side, towns, first=row + column == 0)
    return found


def _draw_region(
    rng: np.random.Generator, corner: tuple[float, float], side: float, towns: Towns, first: bool
) -> list[Settlement]:
    found = []
    left, top = corner
    if rng.random() < 0.75 or first:
        x, y = rng.uniform(0.36, 0.64, 2) * side
        radius = rng.uniform(*towns.radius) * side
        found.append(_settlement(rng, left + x, top + y, radius, True))
    for _ in range(rng.poisson(towns.villages * (side / REGION) ** 2) + 1):
        x, y = rng.uniform(0.03, 0.97, 2) * side
        radius = min(towns.village_radius * math.exp(rng.normal(0, 0.55)), 0.12 * side)
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


def build(
    rng: np.random.Generator,
    settlements: list[Settlement],
    extent: float,
    towns: Towns = PLAIN,
    lanes: list[Points] | None = None,
) -> Buildings:
    """The buildings of all settlements, and what stands in the open country.

    `lanes` gets the streets between them, where it is given: (n, 5), the ends of straight pieces
    (x, y, x, y) and their width in metres.
    """
    parts = [_houses(rng, settlement, towns, lanes) for settlement in settlements]
    parts.append(countryside.farms(rng, extent, towns.farms))
    parts.append(countryside.scattered(rng, extent, towns.scattered))
    parts.append(countryside.halls(rng, extent, towns.halls))
    table = np.concatenate(parts)
    inside = (np.abs(table[:, :2] - extent / 2) < extent / 2 + 200).all(axis=1)
    table = table[inside]
    strength = wall_strength(rng, len(table), towns.tail)
    strength *= table[:, 7:].astype(np.float32)
    return boxes(
        table[:, :2], table[:, 2], table[:, 3], table[:, 4], table[:, 5], strength, table[:, 6]
    )


def _houses(
    rng: np.random.Generator, town: Settlement, towns: Towns, lanes: list[Points] | None
) -> Points:
    """Table (n, 8) of one settlement, as `countryside` has it; its streets go to `lanes`."""
    if not town.town and towns.rows and rng.random() < towns.rows:
        return countryside.row_village(rng, (town.x, town.y), town.radius, town.turn, towns.trees)
    reach = town.radius * 1.9
    harmonics = rng.normal(0, 1, (2, 6)) * 0.26 / np.sqrt(np.arange(1, 7))
    spacing = min(380.0, town.radius * 0.9)
    count = max(1, int((2 * reach / spacing) ** 2))
    seeds = rng.uniform(-reach, reach, (count, 2))
    tree = cKDTree(seeds)
    main_angle = town.turn if towns.avenues else rng.uniform(0, math.pi)
    share = _share(town, harmonics, seeds)
    parts = []
    for number in np.flatnonzero(share < 1.3).tolist():
        name = _kind_of(rng, town, share[number], towns)
        angle = main_angle if rng.random() < towns.aligned else rng.uniform(0, math.pi)
        if name is not None:
            kind = _scaled(KINDS[towns.kinds.get(name, name)], towns.lots)
            district = _district(rng, kind, tree, number, angle, spacing)
            parts.append(_looks(rng, district, name, towns))
            if lanes is not None:
                pieces = _lanes(kind, tree, number, angle, spacing)
                middles = (pieces[:, :2] + pieces[:, 2:4]) / 2
                pieces = pieces[_share(town, harmonics, middles) < LAST_LANE]
                pieces[:, :4] += (town.x, town.y, town.x, town.y)
                lanes.append(pieces)
    if not parts:
        return np.zeros((0, countryside.COLUMNS))
    table = np.concatenate(parts)
    edge = np.clip((1.08 - _share(town, harmonics, table[:, :2])) / 0.16, 0, 1)
    table = table[rng.random(len(table)) < edge]
    if town.town and towns.avenues:
        u, v = _across_avenues(town, table[:, :2], towns.avenues)
        table = table[np.minimum(u, v) > AVENUE / 2 + table[:, 3] / 2]
    table[:, :2] += (town.x, town.y)
    return table


def _across_avenues(town: Settlement, points: Points, spacing: float) -> tuple[Points, Points]:
    """Distances (m) to the nearest avenue of either direction, from places in the town's frame."""
    cos, sin = math.cos(town.turn), math.sin(town.turn)
    along = points[:, 0] * cos + points[:, 1] * sin
    down = points[:, 1] * cos - points[:, 0] * sin
    first, second = (np.abs(t - np.round(t / spacing) * spacing) for t in (along, down))
    return first, second


def _scaled(kind: Kind, factor: float) -> Kind:
    """The kind on lots and streets of another size."""
    along, across = kind.lot
    return replace(kind, lot=(along * factor, across * factor), street=kind.street * factor)


def _looks(rng: np.random.Generator, table: Points, name: str, towns: Towns) -> Points:
    """What a district adds to its houses' returns: its own strength, trees, bright roofs."""
    if towns.patches:
        table[:, 7] *= 10 ** (rng.normal(0, towns.patches) / 10)
    if towns.trees and name in {"village", "suburb"}:
        table[:, 7] *= 1 - towns.trees * rng.random(len(table))
    if towns.kinds.get(name) == "halls":
        table[:, 6] *= countryside.bright_roofs(rng, len(table))
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


def _kind_of(rng: np.random.Generator, town: Settlement, share: float, towns: Towns) -> str | None:
    """What stands in a district at that share of the way out; None for open ground."""
    chance = rng.random()
    if not town.town:
        return None if chance < 0.05 else "village"
    if chance < (0.04 + 0.22 * share) * towns.open:
        return None
    if share < 0.25:
        return "core"
    if share > 0.45 and rng.random() < towns.industry:
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
    turned += np.where(rng.random(n) < kind.turned, math.pi / 2, 0)
    length = rng.uniform(*kind.length, n)
    width = rng.uniform(*kind.width, n)
    return np.column_stack([centres, length, width, turned, storeys, np.ones((n, 2))])


def _lanes(kind: Kind, tree: Any, number: int, angle: float, reach: float) -> Points:
    """The streets (n, 5) in the gaps that `_district` leaves between its lots."""
    along, across = kind.lot
    rows = np.arange(-int(reach / across) // 2 - 1, int(reach / across) // 2 + 2)
    columns = np.arange(-int(reach / along) // kind.per_block - 1, int(reach / along) + 2)
    middles_v = (2 * rows - 0.5) * across + (rows - 0.5) * kind.street
    middles_u = (kind.per_block * columns - 0.5) * along + (columns - 0.5) * kind.street
    t = np.arange(-1.2 * reach, 1.2 * reach, LANE)
    one, other = (a.ravel() for a in np.meshgrid(t, middles_v))
    two, another = (a.ravel() for a in np.meshgrid(t, middles_u[np.abs(middles_u) < 1.2 * reach]))
    u = np.concatenate([np.stack([one, one + LANE], 1), np.stack([another, another], 1)])
    v = np.concatenate([np.stack([other, other], 1), np.stack([two, two + LANE], 1)])
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = tree.data[number][:, None, None] + np.stack([u * cos - v * sin, u * sin + v * cos])
    own = tree.query(np.stack([x.mean(1), y.mean(1)], 1))[1] == number
    pieces = np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1], np.full(len(x), kind.street * PAVED)], 1)
    return pieces[own]


def draw_roads(
    rng: np.random.Generator,
    settlements: list[Settlement],
    extent: float,
    avenues: float = 0.0,
    houses: Points | None = None,
) -> Roads:
    """Roads from each settlement to the nearest larger one, and two across the country.

    Towns have avenues so many metres apart, between `houses` (n, 2), if any.
    """
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
        if avenues and houses is not None and len(houses):
            line = _avenues(place, avenues)
            beside = cKDTree(houses).query(line, distance_upper_bound=90.0)[0]
            roads.append((line[np.isfinite(beside)], 10.0))
    parts = [np.full(len(points), 5 * width) for points, width in roads]
    return Roads(np.concatenate([points for points, _ in roads]), np.concatenate(parts))


def _avenues(town: Settlement, spacing: float) -> Points:
    """Points (n, 2) every 5 m along lines that lie 10 m apart across each avenue of a town."""
    cos, sin = math.cos(town.turn), math.sin(town.turn)
    reach = 1.1 * town.radius
    lines = []
    for at in np.arange(-(reach // spacing), reach // spacing + 1) * spacing:
        t = np.arange(-1, 1, 5 / reach) * math.sqrt(reach**2 - at**2)
        for off in np.arange(5 - AVENUE / 2, AVENUE / 2, 10.0):
            for u, v in ((t, at + off), (at + off, t)):
                points = np.stack([u * cos - v * sin, u * sin + v * cos], axis=-1)
                lines.append(points + np.array([town.x, town.y]))
    return np.concatenate(lines)


def _road(rng: np.random.Generator, start: Points, end: Points) -> Points:
    """A gently winding road, a point every 5 m."""
    length = float(np.hypot(*(end - start)))
    n = max(2, int(length / 5))
    t = np.linspace(0, 1, n)
    normal = np.array([start[1] - end[1], end[0] - start[0]]) / max(length, 1.0)
    bend = sum(rng.normal(0, 0.05 * length / k) * np.sin(math.pi * k * t) for k in (1, 2, 3, 5))
    return start + t[:, None] * (end - start) + np.outer(bend, normal)
