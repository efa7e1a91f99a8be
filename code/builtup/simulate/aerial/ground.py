"""The ground between buildings: streets, lots, fields, water, and what divides lots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import Voronoi

from builtup.simulate.aerial.canvas import Canvas, hashed
from builtup.simulate.aerial.flight import Flight
from builtup.simulate.aerial.materials import CODE, Mix
from builtup.simulate.plan import landcover
from builtup.simulate.plan.buildings import Buildings
from builtup.simulate.plan.noise import hash_cells, hash_uniform

__all__ = [
    "FENCE",
    "HEDGE",
    "LARGE",
    "REACH",
    "Ground",
    "ground_of",
    "lanes_between",
    "street_pieces",
]

#: How far lots reach from a house (m), and the least area (m²) of those that are no houses.
REACH, LARGE = 24.0, 420.0
#: What divides lots.
FENCE, HEDGE = 1, 2
#: Side (m) of the cells of which some hold a pond, their share, and a pond's radius.
POND_CELL, PONDS, POND = 170.0, 0.16, (9.0, 27.0)
#: Width of a pavement beside a street (m), and the share of streets that have one.
PAVEMENT, PAVEMENTS = 1.6, 0.55
#: Buildings so far around a scene (m) decide where streets between footprints run.
AROUND = 150.0

#: Shares of materials on lots of houses and of larger buildings, of streets, and of fields.
HOUSE_LOTS = {
    "grass": 0.54, "gravel": 0.12, "concrete": 0.1, "soil": 0.06, "sand": 0.08, "clay": 0.03,
    "asphalt": 0.05, "bitumen": 0.03, "pale": 0.03,
}  # fmt: skip
LARGE_LOTS = {
    "asphalt": 0.3, "concrete": 0.22, "gravel": 0.17, "bitumen": 0.09, "grass": 0.1, "sand": 0.07,
    "pale": 0.04, "soil": 0.04, "clay": 0.02,
}  # fmt: skip
STREETS = {"asphalt": 0.55, "bitumen": 0.16, "concrete": 0.18, "gravel": 0.08, "sand": 0.05}
FIELDS = {
    "cereal": {"grass": 0.5, "sand": 0.5},
    "rowcrop": {"soil": 0.6, "grass": 0.4},
    "ploughed": {"soil": 1.0},
    "bare": {"sand": 0.5, "soil": 0.2, "gravel": 0.2, "pale": 0.1},
    "rock": {"gravel": 0.6, "pale": 0.2, "concrete": 0.2},
    "greenhouse": {"pale": 1.0},
    "forest": {"soil": 0.5, "grass": 0.5},
}


@dataclass(frozen=True)
class Ground:
    """Pixels of a canvas.

    `material` code, `objects` (hash of street, lot or field), `lot` (number of its building, −1
    for none), `away` (metres to the next building), `cover` (land cover code, where there is no
    lot), and whether there is `water` or a `street`; `divide` is FENCE or HEDGE between lots.
    """

    material: NDArray[np.uint8]
    objects: NDArray[np.uint32]
    lot: NDArray[np.int32]
    away: NDArray[np.float32]
    cover: NDArray[np.uint8]
    water: NDArray[np.bool_]
    street: NDArray[np.bool_]
    divide: NDArray[np.uint8]


def street_pieces(flight: Flight) -> NDArray[np.float64]:
    """Streets and roads of the city (n, 5): ends of straight pieces and their width; metres.

    Where footprints took the place of the plan, streets run between them.
    """
    city, roads = flight.city, flight.city.roads
    if city.spec.footprints:
        side = flight.size * flight.pixel
        scene = Canvas(0, 0, 1, 1, side, flight.corner)
        return lanes_between(city.buildings.take(scene.near(city.buildings.bounds, AROUND)))
    steps = np.column_stack([roads.points[:-1], roads.points[1:], roads.area[:-1] / 5])
    close = np.hypot(*(steps[:, 2:4] - steps[:, :2]).T) < 9.0
    return np.concatenate([city.lanes, steps[close]])


def ground_of(
    canvas: Canvas, flight: Flight, built: NDArray[np.int32], pieces: NDArray[np.float64]
) -> Ground:
    """The ground of a canvas; `built` holds the number of each pixel's building, plus one."""
    city = flight.city
    cover, parcel = city.country.classes(canvas.x, canvas.y)
    material = _fields(flight, cover, parcel)
    lot, away = _lots(canvas, built)
    objects = np.where(lot >= 0, hashed(lot, 11), parcel)
    _pave(flight, canvas, material, objects, lot, away)
    street = _streets(canvas, flight, material, objects, pieces, built)
    water = (cover == landcover.CODE["water"]) | _ponds(canvas, flight)
    water &= ~street & ((lot < 0) | (away > 6.0))
    material[water] = CODE["water"]
    objects[water] = np.uint32(5)
    divide = _divides(canvas, lot, street | water | (built > 0))
    return Ground(material, objects, lot, away, cover, water, street, divide)


