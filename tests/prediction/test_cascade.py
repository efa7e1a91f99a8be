"""Several scales of a scene to one raster: as the whole-array form, resumed, at every edge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from torch import Tensor

from builtup.errors import ConfigError, InputError
from builtup.geo.area import parse_area
from builtup.geo.grid import Grid
from builtup.geo.probability import NODATA
from builtup.geo.windows import Window, blend_weights, tiling
from builtup.jobs.steps import Job
from builtup.prediction.cascade import LEVELS, Cascade, fitting, predict_source
from builtup.prediction.fold import Folding
from builtup.prediction.network import predict_array
from builtup.prediction.raster import Source
from builtup.prediction.windows import Stream
from builtup.prediction.zoom import Zoom, cascade_scales, halved
from builtup.runs.results import PredictionTags
from builtup.runs.scale_weights import ScaleWeights
from builtup.sensors.classes import BUILT_UP, Classes

Float = NDArray[np.float32]
Bytes = NDArray[np.uint8]
SIX = ("building", "clutter", "vegetation", "water", "ground", "car")
CRS_OF = CRS.from_epsg(32638)


def grid_of(width: int, height: int) -> Grid:
    return Grid(CRS_OF, Affine(10, 0, 3e5, 0, -10, 4e6), width, height)


@contextmanager
def held(scene: Float) -> Iterator[Callable[[Window], Float]]:
    yield lambda window: scene[:, *window.slices]


def scene_of(seed: int, width: int, height: int, *, gaps: bool = True) -> Float:
    """Smooth in places, rough in others, with a gap of one pixel and one that is large."""
    generator = np.random.default_rng(seed)
    scene = generator.random((2, height, width), dtype=np.float32)
    scene += np.linspace(0, 1, width, dtype=np.float32)
    if gaps:
        scene[:, 3, 5] = np.nan
        scene[:, height // 2 :, : width // 3] = np.nan
    return scene


def classes(number: int) -> Callable[[Tensor], Tensor]:
    """Probabilities from what lies around a pixel: other scales see other things."""
    torch.manual_seed(0)
    kernel = torch.randn((number, 2, 5, 5))

    def network(power: Tensor) -> Tensor:
        assert not (power == 0).any()  # nothing is filled up with zeros
        seen = power.nan_to_num(0.5)
        p = torch.nn.functional.conv2d(seen, kernel, padding=2).softmax(dim=1)
        return p[:, 1:] if number == 2 else p

    return network


def tags_of(names: tuple[str, ...], grid: Grid) -> PredictionTags:
    tags = PredictionTags("s_{}", "38SLF_A", grid.width, grid.height, "run", 0.5, names)
    return tags.of_kind("scene")


class Made:
    """A scene in memory, predicted into a folder."""

    def __init__(self, folder: Path, scene: Float, number: int = 6, window: int = 32) -> None:
        self.folder, self.scene = folder, scene
        self.grid = grid_of(scene.shape[2], scene.shape[1])
        self.names = SIX[:number] if number > 2 else BUILT_UP.names
        bands = 1 if number == 2 else number
        self.calls = 0
        network = classes(number)

        def counting(power: Tensor) -> Tensor:
            self.calls += len(power)
            return network(power)

        self.stream = Stream(counting, bands=bands, window=window, overlap=window // 4)
        self.source = Source(partial(held, scene), self.grid, "it")
        self.file = folder / "in.dat"
        self.file.write_bytes(scene.tobytes())

    def predict(self, cascade: Cascade | None, **more: Any) -> Bytes:
        job = Job("it", (self.file,), (self.folder / "raw" / "s_prob.tif",), {"fold": str(cascade)})
        source = replace(self.source, **more)
        tags = tags_of(self.names, self.grid)
        self.done = predict_source(source, self.stream, cascade, job, tags)
        with rasterio.open(job.outputs[0]) as out:
            assert (out.width, out.height) == (self.grid.width, self.grid.height)
            values: Bytes = out.read()
            return values

    @property
    def levels(self) -> list[str]:
        root = self.folder / LEVELS
        return sorted(str(path.relative_to(root)) for path in root.rglob("*.tif"))


def whole_array(made: Made, kind: str, alpha: float, scales: list[float]) -> Bytes:
    """The spec on whole arrays, in floats and numpy: what the coarser scales gave is brought to the
    next one's pixels."""
    folded: NDArray[np.float64] | None = None
    weight, before = np.zeros(()), 0.0
    for scale in scales:
        small, step = made.scene, 1.0
        while step > scale:
            small, step = halved(small), step / 2
        known = (~np.isnan(small).any(axis=0)).astype(float)[None]
        stream = made.stream if scale == 1 else fitting(made.stream, Zoom(made.grid, scale).grid)
        p = in_floats(small, stream)
        if folded is None:
            first = 1 if kind == "vote" else 1 / (1 + alpha)
            folded, weight, before = p * known * first, known * first, scale
            continue
        rows, columns = ((np.arange(n) + 0.5) * before / scale - 0.5 for n in small.shape[1:])
        folded, weight = (sampled(array, rows, columns) for array in (folded, weight))
        before = scale
        if kind == "vote":
            seen = weight > 1e-6
            coarse = folded / np.maximum(weight, 1e-6)
            both = np.where(seen, (alpha * onehot(coarse) + p) / (1 + alpha), p)
            folded = np.where(known > 0, both, coarse)
            weight = ((known > 0) | seen).astype(float)
            folded = folded * weight
        else:
            folded = (alpha * folded + p * known) / (1 + alpha)
            weight = (alpha * weight + known) / (1 + alpha)
    assert folded is not None
    valid = ~np.isnan(made.scene).any(axis=0)
    result = folded / np.maximum(weight, 1e-9)
    return np.where(valid, np.round(254 * result), NODATA).astype(np.uint8)


