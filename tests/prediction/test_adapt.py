"""When a network is adapted to what it maps, from which windows, and what is written of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from builtup.errors import ConfigError, InputError
from builtup.models.channels import Channels
from builtup.models.segmenter import Segmenter
from builtup.models.small import SmallUNet
from builtup.prediction.adapt import (
    FAR,
    LEAST_PIXELS,
    SIDE,
    Adapt,
    Adapted,
    interleaved,
    measure,
    sampled,
    say_adapted,
    spread_windows,
)
from builtup.sensors.radar.sentinel1 import SENTINEL1
from builtup.sensors.texture import Texture
from builtup.training.checkpoints import Trained


def _trained(*, simulated: bool = False) -> Trained:
    torch.manual_seed(0)
    channels = Channels("db_3b", (-18.0, -11.0, -14.0), (4.0, 4.0, 4.0))
    model = Segmenter(channels, SmallUNet(3, 2, (4, 8, 8, 8))).eval()
    trained = Trained(model, {}, 0.5, ("background", "building"), "r", simulated=simulated)
    seen = measure(trained, _windows(), Adapt("scene", 1.0), scenes=["t"], simulated=False)
    for name, layer in model.named_modules():  # as if it had been trained on this ground
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.copy_(torch.from_numpy(seen.moments[name].mean))
            layer.running_var.copy_(torch.from_numpy(seen.moments[name].variance))
    return trained


def _windows(
    factor: float = 1.0, count: int = 2, seed: int = 0, looks: float = 4.4
) -> list[np.ndarray]:
    """A town (brighter, right) and fields, with speckle, linear power."""
    generator = np.random.default_rng(seed)
    level = np.array([0.015, 0.08])[:, None, None] * np.ones((2, SIDE, SIDE))
    level[:, :, SIDE // 2 :] *= 6
    return [
        (factor * level * generator.gamma(looks, 1 / looks, level.shape)).astype(np.float32)
        for _ in range(count)
    ]


@pytest.mark.parametrize(
    ("text", "mode", "weight"),
    [("auto", "auto", 0.8), ("scene:0.5", "scene", 0.5), ("city:1", "city", 1.0)],
)
def test_adapt_is_read_and_said_alike(text: str, mode: str, weight: float) -> None:
    how = Adapt.parse(text)
    assert (how.mode, how.weight) == (mode, weight)
    assert Adapt.parse(str(how)) == how


@pytest.mark.parametrize("text", ["yes", "scene:0", "scene:1.1", "scene:x", "", "scene:nan"])
def test_what_is_no_way_of_adapting_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected auto, none, scene or city"):
        Adapt.parse(text)


def test_near_ground_is_left_and_far_ground_adapted_to() -> None:
    trained = _trained()
    same = measure(trained, _windows(seed=1), Adapt(), scenes=["a"], simulated=False)
    assert (same.moments, same.tag) == ({}, "")
    assert same.why.startswith("near ground: levels shifted by 0.0 ")
    far = measure(trained, _windows(0.01), Adapt(), scenes=["a"], simulated=False)
    assert far.distance > 2
    assert far.why.startswith("other ground: levels shifted by")
    assert far.tag == f"scene, weight 0.8, {2 * SIDE * SIDE} pixels"


@pytest.mark.parametrize(
    ("threshold", "words"), [(0.43, "a, mapped from probability 0.430 on: far"), (None, "a: far")]
)
def test_more_than_two_classes_are_mapped_from_no_probability_on(
    threshold: float | None, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    far = measure(_trained(), _windows(0.01), Adapt(), scenes=["a"], simulated=False)
    say_adapted(replace(far, why="far"), "a", threshold)
    assert caplog.messages == [f"adapt: the network is adapted to {words}"]


def test_other_looks_are_other_ground() -> None:
    known = replace(_trained(), texture=_texture(_windows()))
    same = measure(known, _windows(seed=1), Adapt(), scenes=["a"], simulated=False)
    filtered = _windows(looks=70)
    far = measure(known, filtered, Adapt(), scenes=["a"], simulated=False)
    unknown = measure(_trained(), filtered, Adapt(), scenes=["a"], simulated=False)

    assert not same.moments
    assert same.ratio == pytest.approx(1, abs=0.1)
    assert far.ratio == pytest.approx(4, rel=0.15)
    assert far.moments
    assert far.distance < FAR
    assert far.why == f"another texture (looks, filter, sharpness): {far.ratio:.1f} times apart"
    assert not unknown.moments
    assert unknown.ratio is None


def _texture(windows: list[np.ndarray]) -> tuple[float, ...]:
    texture = Texture(SENTINEL1)
    list(texture.passing(windows))
    return texture.median


def test_a_network_of_simulated_ground_is_adapted_to_real_scenes_alone() -> None:
    trained = _trained(simulated=True)
    real = measure(trained, _windows(), Adapt(), scenes=["a"], simulated=False)
    assert real.moments
    assert real.why == "the network has learnt from simulated ground only"
    assert not measure(trained, _windows(), Adapt(), scenes=["a"], simulated=True).moments


def test_too_few_pixels_and_a_single_cover_are_not_adapted_to() -> None:
    trained = _trained()
    few = [np.where(np.arange(SIDE) < 16, w, np.float32(np.nan)) for w in _windows()]
    found = measure(trained, few, Adapt("scene"), scenes=["a"], simulated=False)
    assert not found.moments
    assert found.why == f"{2 * 16 * SIDE} valid pixels are too few (below {LEAST_PIXELS})"
    water = [w[:, :, : SIDE // 2] for w in _windows(0.01)]
    found = measure(trained, water, Adapt("scene"), scenes=["a"], simulated=False)
    assert not found.moments
    assert found.why.startswith("it has a single cover")


def test_gaps_and_padding_do_not_move_the_statistics() -> None:
    trained = _trained()
    (whole,) = _windows(0.01, count=1)
    gap = whole.copy()
    gap[:, SIDE // 2 :] = np.nan
    half = measure(trained, [gap], Adapt("scene"), scenes=["a"], simulated=False)
    cut = measure(trained, [whole[:, : SIDE // 2]], Adapt("scene"), scenes=["a"], simulated=False)
    first = next(iter(half.moments))
    np.testing.assert_array_equal(half.moments[first].mean, cut.moments[first].mean)
    assert half.pixels == cut.pixels == SIDE * SIDE // 2


def test_what_was_written_is_read_and_has_the_same_bytes(tmp_path: Path) -> None:
    found = measure(_trained(), _windows(0.01), Adapt(), scenes=["a", "b"], simulated=False)
    for name in ("one", "two"):
        found.write(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    again = Adapted.read(tmp_path / "one")
    assert (again.why, again.scenes, again.tag) == (found.why, ("a", "b"), found.tag)
    assert again.tag.startswith("city, ")
    for name, moments in found.moments.items():
        np.testing.assert_array_equal(again.moments[name].mean, moments.mean)
        assert again.moments[name].count == moments.count


def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "scene.safetensors"
    path.write_bytes(b"none of ours")
    with pytest.raises(InputError, match="no adaptation can be read"):
        Adapted.read(path)


def test_threads_do_not_change_the_statistics(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found = measure(_trained(), _windows(0.01), Adapt(), scenes=["a"], simulated=False)
            found.write(tmp_path / str(threads))
    finally:
        torch.set_num_threads(before)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


# --- the sample ---------------------------------------------------------------------------------


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_windows_cover_a_raster_once_each(width: int, height: int) -> None:
    windows = spread_windows(width, height)
    assert len(set(windows)) == len(windows)
    rows, columns = {w.y for w in windows}, {w.x for w in windows}
    assert len(windows) == len(rows) * len(columns)
    assert max(w.y + w.height for w in windows) == height
    assert max(w.x + w.width for w in windows) == width
    assert all(b - a <= SIDE for a, b in zip(sorted(rows), sorted(rows)[1:], strict=False))


def test_every_beginning_is_spread_over_the_raster() -> None:
    windows = spread_windows(4096, 4096)[:32]
    quarters = {(w.y // 2048, w.x // 2048) for w in windows[:8]}
    eighths = {(w.y // 1024, w.x // 1024) for w in windows}
    assert (len(quarters), len(eighths)) == (4, 16)


def test_windows_without_measurements_take_no_place() -> None:
    windows = spread_windows(2560, 256)

    def read(window):  # only the right half of the swath holds anything
        values = np.full((2, window.height, window.width), np.nan, np.float32)
        values[:, :, max(0, 1280 - window.x) :] = 1
        return values

    found = list(sampled(read, windows, most=3))
    assert len(found) == 3
    assert all(np.isfinite(values).any() for values in found)


def test_dates_of_a_city_take_turns() -> None:
    assert list(interleaved([iter("ad"), iter("b"), iter("cef")])) == list("abcdef"[:3] + "def")