def _fields(
    flight: Flight, cover: NDArray[np.uint8], parcel: NDArray[np.uint32]
) -> NDArray[np.uint8]:
    material = np.full(cover.shape, CODE["grass"], np.uint8)
    for number, (name, shares) in enumerate(FIELDS.items()):
        here = cover == landcover.CODE[name]
        if here.any():
            mix = Mix((*flight.city.spec.key, 31, number), shares)
            material[here] = mix.of(parcel[here], 41)
    return material


def _lots(canvas: Canvas, built: NDArray[np.int32]) -> tuple[NDArray[np.int32], Any]:
    """Each pixel's nearest building within reach, and how far away it is."""
    if not built.any():
        return np.full(canvas.shape, -1, np.int32), np.full(canvas.shape, 1e3, np.float32)
    away, (row, column) = ndimage.distance_transform_edt(built == 0, return_indices=True)
    away = (away * canvas.pixel).astype(np.float32)
    lot = built[row, column] - 1
    # lots end in bends, not in circles
    lot[away > REACH - 5 + 5 * np.clip(canvas.noise(15.0, 57), -1, 1)] = -1
    return lot, away


def _pave(
    flight: Flight,
    canvas: Canvas,
    material: NDArray[np.uint8],
    objects: NDArray[np.uint32],
    lot: NDArray[np.int32],
    away: NDArray[np.float32],
) -> None:
    """Lots, and the terraces and drives beside some houses."""
    key = flight.city.spec.key
    houses, large = Mix((*key, 32), HOUSE_LOTS), Mix((*key, 33), LARGE_LOTS)
    big = flight.city.buildings.areas() > LARGE
    of_lot = lot >= 0
    chosen = objects[of_lot]
    here = np.where(big[lot[of_lot]], large.of(chosen, 43), houses.of(chosen, 43))
    edge = 2.0 + 3.0 * hash_uniform(chosen, 45) + 0.7 * canvas.noise(6.0, 51)[of_lot]
    near = (away[of_lot] < edge) & (hash_uniform(chosen, 47) < 0.6)
    terrace = chosen ^ np.uint32(0x5BD1E995)
    here[near] = np.where(big[lot[of_lot][near]], large.of(terrace[near], 49), 0)
    small = near & ~big[lot[of_lot]]
    here[small] = houses.of(terrace[small], 49)
    material[of_lot] = here
    objects[of_lot] = np.where(near, terrace, chosen)


def _streets(
    canvas: Canvas,
    flight: Flight,
    material: NDArray[np.uint8],
    objects: NDArray[np.uint32],
    pieces: NDArray[np.float64],
    built: NDArray[np.int32],
) -> NDArray[np.bool_]:
    """Draw pavements, then streets over them; where these are."""
    boxes = np.column_stack(
        [np.minimum(pieces[:, :2], pieces[:, 2:4]), np.maximum(pieces[:, :2], pieces[:, 2:4])]
    )
    near = canvas.near(boxes, 20.0)
    street = np.zeros(canvas.shape, bool)
    if not len(near):
        return street
    mix = Mix((*flight.city.spec.key, 34), STREETS)
    lines = shapely.linestrings(pieces[near, :4].reshape(-1, 2, 2))
    # a street keeps its look for about 100 m of its way, in either direction
    block = np.floor(pieces[near, :2] / 97.0)
    look = hash_cells(block[:, 0], block[:, 1], 61)
    for wider, salt in ((PAVEMENT, 53), (0.0, 55)):
        number = canvas.burn(shapely.buffer(lines, pieces[near, 4] / 2 + wider, quad_segs=3))
        here = (number > 0) & (built == 0)
        if wider:
            here &= hash_uniform(look, 59)[number - 1] < PAVEMENTS
        of = look[number[here] - 1] + np.uint32(salt)
        material[here] = CODE["concrete"] if wider else mix.of(of, salt)
        objects[here] = of
        street |= here
    return street


