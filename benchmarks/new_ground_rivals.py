"""What networks of `new_ground.py` are held against: forest, local mean, published network.

Each maps the parts of a pair from arrays, and gives the counts as JSON values.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from new_ground_data import Ground, MapCounts, Pair, Part, counted
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, uniform_filter
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor, nn
from torch.nn import functional as F

from builtup.geo.probability import IGNORE, SCALE, encode, level_of
from builtup.maps.forest import fit_forest, forest_probability
from builtup.scoring.curves import choose_threshold
from builtup.sensors.radar.bands import invalid, to_db
from builtup.tiles.folds import Folds
from builtup.tiles.tile import read_tiles

Float = NDArray[np.float32]


class Rival(Protocol):
    """Something that maps a ground; `by_seed` says whether chance has a part in it."""

    name: ClassVar[str]
    by_seed: ClassVar[bool]

    def count(self, pair: Pair, part: Part, seed: int) -> dict[str, Any]: ...


# --- random forest --------------------------------------------------------------------------------


class Forest:
    """`builtup.maps.forest` on the source without the fold and its gap, at 0.5."""

    name, by_seed = "random forest", True

    def count(self, pair: Pair, part: Part, seed: int) -> dict[str, Any]:
        started = time.monotonic()
        forest = _forest(pair.source, part.fold, seed)
        between = time.monotonic()
        maps = [
            _counts(city, truth, forest_probability(forest, power))
            for city, power, truth in part.target.arrays()
        ]
        return {
            "seconds": time.monotonic() - between,
            "training_seconds": between - started,
            "maps": [found.to_json() for found in maps],
        }


@cache
def _forest(source: Ground, fold: str, seed: int) -> RandomForestClassifier:
    folds = Folds.read(source.tiles)
    tiles = {tile.city: tile for tile in read_tiles(source.tiles / "images" / "tiles.csv")}
    number = folds.index_of(fold)
    scenes = []
    for city, power, truth in source.arrays():
        hidden = folds.held_out(tiles[city], number, with_gap=True)
        known = truth.copy()
        if hidden is not None:
            known[hidden.slices] = IGNORE
        if (known != IGNORE).any():
            # beyond the labels nothing is looked at: a feature reaches 7 pixels
            scenes.append((np.where(known == IGNORE, np.nan, power).astype(np.float32), known))
    return fit_forest(scenes, seed=seed)


def _counts(city: str, truth: NDArray[np.uint8], probability: Float) -> MapCounts:
    levels = encode(probability, np.isnan(probability))
    return MapCounts(city, counted(truth, levels, levels >= level_of(0.5)))


# --- local mean -----------------------------------------------------------------------------------


class LocalMean:
    """The mean of VV over 15 × 15 pixels, in decibels, mapped from the best threshold on.

    An oracle: labels of the target choose its threshold, one for all maps of a pair's part.
    """

    name, by_seed = "mean of VV, 15 × 15 (oracle)", False

    def count(self, pair: Pair, part: Part, seed: int) -> dict[str, Any]:
        started = time.monotonic()
        found = []
        for city, power, truth in part.target.arrays():
            levels = mean_levels(power[1])
            plain = counted(truth, levels, levels < 0)
            best = choose_threshold(plain.histogram)
            level = SCALE if best is None else level_of(best.value)
            found.append(MapCounts(city, counted(truth, levels, levels >= level)))
        seconds = time.monotonic() - started
        return {"seconds": seconds, "oracle": True, "maps": [of.to_json() for of in found]}


def local_mean(power: Float, window: int = 15) -> Float:
    """The mean over the valid pixels of a window, of linear power (H, W); NaN where invalid."""
    valid = np.isfinite(power) & (power > 0)
    weight = uniform_filter(valid.astype(np.float64), window, mode="constant")
    total = uniform_filter(np.where(valid, power, 0).astype(np.float64), window, mode="constant")
    mean = np.divide(total, weight, out=np.full(power.shape, np.nan), where=valid & (weight > 0))
    return mean.astype(np.float32)


def mean_levels(power: Float) -> NDArray[np.uint8]:
    """The local mean in decibels, -25 to 5 dB as levels 0 to 254; 255 where invalid."""
    mean = local_mean(power)
    share = (to_db(mean) + 25) / 30
    return encode(np.clip(share, 0, 1), np.isnan(mean))


# --- So2Sat ---------------------------------------------------------------------------------------

#: Pixels from one of its features to the next, and around a place that it was trained to see.
STRIDE, REACH = 4, 16
#: Its logits are divided by this: 0.5 stays where it is, and what it is sure of keeps its order in
#: the 254 levels of a map.
TEMPERATURE = 4.0
#: Local climate zones 1 to 10 are built; the classes come in their order.
BUILT = 10
#: Of the Lee filter: side of its window, and looks of a Sentinel-1 GRD scene.
LEE_WINDOW, LOOKS = 7, 4.4


class So2Sat:
    """The published network, its built-up zones together, at 0.5."""

    name, by_seed = "So2Sat ResNet-20", False

    def count(self, pair: Pair, part: Part, seed: int) -> dict[str, Any]:
        started = time.monotonic()
        network = so2sat_network()
        maps = [
            _counts(city, truth, so2sat_probability(network, power))
            for city, power, truth in part.target.arrays()
        ]
        seconds = time.monotonic() - started
        return {"seconds": seconds, "maps": [found.to_json() for found in maps]}


@cache
def so2sat_network() -> ResNet20:
    data = Path(os.environ.get("BUILTUP_DATA", "../shared/data"))
    with np.load(data / "radar_reference" / "so2sat_s1_resnet20.npz") as stored:
        return ResNet20({_short(name): stored[name] for name in stored.files}).eval()


def _short(name: str) -> str:
    """`conv2d_1/conv2d_1/kernel:0` as `conv2d_1/kernel`."""
    layer, _, variable = name.split("/")
    return f"{layer}/{variable.removesuffix(':0')}"


@torch.inference_mode()
def so2sat_probability(network: nn.Module, power: Float) -> Float:
    """Probability of the built-up zones (H, W) from power (2, H, W) of VH and VV.

    It was trained on patches of 32 × 32; here it slides over the whole image, a value every
    `STRIDE` pixels, bilinear between them. Inputs are VV before VH (the other way round it takes
    the sea for a town); coherence and the cosine of the phase are not known: their mean, 0.
    """
    wrong = invalid(power[0], power[1])
    channels = np.zeros((7, *wrong.shape), np.float32)
    for number, band in enumerate(power[::-1]):
        values = np.where(wrong, np.nan, band)
        for place, one in ((number, values), (number + 3, lee(values))):
            channels[place] = _standardised(to_db(one))
    around = ((0, 0), (REACH, REACH), (REACH, REACH))
    image = torch.from_numpy(np.pad(channels, around, mode="reflect"))
    logits = network(image[None])[0]
    built_up = logits[:BUILT].logsumexp(0) - logits[BUILT:].logsumexp(0)
    coarse = (built_up / TEMPERATURE).sigmoid().numpy()
    # the middle of what a value sees lies half a pixel before every fourth
    at = (np.indices(wrong.shape) + 0.5) / STRIDE
    found = map_coordinates(coarse, at, order=1, mode="nearest")
    return np.where(wrong, np.nan, np.clip(found, 0, 1)).astype(np.float32)


def _standardised(values: Float) -> Float:
    """Mean 0 and deviation 1 over the valid pixels; 0 where invalid."""
    spread = max(float(np.nanstd(values)), 1e-6)
    return np.nan_to_num((values - np.nanmean(values)) / spread).astype(np.float32)


def lee(power: Float) -> Float:
    """The Lee filter (1980) on linear power (H, W), NaN where invalid and not looked at."""
    valid = np.isfinite(power)
    weight = np.maximum(uniform_filter(valid.astype(np.float64), LEE_WINDOW), 1e-9)
    values = np.where(valid, power, 0).astype(np.float64)
    mean = uniform_filter(values, LEE_WINDOW) / weight
    variance = np.maximum(uniform_filter(values**2, LEE_WINDOW) / weight - mean**2, 0)
    noise = mean**2 / LOOKS
    signal = np.maximum((variance - noise) / (1 + 1 / LOOKS), 0)
    gain = np.divide(signal, variance, out=np.zeros_like(mean), where=variance > 0)
    return np.where(valid, mean + gain * (values - mean), np.nan).astype(np.float32)


class ResNet20(nn.Module):
    """ResNet-20, version 2 (He et al. 2016), as Keras builds it for CIFAR-10.

    `stored` are arrays by `layer/variable`, kernels (h, w, in, out). Logits (N, 17, h, w) of images
    (N, 7, H, W): one place of a patch of 32 × 32, and so on every four pixels of larger ones.
    """

    #: Epsilon of Keras' batch normalisation.
    EPSILON = 1e-3

    def __init__(self, stored: Mapping[str, NDArray[np.float32]]) -> None:
        super().__init__()
        for name, value in stored.items():
            array = np.transpose(value, (3, 2, 0, 1)) if value.ndim == 4 else value
            tensor = torch.from_numpy(np.ascontiguousarray(array, np.float32))
            self.register_buffer(name.replace("/", "-"), tensor)
        self._convolution = self._normalisation = 0

    def forward(self, x: Tensor) -> Tensor:
        self._convolution = self._normalisation = 0  # layers are numbered as they are built
        x = F.relu(self._normal(self._conv(x)))
        for stage in range(3):
            for block in range(2):
                stride = 2 if stage and not block else 1
                first = not stage and not block
                y = self._conv(x if first else F.relu(self._normal(x)), stride)
                y = self._conv(F.relu(self._normal(y)))
                y = self._conv(F.relu(self._normal(y)))
                x = (x if block else self._conv(x, stride)) + y
        x = F.avg_pool2d(F.relu(self._normal(x)), 8, 1)
        kernel = self._stored("dense_1", "kernel").T[:, :, None, None]
        return F.conv2d(x, kernel, self._stored("dense_1", "bias"))

    def _conv(self, x: Tensor, stride: int = 1) -> Tensor:
        self._convolution += 1
        layer = f"conv2d_{self._convolution}"
        kernel = self._stored(layer, "kernel")
        return F.conv2d(x, kernel, self._stored(layer, "bias"), stride, kernel.shape[-1] // 2)

    def _normal(self, x: Tensor) -> Tensor:
        self._normalisation += 1
        layer = f"batch_normalization_{self._normalisation}"
        of = [self._stored(layer, v) for v in ("moving_mean", "moving_variance", "gamma", "beta")]
        return F.batch_norm(x, *of, eps=self.EPSILON)

    def _stored(self, layer: str, variable: str) -> Tensor:
        return self.get_buffer(f"{layer}-{variable}")


RIVALS: tuple[Rival, ...] = (Forest(), LocalMean(), So2Sat())
