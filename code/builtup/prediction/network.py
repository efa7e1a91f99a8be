"""A network over a tile or a scene: overlapping windows in, 8-bit building probability out."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from builtup.config.device import pick_device
from builtup.errors import ConfigError
from builtup.geo.grid import Grid
from builtup.geo.probability import NODATA
from builtup.geo.rasters import create_cog, create_raster, gdal_env, open_raster
from builtup.geo.windows import Window
from builtup.jobs.files import atomic_path
from builtup.prediction.backends.choose import Task, choose_backend
from builtup.prediction.backends.probabilities import Probabilities
from builtup.prediction.decoders import decoding, number_of_decoders
from builtup.prediction.tile_reader import CACHE_BYTES, mark_invalid, scene_power
from builtup.prediction.tta import average_views, views_of
from builtup.prediction.windows import BLENDS, Stream, predict_stream, windows_of
from builtup.runs.results import PredictionTags, write_tags

__all__ = [
    "Prediction",
    "make_stream",
    "predict_array",
    "predict_scene",
    "predict_with",
    "write_tile",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prediction:
    """What a prediction did: windows that the network saw, pixels written."""

    windows: int
    pixels: int


def make_stream(
    model: nn.Module,
    *,
    window: int = 512,
    overlap: int = 64,
    batch_size: int = 4,
    tta: str = "none",
    device: str | torch.device = "auto",
    amp: bool = True,
    num_classes: int = 2,
    blend: str = "ramp",
    temperatures: tuple[float, ...] = (1.0,),
    backend: str = "torch",
    quantised: Path | None = None,
    decoders: int | None = None,
) -> Stream:
    """Make what predicts windows from `model`: power (B, C, H, W) to logits (B, classes, H, W).

    The model is moved to the device (channels last where it filters) and set to evaluation. Two
    classes give one band, the building's probability (class 1); more give a band each. `amp` (half
    precision) acts on CUDA only. Logits are divided by a temperature (Guo et al. 2017) before
    views are averaged; of several each gives its own bands. `backend` is torch, openvino,
    openvino-int8 (which needs `quantised`, see `builtup.prediction.backends.int8`) or auto.
    `decoders` processes read ahead: by default those that the cores allow, at most 8, for a GPU,
    and none for a CPU, for which a thread is enough. Raises ConfigError for settings that make no
    sense, BuiltupError where a backend does not agree with PyTorch.
    """
    if window < 1 or not 0 <= overlap < window:
        raise ConfigError(f"window={window} overlap={overlap}: overlap must be below the window")
    if batch_size < 1:
        raise ConfigError(f"batch_size={batch_size}: must be at least 1")
    if blend not in BLENDS:
        raise ConfigError(f"blend={blend!r}: unknown; use {' or '.join(BLENDS)}")
    if not temperatures or min(temperatures) <= 0:
        raise ConfigError(f"temperature={temperatures}: must be above 0")
    place = pick_device(device) if isinstance(device, str) else device
    if decoders is not None and decoders < 0:
        raise ConfigError(f"decoders={decoders}: must be at least 0")
    if decoders is None:
        decoders = number_of_decoders(place.type, idist.get_nproc_per_node())
    views = views_of(tta)
    model = model.to(place).eval()
    if any(isinstance(m, nn.Conv2d) and max(m.kernel_size) > 1 for m in model.modules()):
        # four times as fast on a CPU for real networks; 1x1 convolutions only lose by it
        model = model.to(memory_format=torch.channels_last)
    network = Probabilities(model, temperatures).eval()
    half = amp and place.type == "cuda"
    task = Task(network, window, place, half, quantised)
    backend, probabilities = choose_backend(backend, task)

    return Stream(
        lambda power: average_views(probabilities, power, views),
        bands=len(temperatures) * (1 if num_classes == 2 else num_classes),
        window=window,
        overlap=overlap,
        batch_size=batch_size,
        blend=blend,
        device=place,
        backend=backend,
        decoders=decoders,
    )


def predict_array(power: NDArray[np.float32], stream: Stream) -> NDArray[np.uint8]:
    """Predict an array (C, H, W) of linear power, NaN where invalid: (bands, H, W) uint8."""
    power = mark_invalid(power)
    _, height, width = power.shape
    out = np.empty((stream.bands, height, width), np.uint8)

    def read(window: Window) -> NDArray[np.float32]:
        rows, columns = window.slices
        return power[:, rows, columns]

    def write(window: Window, values: NDArray[np.uint8]) -> None:
        rows, columns = window.slices
        out[:, rows, columns] = values

    predict_stream(read, write, width, height, stream)
    return out


def predict_scene(
    path: Path,
    model: nn.Module,
    output_path: Path,
    *,
    window: int = 512,
    overlap: int = 64,
    batch_size: int = 4,
    tta: str = "none",
    device: str | torch.device = "auto",
    amp: bool = True,
    num_classes: int = 2,
    backend: str = "torch",
    decoders: int | None = None,
    tags: PredictionTags | None = None,
) -> Prediction:
    """Predict a whole 3-band scene into a COG of 8-bit probabilities, in flat memory.

    `model` maps VH and VV power (B, 2, window, window) to logits. The result lies on the scene's
    grid; it appears whole or not at all.
    """
    stream = make_stream(
        model,
        window=window,
        overlap=overlap,
        batch_size=batch_size,
        tta=tta,
        device=device,
        amp=amp,
        num_classes=num_classes,
        backend=backend,
        decoders=decoders,
    )
    return predict_with(path, stream, output_path, tags)


def predict_with(
    path: Path, stream: Stream, output_path: Path, tags: PredictionTags | None = None
) -> Prediction:
    """Predict a whole 3-band scene with a stream that is made already, see `predict_scene`."""
    profile: dict[str, Any] = {"count": stream.bands, "dtype": "uint8", "nodata": NODATA}
    with gdal_env(GDAL_CACHEMAX=CACHE_BYTES), open_raster(path) as scene:
        grid = Grid.of(scene)
    places = windows_of(grid.width, grid.height, stream)
    with (
        gdal_env(GDAL_CACHEMAX=CACHE_BYTES),
        create_cog(output_path, grid, **profile) as out,
        # closed first: its cached blocks are gone when the COG is made
        decoding(partial(scene_power, path), places, stream.decoders, stream.values) as read,
    ):

        def write(window: Window, values: NDArray[np.uint8]) -> None:
            out.write(values, window=window.rasterio)

        windows = predict_stream(read, write, grid.width, grid.height, stream)
        if tags is not None:
            write_tags(out, tags)
    return Prediction(windows, grid.pixels)


def write_tile(path: Path, values: NDArray[np.uint8], grid: Grid, tags: PredictionTags) -> None:
    """Write a tile's prediction (bands, H, W) on its own `grid`, whole or not at all.

    The band's description is the class it holds: the last one where there is one band.
    """
    layout = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "ZSTD"}
    place = {"crs": grid.crs, "transform": grid.transform}
    size = {"width": grid.width, "height": grid.height, "count": len(values)}
    with (
        gdal_env(),
        atomic_path(path) as temporary,
        create_raster(
            temporary, dtype="uint8", nodata=NODATA, **layout, **place, **size
        ) as dataset,
    ):
        write_tags(dataset, tags)
        dataset.descriptions = tags.classes[-len(values) :] or ("building",)
        dataset.write(values)