def in_floats(scene: Float, stream: Stream) -> NDArray[np.float64]:
    """Blended probabilities (bands, H, W) by sums over the whole array, never rounded."""
    _, height, width = scene.shape
    total, weights = np.zeros((stream.bands, height, width)), np.zeros((height, width))
    for w in tiling(width, height, stream.window, stream.overlap):
        beyond = ((0, 0), (0, stream.window - w.height), (0, stream.window - w.width))
        batch = np.pad(scene[:, *w.slices], beyond, mode="symmetric")[None]
        p = stream.probabilities(torch.from_numpy(batch))[0, :, : w.height, : w.width].numpy()
        ramps = [blend_weights(n, stream.overlap) for n in (w.height, w.width)]
        weight = np.outer(*ramps)
        total[:, *w.slices] += weight * p
        weights[w.slices] += weight
    return total / weights


def onehot(p: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.arange(len(p))[:, None, None] == p.argmax(axis=0), float)


def sampled(
    array: NDArray[np.float64], rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float64]:
    from scipy.ndimage import map_coordinates

    places = np.meshgrid(
        rows.clip(0, array.shape[1] - 1), columns.clip(0, array.shape[2] - 1), indexing="ij"
    )
    return np.stack([map_coordinates(band, places, order=1, mode="nearest") for band in array])


@pytest.mark.parametrize("kind", ["vote", "soft"])
@pytest.mark.parametrize("size", [(150, 110), (131, 64), (700, 520)])
def test_streamed_it_is_the_whole_array_s_form(
    tmp_path: Path, kind: str, size: tuple[int, int]
) -> None:
    made = Made(tmp_path, scene_of(0, *size))
    found = made.predict(Cascade(Folding(kind, 1 / 3)))
    scales = cascade_scales(*size, 32)
    assert len(made.levels) == len(scales) == {150: 4, 131: 4, 700: 6}[size[0]]
    expected = whole_array(made, kind, 1 / 3, scales)
    np.testing.assert_array_equal(found[0] == NODATA, expected[0] == NODATA)
    valid = expected[0] != NODATA
    other = found.argmax(axis=0)[valid] != expected.argmax(axis=0)[valid]
    assert other.mean() <= 1e-3
    apart = np.abs(found.astype(int) - expected)[:, valid]
    assert (apart > 1).mean() < 1e-3
    assert kind == "vote" or apart.max() <= 2


