"""Pictures: a block is that of the whole; light, elevation and labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builtup.geo.windows import Window
from builtup.simulate.aerial.flight import Flight, draw_flight
from builtup.simulate.aerial.imaging import IGNORED, NO_HEIGHT, Picture, Scene, elevation_step
from builtup.simulate.aerial.surface import BUILDING, CAR_CLASS, CLASSES, GROUND, VEGETATION, WATER
from builtup.simulate.plan.city import City

WHOLE = Window(0, 0, 192, 192)


@pytest.fixture(scope="module")
def picture(flight: Flight) -> Picture:
    return Scene(flight).picture(WHOLE)


@pytest.mark.parametrize("window", [Window(64, 32, 96, 128), Window(128, 128, 64, 64)])
def test_a_window_does_not_depend_on_what_is_around_it(
    flight: Flight, picture: Picture, window: Window
) -> None:
    part = Scene(flight).picture(window)
    rows, columns = window.slices
    for name in ("truth", "labels"):
        differ = getattr(part, name) != getattr(picture, name)[rows, columns]
        assert differ.mean() < 1e-3  # two houses equally far from a pixel may swap it
    differ = np.abs(part.image.astype(int) - picture.image[:, rows, columns]).max(0) > 1
    assert differ.mean() < 2e-3
    step = elevation_step(flight.pixel)
    index = (slice(rows.start // step, rows.stop // step),
             slice(columns.start // step, columns.stop // step))  # fmt: skip
    far = np.abs(part.elevation - picture.elevation[index]) > 0.01
    assert far.mean() < 2e-3


@pytest.mark.parametrize(
    ("pixel", "step"), [(0.05, 8), (0.1, 4), (0.2, 2), (0.25, 2), (0.3, 2), (0.5, 1), (1.0, 1)]
)
def test_surface_models_have_pixels_of_about_half_a_metre(pixel: float, step: int) -> None:
    assert elevation_step(pixel) == step


@pytest.mark.parametrize("pixel", [0.1, 0.33, 1.0])
def test_other_pixels_show_the_same_ground(aerial_city: City, pixel: float) -> None:
    size = 64
    flight = draw_flight(aerial_city, 0, size, pixel)
    own = Scene(flight).picture(Window(0, 0, size, size))
    fine = replace(flight, pixel=pixel / 2, size=2 * size)
    finer = Scene(fine).picture(Window(0, 0, 2 * size, 2 * size))
    assert (own.truth == finer.truth[::2, ::2]).mean() > 0.85


def test_the_elevation_is_terrain_and_what_stands_on_it(flight: Flight, picture: Picture) -> None:
    t = np.arange(96) * 0.5 + 0.25
    terrain = flight.terrain(t + flight.corner[0], t + flight.corner[1]) + flight.altitude
    above = picture.elevation - terrain
    kind = picture.truth[::2, ::2]
    assert picture.elevation.shape == (96, 96)
    assert np.median(above[kind == GROUND]) == pytest.approx(0, abs=0.2)
    assert np.median(above[kind == BUILDING]) > 3
    assert 0.05 < np.std(above[(kind == GROUND) & (above < 0.5)]) < 0.3  # noise


def test_shadows_are_dark_and_bluish(flight: Flight) -> None:
    clear = replace(flight, camera=replace(flight.camera, haze=0.0, noise=0.0, sky=0.2))
    cloudy = replace(flight, camera=replace(flight.camera, haze=0.0, noise=0.0, sky=1.0))
    one, other = (Scene(f).picture(WHOLE) for f in (clear, cloudy))
    ratio = one.image[:3].astype(float) / np.maximum(other.image[:3], 1)
    ground = one.truth == GROUND
    shadow = ground & (ratio[1] < 0.65)
    assert 0.02 < shadow.sum() / ground.sum() < 0.7
    assert np.median((ratio[2] / np.maximum(ratio[0], 0.01))[ground & ~shadow]) < 1.05


def test_labels_lie_a_little_off_and_miss_cars(aerial_city: City) -> None:
    flight = replace(draw_flight(aerial_city, 0, 512, 0.25), edge=None)
    whole = Scene(flight).picture(Window(0, 0, 512, 512))
    kept = whole.labels != IGNORED
    assert 0.003 < 1 - kept.mean() < 0.05
    agree = (whole.labels == whole.truth)[kept]
    assert 0.85 < agree.mean() < 0.995
    dx, dy = (round(t / 0.25) for t in flight.shift)
    back = np.roll(whole.labels, (-dy, -dx), (0, 1))
    cars = whole.truth == CAR_CLASS
    still = (back == CAR_CLASS)[cars & (back != IGNORED)].mean()
    assert 0.55 < still < 0.97
    # but for cars and patches, labels are the truth moved by the shift
    rest = ~cars & (back != IGNORED)
    rest[:8] = rest[-8:] = rest[:, :8] = rest[:, -8:] = False
    assert (back == whole.truth)[rest].all()


def test_beyond_the_flight_s_edge_nothing_is_known(flight: Flight) -> None:
    x, _ = flight.corner
    edged = replace(flight, edge=(1.0, 0.0, x + 40.0))
    picture = Scene(edged).picture(WHOLE)
    for lost, seen in ((np.s_[:, 160:], np.s_[:, :160]),):
        assert not picture.image[3][lost].any()
        assert not picture.image[:3][(slice(None), *lost)].any()
        assert (picture.truth[lost] == IGNORED).all()
        assert (picture.labels[lost] == IGNORED).all()
        assert (picture.image[3][seen] == 255).all()
        assert (picture.truth[seen] < len(CLASSES)).all()
    assert (picture.elevation[:, 80:] == NO_HEIGHT).all()
    assert (picture.elevation[:, :80] > 0).all()


def test_shares_of_classes_are_those_of_a_suburb(aerial_city: City) -> None:
    counts = np.zeros(6)
    for number in range(4):
        flight = replace(draw_flight(aerial_city, number, 256, 0.5), edge=None)
        truth = Scene(flight).picture(Window(0, 0, 256, 256)).truth
        counts += np.bincount(truth.ravel(), minlength=6)
    share = counts / counts.sum()
    assert 0.06 < share[BUILDING] < 0.45
    assert 0.04 < share[VEGETATION] < 0.6
    assert 0.25 < share[GROUND] < 0.85
    assert 0.001 < share[CAR_CLASS] < 0.06
    assert share[WATER] < 0.2
