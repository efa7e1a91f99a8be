"""What buildings, roads and single strong scatterers add to a block of a scene."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builtup.simulate.plan.buildings import Buildings
from builtup.simulate.plan.city import PIXEL

__all__ = ["PLAIN", "Canvas", "Echo", "Scatterers", "View", "building_returns"]

#: Metres between the points that stand for a roof.
ROOF_STEP = 4.0

#: Share of a wall's return that comes from its face, in the layover before its foot.
FACE_SHARE = 0.3
#: Walls count up to about this height (m): further up the second bounce misses the street.
EFFECTIVE_HEIGHT = 7.0

Float = NDArray[np.float32]
Points = NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """Where the sensor stands.

    `look`: horizontal unit vector away from the sensor (east, south); `incidence` in degrees;
    `side`: 0 ascending, 1 descending.
    """

    look: tuple[float, float]
    incidence: float
    side: int

    @property
    def layover(self) -> float:
        """Metres towards the sensor by which a metre of height is displaced."""
        return 1 / math.tan(math.radians(self.incidence))

    @property
    def shadow(self) -> float:
        """Metres of shadow behind a metre of height."""
        return math.tan(math.radians(self.incidence))


@dataclass(frozen=True)
class Echo:
    """How walls and roofs return; as it stands, the plain world.

    `facing`, `other`: double bounce per square metre of wall (VV), for a wall that faces the
    sensor and for any other; `fall`: the angle (degrees) over which it falls: the shape that
    Franceschetti, Iodice & Riccio (2002, IEEE TGRS 40(8)) derive and Koppel et al. (2017, IJRS
    38(22)) measured with Sentinel-1, where blocks turned by more than about 15° lose most of their
    VV return. VH per square metre of wall: `cross`, a share of the VV, and `rotated`, what a
    rotated dihedral turns into cross-polarisation, sin²(2φ) (Lee & Ainsworth 2011, IEEE TGRS
    49(1), orientation angle shift). `roof_vv`, `roof_vh`: σ⁰ of roofs; `gain`, `roof`: factors on
    all walls and on all roofs.
    """

    facing: float = 10.0
    other: float = 2.8
    fall: float = 13.0
    cross: float = 0.055
    rotated: float = 0.2
    roof_vv: float = 0.13
    roof_vh: float = 0.022
    gain: float = 1.0
    roof: float = 1.0


#: Walls and roofs of the plain world.
PLAIN = Echo()


class Canvas:
    """Sums of what falls into the pixels of a block, split bilinearly between neighbours.

    `left`, `top`: ground position (metres) of the block's upper left corner.
    """

    def __init__(self, left: float, top: float, height: int, width: int) -> None:
        self.left, self.top = left, top
        self.height, self.width = height, width

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Least x and y, greatest x and y, in metres."""
        right, bottom = self.left + self.width * PIXEL, self.top + self.height * PIXEL
        return self.left, self.top, right, bottom

    def splat(self, points: Points, *amounts: NDArray[Any]) -> list[Float]:
        """Sums (height, width) of each amount (n,) given at points (n, 2)."""
        u = (points[:, 0] - self.left) / PIXEL - 0.5
        v = (points[:, 1] - self.top) / PIXEL - 0.5
        column, row = np.floor(u).astype(np.intp), np.floor(v).astype(np.intp)
        fu, fv = u - column, v - row
        # a frame of one pixel takes what falls beside the block
        inside = (column >= -1) & (row >= -1) & (column < self.width) & (row < self.height)
        column, row, fu, fv = column[inside], row[inside], fu[inside], fv[inside]
        stride, rows = self.width + 2, self.height + 2
        first = (row + 1) * stride + column + 1
        index = np.concatenate([first, first + 1, first + stride, first + stride + 1])
        weights = ((1 - fu) * (1 - fv), fu * (1 - fv), (1 - fu) * fv, fu * fv)
        out = []
        for amount in amounts:
            parts = np.concatenate([weight * amount[inside] for weight in weights])
            total = np.bincount(index, parts, rows * stride).reshape(rows, stride)
            out.append(total[1:-1, 1:-1].astype(np.float32))
        return out


@dataclass(frozen=True)
class Scatterers:
    """Strong single scatterers: points (n, 2) in metres, radar cross-sections in m²."""

    points: Points
    vv: NDArray[np.float64]
    vh: NDArray[np.float64]

    @classmethod
    def joined(cls, parts: Sequence[Scatterers]) -> Scatterers:
        """All of several sets."""
        return cls(
            np.concatenate([part.points for part in parts]),
            np.concatenate([part.vv for part in parts]),
            np.concatenate([part.vh for part in parts]),
        )

    def near(self, bounds: tuple[float, float, float, float]) -> Scatterers:
        """Those within bounds and 20 m around."""
        x, y = self.points.T
        keep = (x > bounds[0] - 20) & (y > bounds[1] - 20)
        keep &= (x < bounds[2] + 20) & (y < bounds[3] + 20)
        return Scatterers(self.points[keep], self.vv[keep], self.vh[keep])