@pytest.mark.parametrize("number", [2, 6])
@pytest.mark.parametrize("kind", ["vote", "soft"])
def test_without_alpha_it_is_plain_prediction_on_every_pixel(
    tmp_path: Path, kind: str, number: int
) -> None:
    made = Made(tmp_path, scene_of(1, 150, 101), number)
    plain = predict_array(made.scene, made.stream)
    np.testing.assert_array_equal(made.predict(None), plain)
    np.testing.assert_array_equal(made.predict(Cascade(Folding(kind, 0.0))), plain)


@pytest.mark.parametrize("kind", ["vote", "soft", "mean"])
def test_a_network_of_one_class_gives_that_class(tmp_path: Path, kind: str) -> None:
    made = Made(tmp_path, scene_of(2, 140, 90))
    made.stream = replace(
        made.stream,
        probabilities=lambda power: torch.tensor([0.1, 0.0, 0.0, 0.9, 0.0, 0.0])[
            None, :, None, None
        ].expand(len(power), 6, *power.shape[2:]),
    )
    found = made.predict(Cascade(Folding(kind, 1 / 3)))
    valid = found[0] != NODATA
    assert (found.argmax(axis=0)[valid] == 3).all()
    np.testing.assert_array_equal(valid, ~np.isnan(made.scene).any(axis=0))


def test_of_two_classes_the_band_is_the_mapped_one_s(tmp_path: Path) -> None:
    made = Made(tmp_path, scene_of(3, 130, 70), number=2)
    found = made.predict(Cascade(Folding("vote", 1 / 3)))
    assert len(found) == 1
    plain = predict_array(made.scene, made.stream)
    valid = plain[0] != NODATA
    moved = found[0][valid] / 254 - plain[0][valid] * 0.75 / 254  # a quarter is the coarser map's
    assert set(np.round(moved * 4, 1)) == {0.0, 1.0}


def test_levels_stay_and_another_fold_predicts_nothing_again(tmp_path: Path) -> None:
    made = Made(tmp_path, scene_of(4, 120, 100), number=2)
    first = made.predict(Cascade(Folding("vote", 1 / 3)))
    assert made.done.windows == made.calls > 0
    assert made.levels == ["0.25/s_prob.tif", "0.5/s_prob.tif", "1/s_prob.tif"]
    made.calls = 0
    other = made.predict(Cascade(Folding("soft", 0.5)))
    assert made.calls == made.done.windows == 0
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(made.predict(Cascade(Folding("vote", 1 / 3))), first)
    made.file.write_bytes(b"other")  # another scene
    made.predict(Cascade(Folding("vote", 1 / 3)))
    assert made.calls > 0


def test_killed_between_levels_it_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    one, two = (tmp_path / name for name in ("one", "two"))
    for folder in (one, two):
        folder.mkdir()
    scene, cascade = scene_of(5, 120, 100), Cascade(Folding("soft"))
    whole = Made(one, scene)
    whole.predict(cascade)

    broken = Made(two, scene)
    network, left = broken.stream.probabilities, 5

    def dying(power: Tensor) -> Tensor:
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt
        return network(power)

    broken.stream = replace(broken.stream, probabilities=dying)
    with pytest.raises(KeyboardInterrupt):
        broken.predict(cascade)
    done = broken.levels
    assert done and not list((two / "raw").rglob("*.tif"))
    broken.stream, broken.calls = replace(broken.stream, probabilities=network), 0
    broken.predict(cascade)
    assert 0 < broken.calls < whole.calls
    paths = [path.relative_to(one) for path in one.rglob("*.tif")]
    assert len(paths) == 4 == len(list(two.rglob("*.tif")))
    for path in paths:
        assert (one / path).read_bytes() == (two / path).read_bytes()