def _ponds(canvas: Canvas, flight: Flight) -> NDArray[np.bool_]:
    """Ponds with frayed shores, at places of their own."""
    salt = flight.city.country.salt & 0xFFFF
    column, row = canvas.cells(POND_CELL)
    own = hash_cells(column, row, salt + 71)
    out = np.zeros(canvas.shape, bool)
    fray = None
    for i in np.flatnonzero(hash_uniform(own) < PONDS).tolist():
        one = own[i : i + 1]
        radius = POND[0] + (POND[1] - POND[0]) * float(hash_uniform(one, 73)[0]) ** 2
        x = (column[i] + 0.25 + 0.5 * float(hash_uniform(one, 75)[0])) * POND_CELL
        y = (row[i] + 0.25 + 0.5 * float(hash_uniform(one, 77)[0])) * POND_CELL
        stretch = 0.6 + 0.8 * float(hash_uniform(one, 79)[0])
        if fray is None:
            fray = canvas.noise(11.0, salt + 81)
        away = np.hypot((canvas.x - x)[None, :] * stretch, (canvas.y - y)[:, None] / stretch)
        out |= away < radius * (1 + 0.13 * fray)
    return out


def _divides(canvas: Canvas, lot: NDArray[np.int32], free: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Fences and hedges between neighbouring lots."""
    out = np.zeros(canvas.shape, np.uint8)
    for axis in (0, 1):
        other = np.roll(lot, 1, axis)
        here = (lot != other) & (lot >= 0) & (other >= 0) & ~free
        here[(slice(0, 1), slice(None)) if axis == 0 else (slice(None), slice(0, 1))] = False
        low, high = np.minimum(lot, other)[here], np.maximum(lot, other)[here]
        chance = hash_uniform(hash_cells(low, high, 83))
        out[here] = np.where(chance < 0.28, FENCE, np.where(chance < 0.52, HEDGE, 0))
    return out


# --- streets between footprints -------------------------------------------------------------------


#: Buildings this close (m) belong to one block, between whose parts no street runs.
BLOCK = 14.0
#: Walls are sampled about this often (m).
SAMPLE = 6.0
#: Streets are at least and at most so far from the walls on both sides, and that wide (m).
NEAR, FAR, WIDTH = 3.5, 32.0, 5.5

Points = NDArray[np.float64]


def lanes_between(houses: Buildings) -> Points:
    """Streets (n, 5) along the middles between blocks of buildings: the ends of straight pieces
    (x, y, x, y) and their width in metres."""
    if len(houses) < 4:
        return np.zeros((0, 5))
    points, owner = _wall_points(houses)
    diagram = Voronoi(points)
    pairs, ends = diagram.ridge_points, np.array(diagram.ridge_vertices)
    block = _blocks(houses)[owner]
    wanted = (block[pairs[:, 0]] != block[pairs[:, 1]]) & (ends >= 0).all(axis=1)
    one, two = (diagram.vertices[ends[wanted, i]] for i in (0, 1))
    near = points[pairs[wanted, 0]]
    away = np.maximum(np.hypot(*(one - near).T), np.hypot(*(two - near).T))
    across = np.hypot(*(points[pairs[wanted, 1]] - near).T) / 2
    keep = (across > NEAR) & (away < FAR)
    return np.column_stack([one[keep], two[keep], np.full(int(keep.sum()), WIDTH)])


def _wall_points(houses: Buildings) -> tuple[Points, NDArray[np.intp]]:
    """Points along walls, and the building of each; no point twice, as where two houses touch."""
    rings = shapely.segmentize(houses.polygons(), SAMPLE)
    points, owner = shapely.get_coordinates(rings, return_index=True)
    _, first = np.unique(np.round(points, 2), axis=0, return_index=True)
    return points[first], owner[first]


def _blocks(houses: Buildings) -> NDArray[np.int32]:
    """The number of each building's block."""
    polygons = houses.polygons()
    one, two = shapely.STRtree(polygons).query(polygons, "dwithin", BLOCK)
    links = coo_matrix((np.ones(len(one), np.int8), (one, two)), (len(houses), len(houses)))
    blocks: NDArray[np.int32] = connected_components(links, directed=False)[1]
    return blocks
