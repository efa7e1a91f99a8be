"""Synthesis of a scene, block by block: light and shadow, the camera, the surface model, labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from builtup.geo.windows import Window
from builtup.simulate.aerial.canvas import Canvas
from builtup.simulate.aerial.flight import Camera, Flight, Sun
from builtup.simulate.aerial.ground import REACH, Ground, ground_of, street_pieces
from builtup.simulate.aerial.materials import CODE, albedo
from builtup.simulate.aerial.objects import TREE_REACH, boxes_of, trees_of
from builtup.simulate.aerial.surface import CAR_CLASS, GROUND, Surface
from builtup.simulate.plan.noise import hash_cells, hash_uniform

__all__ = ["BLOCK", "IGNORED", "Picture", "Scene", "elevation_step"]

#: Side of a block of the synthesis, in pixels.
BLOCK = 512
#: Shadows, lots and trees are found on pixels of this many of the picture's.
COARSE = 2
#: The number of pixels that labels leave out, their share, and the side (m) of their patches.
IGNORED, LEFT_OUT, PATCH = 255, 0.015, 6.0
#: Share of cars that labels miss.
MISSED = 0.2
#: Pixels of surface models, in metres, about; heights of no-data.
SURFACE_PIXEL, NO_HEIGHT = 0.5, -9999.0
#: Edges of surface models are this soft (deviation in their pixels).
SOFT = 1.1
#: The highest tree, in metres.
TALLEST_TREE = 19.0
#: Colour of the light of sky and sun.
SKY, SUNLIGHT = (0.88, 0.97, 1.14), (1.04, 1.0, 0.93)

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Picture:
    """A block: `image` (4, H, W) uint8, `truth` and `labels` (H, W) uint8 class or IGNORED, and
    `elevation` (H/k, W/k) float32 metres."""

    image: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    elevation: Float


def elevation_step(pixel: float) -> int:
    """Pixels of the image along a pixel of the surface model: a power of two, about 50 cm."""
    return int(2 ** max(0, min(4, round(math.log2(SURFACE_PIXEL / pixel)))))


class Scene:
    """A flight, ready to be drawn block by block."""

    def __init__(self, flight: Flight) -> None:
        self.flight = flight
        self.pieces = street_pieces(flight)
        self.bounds = flight.city.buildings.bounds
        self.polygons = flight.city.buildings.polygons()

    def picture(self, window: Window) -> Picture:
        """What a window of the scene shows; it begins at whole pixels of the surface model.

        What a pixel shows does not depend on the window, but for the last digit of its value.
        """
        flight, step = self.flight, elevation_step(self.flight.pixel)
        wide, halo = self._wide(window), max(8, 4 * step)
        ground, built = self._ground(wide)
        things = (
            trees_of(wide, ground, built, flight),
            boxes_of(wide, ground, flight, self.pieces),
        )
        coarse = Surface.of(wide, flight, ground, built, things)
        ceiling = _ceiling(coarse.top, wide.pixel, flight.sun)
        fine = Canvas(
            window.x - halo,
            window.y - halo,
            window.width + 2 * halo,
            window.height + 2 * halo,
            flight.pixel,
            flight.corner,
        )
        finer = _cut(ground, wide, fine)
        surface = Surface.of(fine, flight, finer, self._built(fine), things)
        shade = _light(fine, surface, _upsampled(ceiling, wide, fine), flight)
        colours = albedo(
            fine, surface.material, surface.objects, flight.season, flight.salt & 0xFFFF
        )
        image = _camera(fine, colours * surface.dark * shade, flight)
        truth, labels = _labels(fine, surface, flight)
        inner = (slice(halo, halo + window.height), slice(halo, halo + window.width))
        seen = _seen(fine, flight)[inner]
        image, truth, labels = image[(slice(None), *inner)], truth[inner], labels[inner]
        image[:, ~seen] = 0
        truth[~seen] = labels[~seen] = IGNORED
        alpha = np.where(seen, np.uint8(255), np.uint8(0))
        return Picture(
            np.concatenate([image, alpha[None]]),
            truth,
            labels,
            self._elevation(fine, surface, finer, window, halo),
        )

    def _wide(self, window: Window) -> Canvas:
        """Coarse pixels around a window, as far as shadows, lots and crowns reach into it."""
        flight = self.flight
        pixel = COARSE * flight.pixel
        sun = flight.sun
        middle = Canvas(
            window.x, window.y, window.width, window.height, flight.pixel, flight.corner
        )
        heights = flight.city.buildings.heights[middle.near(self.bounds, 60 / sun.rise)]
        shadow = (max(TALLEST_TREE, float(heights.max(initial=0))) + 3) / sun.rise
        rim = REACH + TREE_REACH + 4
        pads = [
            math.ceil((rim + max(0.0, towards) * shadow) / pixel) + 8
            for towards in (-sun.east, -sun.south, sun.east, sun.south)
        ]
        column, row = window.x // COARSE - pads[0], window.y // COARSE - pads[1]
        right = -(-(window.x + window.width) // COARSE) + pads[2]
        bottom = -(-(window.y + window.height) // COARSE) + pads[3]
        return Canvas(column, row, right - column, bottom - row, pixel, flight.corner)

    def _built(self, canvas: Canvas) -> NDArray[np.int32]:
        """The number of each pixel's building, plus one; 0 where there is none."""
        near = canvas.near(self.bounds)
        return canvas.burn(self.polygons[near], near + 1)

    def _ground(self, wide: Canvas) -> tuple[Ground, NDArray[np.int32]]:
        built = self._built(wide)
        return ground_of(wide, self.flight, built, self.pieces), built

    def _elevation(
        self, fine: Canvas, surface: Surface, ground: Ground, window: Window, halo: int
    ) -> Float:
        """What photogrammetry makes of the surface: soft edges, noise, nonsense over water."""
        flight, step = self.flight, elevation_step(fine.pixel)
        rows, columns = -(-window.height // step), -(-window.width // step)
        high, wide = rows * step + 2 * halo, columns * step + 2 * halo
        top = np.pad(surface.top, ((0, high - fine.height), (0, wide - fine.width)), mode="edge")
        water = np.pad(ground.water, ((0, high - fine.height), (0, wide - fine.width)), mode="edge")
        model = Canvas(
            fine.column // step, fine.row // step, wide // step, high // step,
            fine.pixel * step, flight.corner,
        )  # fmt: skip
        mean = _blocks(top, step)
        wet = _blocks(water.astype(np.float32), step) > 0.5
        salt = flight.salt & 0xFFFF
        wrong = 1.4 * model.noise(9.0, salt + 91) + 0.9 * model.noise(2.0, salt + 92)
        mean = ndimage.gaussian_filter(np.where(wet, mean + wrong, mean), SOFT, truncate=3.5)
        error = np.float32(flight.camera.error)
        mean += error * (0.8 * model.noise(1.6, salt + 93) + 0.6 * _normal(model, salt + 94))
        mean += 2 * error * model.noise(7.0, salt + 90)
        mean += np.float32(flight.altitude)
        mean[~_seen(model, flight)] = NO_HEIGHT
        edge = halo // step
        return mean[edge : edge + rows, edge : edge + columns].astype(np.float32)


def _blocks(values: Float, step: int) -> Float:
    """Means of squares of pixels."""
    rows, columns = values.shape
    mean: Float = values.reshape(rows // step, step, columns // step, step).mean((1, 3))
    return mean


def _normal(canvas: Canvas, salt: int) -> Float:
    """A number of mean 0 and deviation 1 for each pixel."""
    total: Float = canvas.white(salt) + canvas.white(salt + 1) - np.float32(1)
    return total * np.float32(math.sqrt(6))


def _ceiling(top: Float, pixel: float, sun: Sun) -> Float:
    """How high the shadow of what stands towards the sun reaches, above each pixel."""
    reach = (float(top.max()) - float(top.min())) / sun.rise
    out = np.full(top.shape, -np.inf, np.float32)
    height, width = top.shape
    for k in range(1, min(math.ceil(reach / pixel), max(top.shape)) + 1):
        dx, dy = round(k * sun.east), round(k * sun.south)
        into = (
            slice(max(0, -dy), min(height, height - dy)),
            slice(max(0, -dx), min(width, width - dx)),
        )
        source = (
            slice(max(0, dy), min(height, height + dy)),
            slice(max(0, dx), min(width, width + dx)),
        )
        fallen = np.float32(math.hypot(dx, dy) * pixel * sun.rise)
        np.maximum(out[into], top[source] - fallen, out=out[into])
    return np.maximum(out, np.float32(top.min() - 1))


def _offsets(wide: Canvas, fine: Canvas) -> tuple[NDArray[Any], NDArray[Any]]:
    """Positions of the rows and columns of fine pixels among coarse ones."""
    rows = (np.arange(fine.row, fine.row + fine.height) + 0.5) / COARSE - 0.5 - wide.row
    columns = (np.arange(fine.column, fine.column + fine.width) + 0.5) / COARSE - 0.5 - wide.column
    return rows, columns


def _upsampled(values: Float, wide: Canvas, fine: Canvas) -> Float:
    """Values of coarse pixels between their middles, linearly."""
    rows, columns = _offsets(wide, fine)
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    down = (rows - top).astype(np.float32)[:, None]
    across = (columns - left).astype(np.float32)[None, :]
    upper = values[top] * (1 - down) + values[top + 1] * down
    mixed: Float = upper[:, left] * (1 - across) + upper[:, left + 1] * across
    return mixed


def _cut(ground: Ground, wide: Canvas, fine: Canvas) -> Ground:
    """The ground of the finer canvas: that of the coarse pixel that holds each."""
    rows, columns = ((a + 0.25).round().astype(int) for a in _offsets(wide, fine))
    index = np.ix_(rows, columns)
    return Ground(*(getattr(ground, name)[index] for name in Ground.__dataclass_fields__))


def _light(canvas: Canvas, surface: Surface, ceiling: Float, flight: Flight) -> Float:
    """Factors (3, H, W) on sRGB colours: 1 where flat ground lies in the sun."""
    sun, sky = flight.sun, np.float32(flight.camera.sky)
    lean = -(surface.east * np.float32(sun.east) + surface.south * np.float32(sun.south))
    steep = np.sqrt(1 + surface.east**2 + surface.south**2)
    facing = np.maximum(0, (lean / np.float32(sun.rise) + 1) / steep)
    lit = np.clip((surface.top - ceiling) / np.float32(0.25) + 1, 0, 1)
    lit = ndimage.uniform_filter(lit, 3)
    direct = (1 - sky) * facing * lit
    around = sky * (0.5 + 0.5 / steep)
    light = [d * direct + s * around for d, s in zip(SUNLIGHT, SKY, strict=True)]
    shade: Float = np.power(np.stack(light), np.float32(1 / 2.2))
    water = surface.material == CODE["water"]
    shade[:, water] = 0.35 + 0.65 * shade[:, water]
    return shade


def _camera(canvas: Canvas, colours: Float, flight: Flight) -> NDArray[np.uint8]:
    """8-bit colours (3, H, W) of what the camera makes of the light."""
    camera: Camera = flight.camera
    salt = flight.salt & 0xFFFF
    exposure = 1 + 0.035 * canvas.noise(60.0, salt + 95)
    grey = colours.mean(axis=0)
    out = np.empty(colours.shape, np.uint8)
    for band in range(3):
        colour = grey + np.float32(camera.colour) * (colours[band] - grey)
        tone = np.clip(colour * exposure * np.float32(camera.gain[band] / 255), 0, 1.2)
        tone = np.power(tone, np.float32(camera.gamma))
        tone = tone * np.float32(1 - camera.haze) + np.float32(0.8 * camera.haze)
        tone = ndimage.gaussian_filter(tone * np.float32(255), camera.blur, truncate=4)
        tone += np.float32(camera.noise) * _normal(canvas, salt + 96 + 2 * band)
        out[band] = np.clip(tone + np.float32(0.5), 0, 255)
    return out


def _labels(
    canvas: Canvas, surface: Surface, flight: Flight
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The truth, and what somebody drew: a little aside, cars missing, patches left out."""
    drawn = surface.kind.copy()
    cars = surface.number > 0
    missed = cars & (hash_uniform(surface.objects, 71) < MISSED)
    drawn[missed & (drawn == CAR_CLASS)] = GROUND
    dx, dy = (round(t / flight.pixel) for t in flight.shift)
    drawn = np.roll(drawn, (dy, dx), (0, 1))
    column = np.floor(canvas.x / PATCH)[None, :]
    row = np.floor(canvas.y / PATCH)[:, None]
    left_out = hash_uniform(hash_cells(column, row, flight.salt & 0xFFFF)) < LEFT_OUT
    drawn[left_out] = IGNORED
    return surface.kind, drawn


def _seen(canvas: Canvas, flight: Flight) -> NDArray[np.bool_]:
    """Where there is an image."""
    if flight.edge is None:
        return np.ones(canvas.shape, bool)
    a, b, c = flight.edge
    seen: NDArray[np.bool_] = a * canvas.x[None, :] + b * canvas.y[:, None] <= c
    return seen