@pytest.mark.parametrize("scales", [(0.3, 1.0), (0.5, 1.0, 2.0), (0.25, 0.5)])
def test_any_scales_may_be_averaged(tmp_path: Path, scales: tuple[float, ...]) -> None:
    made = Made(tmp_path, scene_of(6, 90, 75), number=2)
    made.stream = replace(
        made.stream, probabilities=lambda power: power[:, :1].nan_to_num(0).clamp(0, 2) / 2
    )
    found = made.predict(Cascade(Folding("mean"), scales))
    gaps = np.isnan(made.scene).any(axis=0)
    np.testing.assert_array_equal(found[0] == NODATA, gaps)
    smooth = made.scene[0] / 2
    inner = ~gaps
    assert np.corrcoef(found[0][inner] / 254, smooth[inner])[0, 1] > 0.5
    assert abs(found[0][inner].mean() / 254 - smooth[inner].mean()) < 0.01


def test_outside_of_an_area_all_is_no_data(tmp_path: Path) -> None:
    made = Made(tmp_path, scene_of(7, 120, 100, gaps=False), number=2)
    west, south, east, north = 45.0, 36.1, 45.0, 36.2
    from pyproj import Transformer

    to_degrees = Transformer.from_crs("EPSG:32638", "EPSG:4326", always_xy=True)
    west, south = to_degrees.transform(3e5 + 300, 4e6 - 700)
    east, north = to_degrees.transform(3e5 + 800, 4e6 - 200)
    area = parse_area(f"{west},{south},{east},{north}")
    cascade = Cascade(Folding("vote", 1 / 3))
    found = made.predict(cascade, area=area)
    assert area is not None
    limits = area.on(made.grid)
    assert limits is not None
    inside = limits.holds(Window(0, 0, 100, 120))
    assert 0 < inside.sum() < inside.size
    np.testing.assert_array_equal(found[0] != NODATA, inside)


def test_a_scene_without_a_valid_pixel_leaves_no_raster(tmp_path: Path) -> None:
    made = Made(tmp_path, np.full((2, 90, 80), np.nan, np.float32))
    with pytest.raises(InputError, match=r"^it: no pixel is valid"):
        made.predict(Cascade(Folding("soft")))
    assert [p.name for p in tmp_path.rglob("*.tif")] == []
    assert [p.name for p in tmp_path.rglob("*scratch*")] == []


