"""The top of everything on a canvas: its height, its class, its material, its slope."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builtup.sensors.optical.layouts import dronedeploy
from builtup.simulate.aerial.canvas import Canvas, hashed
from builtup.simulate.aerial.flight import Flight
from builtup.simulate.aerial.ground import FENCE, HEDGE, LARGE, Ground
from builtup.simulate.aerial.materials import CODE, Mix
from builtup.simulate.aerial.objects import CAR, CLUTTER, POOL, Boxes, Trees, envelopes
from builtup.simulate.plan.noise import hash_cells, hash_uniform

__all__ = ["BUILDING", "CAR_CLASS", "CLASSES", "GROUND", "VEGETATION", "WATER", "Surface"]

#: The classes, by number: those of DroneDeploy's benchmark.
CLASSES = dronedeploy.CLASSES.names
BUILDING, CLUTTER_CLASS, VEGETATION, WATER, GROUND, CAR_CLASS = range(6)
#: Shares of materials of the roofs of houses and of larger buildings.
HOUSE_ROOFS = {
    "clay": 0.22, "soil": 0.13, "asphalt": 0.2, "bitumen": 0.14, "gravel": 0.08, "concrete": 0.1,
    "sand": 0.06, "pale": 0.05, "grass": 0.02,
}  # fmt: skip
LARGE_ROOFS = {
    "pale": 0.2, "bitumen": 0.2, "gravel": 0.2, "concrete": 0.2, "asphalt": 0.1, "clay": 0.04,
    "sand": 0.04, "grass": 0.02,
}  # fmt: skip
#: Houses narrower than this (m) have gables, as a rule; their roofs rise by this much a metre.
GABLE, PITCH = 17.0, (0.35, 0.85)
#: Side (m) of the cells of flat roofs of which some hold a box, and their share.
ON_ROOF, UNITS = 3.4, 0.14

Float = NDArray[np.float32]


@dataclass
class Surface:
    """Of each pixel of a canvas: `top` (m above the flight's altitude), class `kind`, `material`,
    `objects` (a hash of what is seen), the slope of its top towards east and south, `dark`: a
    factor on its colour, and `number`: which car it shows, from 1 on, 0 for none.
    """

    top: Float
    kind: NDArray[np.uint8]
    material: NDArray[np.uint8]
    objects: NDArray[np.uint32]
    east: Float
    south: Float
    dark: Float
    number: NDArray[np.int32]

    @classmethod
    def of(
        cls,
        canvas: Canvas,
        flight: Flight,
        ground: Ground,
        built: NDArray[np.int32],
        things: tuple[Trees, Boxes],
    ) -> Surface:
        """Put everything on the ground, what is higher over what is lower."""
        terrain = flight.terrain(canvas.x, canvas.y)
        slope: Any = np.gradient(terrain, canvas.pixel)
        south, east = (g.astype(np.float32) for g in slope)
        out = cls(
            top=terrain.copy(),
            kind=np.where(ground.water, np.uint8(WATER), np.uint8(GROUND)),
            material=ground.material.copy(),
            objects=ground.objects.copy(),
            east=east,
            south=south,
            dark=np.ones(canvas.shape, np.float32),
            number=np.zeros(canvas.shape, np.int32),
        )
        trees, boxes = things
        out._divide(canvas, ground)
        out._stand(canvas, terrain, boxes, built)
        out._roof(canvas, flight, built)
        out._grow(canvas, flight, trees)
        return out

    def _divide(self, canvas: Canvas, ground: Ground) -> None:
        rough = 0.25 * canvas.noise(1.3, 3)
        for what, height, kind, name in (
            (FENCE, 1.3, CLUTTER_CLASS, "concrete"),
            (HEDGE, 1.7, VEGETATION, "leaf"),
        ):
            here = ground.divide == what
            self.top[here] += height + (rough[here] if what == HEDGE else 0)
            self.kind[here] = kind
            self.material[here] = CODE[name]
            self.objects[here] ^= np.uint32(0x9E3779B1 * what & 0xFFFFFFFF)

    def _stand(
        self, canvas: Canvas, terrain: Float, boxes: Boxes, built: NDArray[np.int32]
    ) -> None:
        """Pools, clutter and cars."""
        number = canvas.burn(boxes.polygons)
        number[built > 0] = 0
        here = np.nonzero(number)
        of = number[here] - 1
        kinds = np.zeros(3, np.uint8)
        kinds[[POOL, CLUTTER, CAR]] = WATER, CLUTTER_CLASS, CAR_CLASS
        self.kind[here] = kinds[boxes.kind[of]]
        self.top[here] = terrain[here] + boxes.height[of]
        self.material[here] = boxes.material[of]
        self.objects[here] = boxes.objects[of]
        cars = boxes.kind[of] == CAR
        self.number[here] = np.where(cars, number[here], 0)
        self.dark[(canvas.burn(boxes.glass) > 0) & (self.number > 0)] = 0.42

    def _roof(self, canvas: Canvas, flight: Flight, built: NDArray[np.int32]) -> None:
        here = np.nonzero(built)
        if not len(here[0]):
            return
        numbers, of = np.unique(built[here].astype(np.intp) - 1, return_inverse=True)
        houses = flight.city.buildings.take(numbers)
        own = hashed(numbers, 11) ^ np.uint32(0x85EBCA77)
        middle, along, half = envelopes(houses.polygons())
        base = flight.terrain_at(middle[:, 0], middle[:, 1]) + houses.heights
        large = houses.areas() > LARGE
        gabled = (2 * half[:, 1] < GABLE) & (houses.heights < 13) & ~large
        gabled &= hash_uniform(own, 3) < 0.72
        low, high = PITCH
        pitch = np.where(gabled, low + (high - low) * hash_uniform(own, 5), 0).astype(np.float32)
        offset = np.stack([canvas.x[here[1]], canvas.y[here[0]]], 1) - middle[of]
        u = (offset * along[of]).sum(1).astype(np.float32)
        v = (offset[:, 1] * along[of, 0] - offset[:, 0] * along[of, 1]).astype(np.float32)
        self.top[here] = base[of] + pitch[of] * (half[of, 1].astype(np.float32) / 2 - np.abs(v))
        self.kind[here] = BUILDING
        key = flight.city.spec.key
        small, big = Mix((*key, 35), HOUSE_ROOFS), Mix((*key, 36), LARGE_ROOFS)
        self.material[here] = np.where(large, big.of(own, 7), small.of(own, 7))[of]
        self.objects[here] = own[of]
        fall = -pitch[of] * np.sign(v)
        self.east[here] = -fall * along[of, 1].astype(np.float32)
        self.south[here] = fall * along[of, 0].astype(np.float32)
        self._on_roofs(here, own[of], pitch[of], (u, v), half[of])

    def _on_roofs(
        self,
        here: tuple[NDArray[np.intp], ...],
        own: NDArray[np.uint32],
        pitch: Float,
        frame: tuple[Float, Float],
        half: NDArray[np.float64],
    ) -> None:
        """Boxes on flat roofs, windows and chimneys on others, ribs of sheet metal."""
        u, v = frame
        cell = hash_cells(np.floor(u / ON_ROOF), np.floor(v / ON_ROOF), 13) ^ own
        inside = (np.abs(u) < half[:, 0] - 1.2) & (np.abs(v) < half[:, 1] - 1.0)
        size = 0.5 + 0.45 * hash_uniform(cell, 15)
        within = (np.abs(u / ON_ROOF - np.floor(u / ON_ROOF) - 0.5) < size / 2) & (
            np.abs(v / ON_ROOF - np.floor(v / ON_ROOF) - 0.5) < size / 2
        )
        share = np.where(pitch > 0, 0.05, UNITS * 2 * hash_uniform(own, 17) ** 2)
        unit = inside & within & (hash_uniform(cell, 19) < share)
        row, column = (a[unit] for a in here)
        self.top[row, column] += np.where(pitch[unit] > 0, 0.0, 0.5 + hash_uniform(cell[unit], 21))
        self.objects[row, column] = cell[unit]
        self.dark[row, column] = 0.55 + 0.7 * hash_uniform(cell[unit], 23)
        wide = 1.2 + 2.4 * hash_uniform(own, 25)
        ribbed = (hash_uniform(own, 27) < 0.3) & ((u / wide) % 1 < 0.3)
        self.dark[here[0][ribbed], here[1][ribbed]] *= 0.93

    def _grow(self, canvas: Canvas, flight: Flight, trees: Trees) -> None:
        """Crowns, each where it is the highest; smooth domes with lumps of leaves."""
        if not len(trees.place):
            return
        foot = flight.terrain_at(trees.place[:, 0], trees.place[:, 1])
        lumps = 0.5 * canvas.noise(0.9, 5) + 0.35 * canvas.noise(2.2, 7)
        crown = np.full(canvas.shape, -np.inf, np.float32)
        which = np.zeros(canvas.shape, np.int32)
        x, y = canvas.x, canvas.y
        left, top = canvas.left_top
        reach = trees.radius * 1.15
        first = np.stack(
            [
                (trees.place[:, 0] - reach - left) / canvas.pixel,
                (trees.place[:, 1] - reach - top) / canvas.pixel,
                (trees.place[:, 0] + reach - left) / canvas.pixel,
                (trees.place[:, 1] + reach - top) / canvas.pixel,
            ]
        )
        first = np.floor(first).astype(int)
        limits = np.array([canvas.width, canvas.height, canvas.width - 1, canvas.height - 1])
        first[:2] = first[:2].clip(0)
        first[2:] = np.minimum(first[2:], limits[2:, None])
        for i in np.flatnonzero((first[2] >= first[0]) & (first[3] >= first[1])).tolist():
            x0, y0, x1, y1 = first[:, i].tolist()
            rows, columns = slice(y0, y1 + 1), slice(x0, x1 + 1)
            dx, dy = x[columns] - trees.place[i, 0], y[rows] - trees.place[i, 1]
            away = (dx * dx)[None, :] + (dy * dy)[:, None]
            bulge = 1 - away / trees.radius[i] ** 2
            lump = lumps[rows, columns]
            height = trees.height[i]
            dome = foot[i] + height * (0.5 + 0.5 * np.sqrt(np.maximum(bulge, 0)))
            dome += min(1.0, 0.18 * height) * lump
            seen = (bulge + 0.16 * lump > 0) & (dome > crown[rows, columns])
            crown[rows, columns][seen] = dome[seen]
            which[rows, columns][seen] = i + 1
        here = crown > self.top
        self.top[here] = crown[here]
        self.kind[here] = VEGETATION
        self.material[here] = CODE["leaf"]
        self.objects[here] = trees.objects[which[here] - 1]
        self.dark[here] = 1
        self.number[here] = 0
        self._slope(here, crown, canvas.pixel)

    def _slope(self, here: NDArray[np.bool_], crown: Float, pixel: float) -> None:
        smooth: Any = np.where(np.isfinite(crown), crown, self.top)
        south, east = np.gradient(smooth, pixel)
        self.east[here] = np.clip(east[here], -1.6, 1.6)
        self.south[here] = np.clip(south[here], -1.6, 1.6)
