"""Fitting a network's normalisation to the scene that is mapped: when, from what, and the record.

A network that has learnt from other ground ranks the pixels of a scene well, and yet may give all
of them probabilities near 0: radiometry, season and sensor differ. Statistics of batch
normalisation that are taken from the scene itself (builtup.models.batch_statistics) mend that. On
ground like that of training they do harm: a scene half of which is a city is not a scene of
brighter fields. `Adapt` holds the rule, with the measurements behind it.

    windows spread over the scene ── BatchStatistics ── far or near? ── <name>.safetensors
                                                                              │
    predict: the network with these statistics, or as it is, for every window of the scene
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from builtup.errors import ConfigError, InputError
from builtup.geo.windows import Window
from builtup.jobs.files import atomic_path
from builtup.models.batch_statistics import BatchStatistics, Moments
from builtup.models.channels import inputs_of, sensor_of_model
from builtup.prediction.network import mark_invalid
from builtup.sensors.texture import Texture, texture_ratio
from builtup.training.checkpoints import Trained

__all__ = [
    "ADAPTED",
    "MODES",
    "Adapt",
    "Adapted",
    "interleaved",
    "measure",
    "sampled",
    "say_adapted",
    "spread_windows",
]

log = logging.getLogger(__name__)

Float = NDArray[np.float32]

#: The folder, below that of a prediction, of the files that say what was adapted to.
ADAPTED = "adapted"
MODES = ("auto", "none", "scene", "city")
#: Weight of the scene's statistics beside those of training: four to one.
WEIGHT = 0.8
#: Standard deviations of training by which the levels of far ground are shifted, see `Adapt`.
FAR = 2.0
#: Times by which the texture of far ground is rougher or smoother than that of training.
OTHER_TEXTURE = 2.0
#: Pixels along a side of a sampled window, how many are looked at at once, and of a scene in all.
SIDE, AT_ONCE, MOST = 256, 16, 32
#: Valid pixels without which a scene is not adapted to.
LEAST_PIXELS = SIDE * SIDE // 4
#: A scene of a single cover (water, one forest) varies less, in standard deviations of training.
LEAST_VARIETY = 0.15
#: Valid share of a window that is worth a place in the sample.
WORTH = 0.25


@dataclass(frozen=True)
class Adapt:
    """What the normalisation is fitted to: each `scene`, the dates of a `city` together, or `none`.

    `auto` is `scene` for far ground and `none` for near: far is a real scene for a network that has
    learnt from simulated ground only, and any scene whose levels are shifted by more than two
    standard deviations of training (`BatchStatistics.distance`) or whose texture is more than twice
    as rough or as smooth (`builtup.sensors.texture`). Measured with small networks: levels .4 to
    1.3 for blocks of one scene, also where one is all town and the others are not, 3.1 and more for
    another band, 4.5 to 6.5 for another sensor; textures up to 1.7 times apart for blocks of one
    scene and 1.2 for other seasons, 2.6 and more for other looks. All of radar: by `auto` networks
    of images stay as they are. `weight` is that of the new statistics.
    """

    mode: str = "auto"
    weight: float = WEIGHT

    @classmethod
    def parse(cls, text: str) -> Adapt:
        """Read `scene` or `scene:0.8`; ConfigError for anything else."""
        mode, colon, number = text.partition(":")
        try:
            weight = float(number) if colon else WEIGHT
        except ValueError:
            weight = -1.0
        if mode not in MODES or not 0 < weight <= 1:
            raise ConfigError(
                f"adapt={text}: expected auto, none, scene or city, and for another weight than "
                f"{WEIGHT:g} scene:0.5 (above 0, at most 1)"
            )
        return cls(mode, weight)

    def __str__(self) -> str:
        """As it is parsed."""
        return f"{self.mode}:{self.weight:g}"

    @property
    def is_on(self) -> bool:
        """Whether anything is looked at."""
        return self.mode != "none"


@dataclass(frozen=True)
class Adapted:
    """What a scene was adapted to, or why it was not.

    `moments` by the name of the layer, empty where it was not adapted; `why` in words, `distance`
    as `BatchStatistics` has it, `ratio` that of textures (`texture_ratio`, None where that of
    training is not known), `windows` and valid `pixels` that were looked at, of `scenes`.
    """

    moments: Mapping[str, Moments]
    why: str
    mode: str
    weight: float
    distance: float
    pixels: int
    windows: int
    scenes: tuple[str, ...]
    ratio: float | None = None

    @property
    def tag(self) -> str:
        """What rasters say of it: `scene, weight 0.8, 1048576 pixels`; nothing if not adapted."""
        if not self.moments:
            return ""
        what = "city" if len(self.scenes) > 1 else "scene"
        return f"{what}, weight {self.weight:g}, {self.pixels} pixels"

    def write(self, path: Path) -> None:
        """Write a safetensors file, whole or not at all; the same bytes for the same content."""
        tensors = {}
        for name, of in self.moments.items():
            tensors[f"{name}.running_mean"] = torch.from_numpy(of.mean)
            tensors[f"{name}.running_var"] = torch.from_numpy(of.variance)
        about = {key: value for key, value in asdict(self).items() if key != "moments"}
        counts = {name: of.count for name, of in self.moments.items()}
        text = json.dumps({**about, "positions": counts}, sort_keys=True)
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata={"builtup": text})

    @classmethod
    def read(cls, path: Path) -> Adapted:
        """What `write` wrote; InputError where it cannot be read."""
        try:
            with safe_open(path, framework="pt") as file:
                about: dict[str, Any] = json.loads((file.metadata() or {})["builtup"])
                moments = {
                    name: Moments(
                        count,
                        file.get_tensor(f"{name}.running_mean").numpy(),
                        file.get_tensor(f"{name}.running_var").numpy(),
                    )
                    for name, count in about.pop("positions").items()
                }
            return cls(moments=moments, **{**about, "scenes": tuple(about["scenes"])})
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as e:
            raise InputError(path, f"no adaptation can be read ({e})", "remove it") from e


def say_adapted(found: Adapted, names: str, threshold: float | None) -> None:
    """Log what was decided of the scenes of those names, and from what probability on they are then
    mapped (None: by the largest); a warning where an adaptation that was asked for is not made."""
    if found.moments:
        mapped = "" if threshold is None else f", mapped from probability {threshold:.3f} on"
        log.info("adapt: the network is adapted to %s%s: %s", names, mapped, found.why)
        return
    level = logging.INFO if found.mode == "auto" else logging.WARNING
    log.log(level, "adapt: the network is not adapted to %s: %s", names, found.why)


def measure(
    trained: Trained,
    windows: Iterable[Float],
    how: Adapt,
    *,
    scenes: Sequence[str],
    simulated: bool,
    device: str | torch.device = "cpu",
) -> Adapted:
    """Look at windows (inputs, h, w) of a scene, at most 256 × 256, NaN where invalid, and decide.

    `simulated`: the scene is, which for a network of simulated ground is no other ground. Batches
    of 16 windows in their order give the statistics, so that each should hold windows from
    everywhere.
    """
    model = trained.model.to(device)
    found = BatchStatistics(model, how.weight)
    count = 0
    texture = Texture(sensor_of_model(model))
    for batch in _batches(texture.passing(windows), len(inputs_of(model))):
        found.add(batch.to(device))
        count += len(batch)
    ratio = texture_ratio(trained.texture, texture.median)
    far = _far(trained, found, ratio, simulated=simulated)
    against = _against(found)
    if against:
        chosen, why = False, against
    elif how.mode == "auto":
        chosen, why = bool(far), far or f"near ground: {_shift(found)}"
    else:
        chosen, why = True, f"adapt={how.mode}: {_shift(found)}"
    return Adapted(
        moments=found.mixed() if chosen else {},
        why=why,
        mode=how.mode,
        weight=how.weight,
        distance=round(found.distance(), 4),
        pixels=found.pixels,
        windows=count,
        scenes=tuple(scenes),
        ratio=None if math.isnan(ratio) else round(ratio, 4),
    )


def _far(trained: Trained, found: BatchStatistics, ratio: float, *, simulated: bool) -> str:
    """Why the ground is other than that of training; nothing where it is not."""
    if trained.simulated and not simulated:
        return "the network has learnt from simulated ground only"
    if found.distance() > FAR:
        return f"other ground: {_shift(found)}"
    if ratio > OTHER_TEXTURE:
        return f"another texture (looks, filter, sharpness): {ratio:.1f} times apart"
    return ""


def _against(found: BatchStatistics) -> str:
    """What speaks against adapting to what was seen, or nothing."""
    if found.pixels < LEAST_PIXELS:
        return f"{found.pixels} valid pixels are too few (below {LEAST_PIXELS})"
    variety = found.variety()
    if math.isfinite(variety) and variety < LEAST_VARIETY:
        return f"it has a single cover (its levels vary by {variety:.2f} standard deviations)"
    if not found.mixed():
        return "no layer of the network sees enough of it"
    return ""


def _shift(found: BatchStatistics) -> str:
    return f"levels shifted by {found.distance():.1f} standard deviations of training"


# --- the sample ---------------------------------------------------------------------------------


def spread_windows(width: int, height: int, side: int = SIDE) -> list[Window]:
    """Windows that cover a raster, in an order of which every beginning is spread over it.

    They are those of a regular grid, flush with the edges; the order follows an additive sequence
    of low discrepancy (Roberts 2018, R2).
    """
    rows, columns = _offsets(height, side), _offsets(width, side)
    places = np.stack(np.meshgrid(range(len(rows)), range(len(columns)), indexing="ij"), -1)
    places = places.reshape(-1, 2)
    # each cell at the first point of the sequence that falls into it
    number = 8 * len(places)
    g = 1.32471795724474602596  # the plastic number
    steps = np.arange(1, number + 1)[:, None] / np.array([g, g * g])
    cells = ((0.5 + steps) % 1 * [len(rows), len(columns)]).astype(int)
    flat = cells[:, 0] * len(columns) + cells[:, 1]
    _, first = np.unique(flat, return_index=True)
    order = list(dict.fromkeys([*flat[np.sort(first)].tolist(), *range(len(places))]))
    return [
        Window(
            rows[row := index // len(columns)],
            columns[column := index % len(columns)],
            min(side, height - rows[row]),
            min(side, width - columns[column]),
        )
        for index in order
    ]


def _offsets(length: int, side: int) -> list[int]:
    count = max(1, -(-length // side))
    last = max(0, length - side)
    return [round(i * last / max(1, count - 1)) for i in range(count)]


def sampled(
    read: Callable[[Window], Float],
    windows: Iterable[Window],
    most: int = MOST,
    required: int | None = None,
) -> Iterator[Float]:
    """Read windows in their order until `most` are worth it, or `4 · most` were read.

    `required` as in `Stream`.
    """
    found = 0
    for number, window in enumerate(windows):
        if found == most or number == 4 * most:
            return
        values = mark_invalid(read(window))
        share = np.isfinite(values[:required]).all(axis=0).mean()
        if share >= WORTH or (share > 0 and number < most):
            found += 1
            yield values


def interleaved(sources: Sequence[Iterator[Float]]) -> Iterator[Float]:
    """One of each source in turn, until all have ended."""
    left = list(sources)
    while left:
        for source in tuple(left):
            try:
                yield next(source)
            except StopIteration:
                left.remove(source)


def _batches(windows: Iterable[Float], inputs: int) -> Iterator[torch.Tensor]:
    """Windows in batches of squares, filled up with NaN."""
    batch: list[Float] = []
    for values in windows:
        square = np.full((inputs, SIDE, SIDE), np.nan, np.float32)
        square[:, : values.shape[1], : values.shape[2]] = values
        batch.append(square)
        if len(batch) == AT_ONCE:
            yield torch.from_numpy(np.stack(batch))
            batch = []
    if batch:
        yield torch.from_numpy(np.stack(batch))
