"""Streets between buildings of which nothing but the footprints is known."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import Voronoi

from builtup.simulate.plan.buildings import Buildings

__all__ = ["lanes_between"]

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