@dataclass(frozen=True)
class Returns:
    """Of buildings on a block: scatterers, and shares of the ground under roofs and in shadow."""

    scatterers: list[Scatterers]
    covered: Float
    shaded: Float


def building_returns(
    canvas: Canvas, buildings: Buildings, view: View, echo: Echo = PLAIN
) -> Returns:
    """Roofs, walls, layover and shadow of the buildings on a block."""
    area = PIXEL * PIXEL
    points, own, cell = buildings.roof_points(ROOF_STEP)
    (covered,) = canvas.splat(points, cell / area)
    lifted = points - np.outer(buildings.heights[own] * view.layover, view.look)
    roof = cell * np.sqrt(buildings.strength[own, view.side]) * buildings.roofs[own] * echo.roof
    walls = _Walls.of(buildings)
    (shaded,) = canvas.splat(*_shadow_points(walls, view))
    roofs = Scatterers(lifted, roof * echo.roof_vv, roof * echo.roof_vh)
    scatterers = [roofs, *_wall_returns(walls, view, echo)]
    return Returns(scatterers, np.minimum(covered, 1), np.minimum(shaded / area, 1))


@dataclass(frozen=True)
class _Walls:
    """Edges of footprints: start and vector (n, 2), length, outward normal, building's number."""

    start: Points
    vector: Points
    length: NDArray[np.float64]
    normal: Points
    height: NDArray[np.float64]
    strength: Float

    @classmethod
    def of(cls, buildings: Buildings) -> _Walls:
        points = buildings.points
        counts = np.diff(buildings.starts)
        owner = np.repeat(np.arange(len(buildings)), counts)
        same = owner[1:] == owner[:-1]
        start, vector = points[:-1][same], np.diff(points, axis=0)[same]
        own = owner[:-1][same]
        length = np.hypot(*vector.T)
        turn = np.sign(buildings.signed_areas())[own]
        normal = np.stack([vector[:, 1], -vector[:, 0]], axis=1)
        normal *= (turn / np.maximum(length, 1e-9))[:, None]
        heights = buildings.heights[own].astype(np.float64)
        return cls(start, vector, length, normal, heights, buildings.strength[own])

    def sample(self, keep: NDArray[np.bool_]) -> tuple[Points, NDArray[np.intp], NDArray[Any]]:
        """Points about every 5 m along the walls to keep, the wall's number and share of each."""
        index = np.flatnonzero(keep)
        counts = np.maximum(1, np.ceil(self.length[index] / 5)).astype(np.intp)
        wall = np.repeat(index, counts)
        first = np.repeat(np.cumsum(counts) - counts, counts)
        t = (np.arange(len(wall)) - first + 0.5) / np.repeat(counts, counts)
        return (
            self.start[wall] + t[:, None] * self.vector[wall],
            wall,
            1 / np.repeat(counts, counts),
        )


def wall_sections(
    facing: NDArray[np.float64], length: NDArray[Any], height: NDArray[Any], echo: Echo = PLAIN
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Radar cross-sections (VV, VH; m²) of walls; `facing` is the cosine of their turn φ."""
    turn = np.arccos(np.clip(facing, -1, 1))
    surface = length * EFFECTIVE_HEIGHT * (1 - np.exp(-height / EFFECTIVE_HEIGHT))
    aligned = np.exp(-((np.degrees(turn) / echo.fall) ** 2))
    vv = surface * (echo.facing * aligned + echo.other * facing)
    vh = echo.cross * vv + surface * echo.rotated * np.sin(2 * turn) ** 2
    return vv, vh


def _wall_returns(walls: _Walls, view: View, echo: Echo) -> list[Scatterers]:
    """What walls return, at their feet and in the layover before them."""
    toward = -np.asarray(view.look)
    facing = walls.normal @ toward
    points, wall, share = walls.sample(facing > 0.05)
    vv, vh = wall_sections(facing[wall], walls.length[wall] * share, walls.height[wall], echo)
    strength = walls.strength[wall, view.side] * np.float32(echo.gain)
    vv, vh = vv * strength, vh * np.sqrt(strength)
    found = [Scatterers(points, vv * (1 - FACE_SHARE), vh * (1 - FACE_SHARE))]
    for part in (0.3, 0.8):
        lifted = points + toward * (part * walls.height[wall] * view.layover)[:, None]
        found.append(Scatterers(lifted, vv * (FACE_SHARE / 2), vh * (FACE_SHARE / 2)))
    return found


def _shadow_points(walls: _Walls, view: View) -> tuple[Points, NDArray[np.float64]]:
    """Points behind the walls turned away, each with the shaded area it stands for (m²)."""
    look = np.asarray(view.look)
    behind = walls.normal @ look
    points, wall, share = walls.sample(behind > 0.05)
    reach = walls.height[wall] * view.shadow
    steps = np.maximum(1, np.ceil(reach / 5)).astype(np.intp)
    owner = np.repeat(np.arange(len(wall)), steps)
    first = np.repeat(np.cumsum(steps) - steps, steps)
    t = (np.arange(len(owner)) - first + 0.5) / steps[owner]
    area = walls.length[wall] * share * behind[wall] * reach / steps
    return points[owner] + look * (t * reach[owner])[:, None], area[owner]