def test_the_work_is_a_third_more_and_edges() -> None:
    grid = grid_of(4096, 2900)
    zooms = Cascade(Folding("vote")).zooms(grid, 512)
    assert [zoom.scale for zoom in zooms] == [0.125, 0.25, 0.5, 1.0]
    pixels = [zoom.grid.pixels for zoom in zooms]
    assert sum(pixels) <= 1.3334 * grid.pixels


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("vote", 0.3, 1.0, ()), "exponent=1: must be above 1"),
        (("vote", 0.3, 2.0, (0.5, 2.0)), "fold=vote goes from coarse to 1, never above"),
        (("mean", 0.3, 2.0, (0.0, 1.0)), "scales=0;1: a scale is above 0"),
        (("mean", 0.3, 2.0, (0.5, 0.5)), "one of them is given twice"),
        (
            ("logits", 0.3, 2.0, ()),
            "fold=logits: no weights of scales were fitted to this model; say fold=soft",
        ),
        (("most", 0.3, 2.0, ()), "fold=most: unknown"),
    ],
)
def test_options_without_sense_are_named(options: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Cascade.of(*options, BUILT_UP)


def test_one_scale_is_no_cascade() -> None:
    assert Cascade.of("", 1 / 3, 2.0, (), BUILT_UP) is None


def test_fitted_weights_come_with_their_scales_and_belong_to_their_classes(tmp_path: Path) -> None:
    weights = ScaleWeights(
        scales=(0.5, 1.0), classes=BUILT_UP.names, weights=((0.2, 0.3), (0.8, 0.9))
    )
    weights.write(tmp_path)
    made = Cascade.of(f"logits:{tmp_path}", 1 / 3, 2.0, (), BUILT_UP)
    assert made is not None
    assert made.scales == (0.5, 1.0) and made.folding.weights == weights.weights
    assert str(made) == f"logits {weights.digest}"
    with pytest.raises(ConfigError, match=r"weights of the scales 0.5;1; leave scales out"):
        Cascade.of(f"logits:{tmp_path}", 1 / 3, 2.0, (0.25, 1.0), BUILT_UP)
    with pytest.raises(ConfigError, match="weights of the classes background, building, not"):
        Cascade.of(f"logits:{tmp_path}", 1 / 3, 2.0, (), Classes.of(SIX))


def test_a_model_s_own_weights_fold_its_scales(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for fold, said in (("", "scales without a fold"), ("logits", "fold=logits")):
        with pytest.raises(ConfigError, match=f"^{said}: no weights of scales were fitted to this"):
            Cascade.of(fold, 1 / 3, 2.0, (0.5, 1.0), BUILT_UP, tmp_path)
    weights = ScaleWeights(
        scales=(0.5, 1.0), classes=BUILT_UP.names, weights=((0.2, 0.3), (0.8, 0.9))
    )
    weights.write(tmp_path)
    own = f"logits {weights.digest}"
    assert str(Cascade.of("logits", 1 / 3, 2.0, (), BUILT_UP, tmp_path)) == own
    assert str(Cascade.of("", 1 / 3, 2.0, (0.5, 1.0), BUILT_UP, tmp_path)) == own
    assert "several scales: fold=logits, as its weights were fitted to this model" in caplog.text
    assert Cascade.of("", 1 / 3, 2.0, (), BUILT_UP, tmp_path) is None  # one scale stays one
    with pytest.raises(ConfigError, match=r"weights of the scales 0.5;1; give these, or say fold"):
        Cascade.of("", 1 / 3, 2.0, (0.25, 1.0), BUILT_UP, tmp_path)


def test_a_cascade_says_what_its_pixels_depend_on() -> None:
    assert str(Cascade(Folding("vote", 1 / 3))) == "vote, alpha 0.333333, scales by 2"
    assert str(Cascade(Folding("mean"), (0.25, 1.0))) == "mean, scales 0.25;1"


def test_a_level_is_predicted_at_its_own_size(tmp_path: Path) -> None:
    made = Made(tmp_path, scene_of(8, 131, 70), number=2)
    made.predict(Cascade(Folding("soft")))
    for scale in (0.25, 0.5, 1.0):
        with rasterio.open(tmp_path / LEVELS / f"{scale:g}" / "s_prob.tif") as level:
            assert Grid.of(level) == Zoom(made.grid, scale).grid
            assert level.overviews(1) == []


@pytest.mark.parametrize("kind", ["vote", "soft", "mean"])
@pytest.mark.parametrize("number", [2, 6])
def test_a_pixel_does_not_depend_on_the_block_that_it_is_folded_in(
    tmp_path: Path, kind: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Made(tmp_path, scene_of(8, 700, 420), number, window=96)
    cascade = Cascade(Folding(kind, 1 / 3))
    first = made.predict(cascade)
    monkeypatch.setattr("builtup.prediction.folded_raster.BLOCK", (37, 149))
    np.testing.assert_array_equal(made.predict(cascade), first)


def test_windows_of_a_coarse_level_are_as_large_as_they_must_be() -> None:
    stream = Stream(lambda power: power[:, :1], window=512, overlap=64)
    sides = {side: fitting(stream, grid_of(side, side)).window for side in (300, 512, 1024, 2048)}
    assert sides == {300: 320, 512: 512, 1024: 544, 2048: 576}
    # eight windows
    assert fitting(stream, grid_of(1024, 2048)).window == 576
    tiny = Stream(lambda power: power[:, :1], window=32, overlap=8)
    assert fitting(tiny, grid_of(75, 55)).window == 32
    dense = Stream(lambda power: power[:, :1], window=128, overlap=64)
    assert {fitting(dense, grid_of(n, n)).window for n in (1, 3, 62, 64)} == {96}
    assert fitting(replace(dense, window=48, overlap=40), grid_of(90, 3)).window == 48
