"""Scoring one trained fold: the threshold from ground that was left in, the score from the rest.

The network is that of the end of training (`last`: the running average where the config keeps
one; `soup` where it asks for one). The best checkpoint of a training is chosen by its validation,
so it is not used here. The temperature is fitted on left-in ground as well; scores are those
without it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from builtup.config.device import pick_device
from builtup.config.load import Config
from builtup.data.datasets import ValidationTiles
from builtup.data.pixels import PixelSizes
from builtup.data.samples import Layers
from builtup.errors import InputError
from builtup.geo.lengths import pixel_metres
from builtup.geo.probability import IGNORE, LEVELS, NODATA, level_of, mapped_band
from builtup.geo.rasters import gdal_env, open_raster
from builtup.jobs.files import write_text_atomically
from builtup.models.channels import inputs_of, sensor_of_model
from builtup.prediction.network import make_stream, predict_seen
from builtup.prediction.windows import Stream, ahead
from builtup.scoring.blocks import (
    BLOCK,
    BlockCounter,
    BlockRow,
    block_side,
    read_blocks,
    write_blocks,
)
from builtup.scoring.counts import Counts, level_histogram
from builtup.scoring.curves import choose_threshold
from builtup.sensors.catalogue import DEFAULT
from builtup.sensors.classes import Classes
from builtup.sensors.optical.cameras import HEIGHT
from builtup.sensors.radar.names import plain_id
from builtup.sensors.sensor import Sensor
from builtup.tiles.folds import Folds
from builtup.tiles.leakage import training_tiles
from builtup.tiles.table import TILE_STATS_CSV, TrainTile, read_tile_stats
from builtup.training.build import classes_of
from builtup.training.checkpoints import load_trained
from builtup.training.temperature import temperature_on

__all__ = ["FOLD_JSON", "FoldScore", "read_score", "score_fold", "write_score"]

log = logging.getLogger(__name__)

FOLD_JSON, BLOCKS_CSV = "fold.json", "blocks.csv"
#: Raised when scores of the same weights change.
SCORING_VERSION = 4


@dataclass(frozen=True)
class _Predicted:
    """A tile, its 8-bit probabilities (bands, H, W) by temperature, its truth (255: unscored)."""

    tile: TrainTile
    values: tuple[NDArray[np.uint8], ...]
    truth: NDArray[np.uint8]

    def histogram(self, number: int, classes: Classes) -> Counts:
        """Scored pixels by truth and the mapped class's level, (2, 255), of one temperature."""
        level = _mapped(self.values[number], classes)
        valid = (self.truth != IGNORE) & (level != NODATA)
        return level_histogram(level[valid], self.truth[valid] == classes.mapped_index)


@dataclass(frozen=True)
class FoldScore:
    """What a fold's network does on the ground that it never saw.

    `threshold` was chosen on `tuned_on`, `threshold_tiles` (used, of) of whose tiles were looked
    at. `temperature` was fitted there too; None where that cannot be done. Histograms (2, 255)
    int64 count pixels by truth and 8-bit probability: `held_out`, the same with the temperature
    (`tempered`), and `left_in` where the threshold was chosen.
    """

    fold: str
    city: str
    seed: int
    weights: str
    threshold: float
    tuned_on: tuple[str, ...]
    threshold_ground: str
    threshold_tiles: tuple[int, int]
    temperature: float | None
    held_out: Counts
    tempered: Counts
    left_in: Counts
    rows: tuple[BlockRow, ...]
    notes: tuple[str, ...] = field(default=())


def score_fold(folder: Path, config: Config, fold_name: str) -> FoldScore:
    """Choose the threshold on left-in tiles, then score the held-out ground of `fold_name`.

    `folder` holds the artifacts of the fold's training, `config` is what it was trained with.
    Raises InputError where weights or data are missing.
    """
    data_path = Path(config.data_path)
    tiles, folds = read_tile_stats(data_path / TILE_STATS_CSV), Folds.read(data_path)
    fold = folds.index_of(fold_name)
    classes = classes_of(config)
    weights = "soup" if config.soup and (folder / "weights" / "soup.pt").is_file() else "last"
    model = load_trained(folder / "weights" / f"{weights}.pt").model
    sensor, layers = sensor_of_model(model), _layers(model)
    pixels = PixelSizes.of_maps(tiles, config.get("reference_pixel"))
    ground = _left_in(config, folds, tiles, fold, sensor, layers, pixels)
    seen = ground.tiles
    held = folds.validation_tiles(tiles, fold)
    if not held:
        raise InputError(data_path, f"nothing to score in {fold_name}", "hold out another fold")
    of_all = (*held, *seen.tiles)
    largest = max(max(pixels.shape(t)) for t in of_all)
    left_in = np.zeros((2, LEVELS), np.int64)
    for predicted in _predictions(seen, _stream(model, config, largest), classes):
        left_in += predicted.histogram(0, classes)
    chosen = choose_threshold(left_in)
    notes = [] if chosen else ["no building on the left-in ground: the threshold is 0.5"]
    threshold = 0.5 if chosen is None else chosen.value
    temperature = temperature_on(model, seen)
    counter = BlockCounter(fold_name, config.seed, _block_side(sensor, held[0]))
    dataset = ValidationTiles(held, tiles, folds, fold, sensor=sensor, layers=layers)
    stream = _stream(model, config, largest, (1.0, temperature or 1.0))
    plain, tempered = np.zeros((2, LEVELS), np.int64), np.zeros((2, LEVELS), np.int64)
    for predicted in _predictions(dataset, stream, classes, pixels):
        _count(predicted, folds, counter, classes, threshold)
        plain += predicted.histogram(0, classes)
        tempered += predicted.histogram(1, classes)
    return FoldScore(
        fold=fold_name,
        city=folds.city_of(fold),
        seed=config.seed,
        weights=weights,
        threshold=threshold,
        tuned_on=ground.names,
        threshold_ground=ground.description,
        threshold_tiles=(len(seen), ground.number),
        temperature=temperature,
        held_out=plain,
        tempered=tempered,
        left_in=left_in,
        rows=tuple(counter.rows()),
        notes=tuple(notes),
    )


def _layers(model: nn.Module) -> Layers:
    """What the network reads beside its sensor's bands."""
    bands = sensor_of_model(model).names
    return Layers(tuple(name for name in inputs_of(model) if name == HEIGHT and name not in bands))


def _block_side(sensor: Sensor, held: TrainTile) -> int:
    """The side of the blocks that intervals resample, in pixels; of radar's always the same."""
    if sensor is DEFAULT:
        return BLOCK
    with gdal_env(), open_raster(held.tile.path) as dataset:
        return block_side(pixel_metres(dataset))


def _count(
    predicted: _Predicted, folds: Folds, counter: BlockCounter, classes: Classes, threshold: float
) -> None:
    """Count a held-out tile by block: as maps are decided, and where the probability is 0.5."""
    values, tile = predicted.values[0], predicted.tile.tile
    level, mapped = _mapped(values, classes), classes.mapped_index
    grid = folds.grid_of(tile)
    counter.add(
        tile.city if grid.crs else plain_id(tile.scene),  # whose ground is nobody else's
        tile.scene,
        grid.window(tile.x, tile.y, tile.width, tile.height),
        np.stack([classes.decide(values, threshold) == mapped, level >= level_of(0.5)]),
        predicted.truth == mapped,
        (predicted.truth != IGNORE) & (level != NODATA),
    )


def _mapped(values: NDArray[np.uint8], classes: Classes) -> NDArray[np.uint8]:
    """The mapped class's band of (bands, H, W)."""
    band: NDArray[np.uint8] = values[mapped_band(len(values), classes.mapped_index) - 1]
    return band


def _stream(
    model: nn.Module, config: Config, largest: int, temperatures: tuple[float, ...] = (1.0,)
) -> Stream:
    """Windows of the config's size (512), but no larger than the tiles: the rest would be bare."""
    window, overlap = config.get("window"), config.get("overlap")
    size = min(512 if window is None else window, largest)
    return make_stream(
        model,
        classes=classes_of(config),
        window=size,
        overlap=min(64 if overlap is None else overlap, size // 2),
        tta=config.get("tta") or "none",
        device=pick_device(config.get("device", "auto"), config.path),
        amp=config.amp is not False,
        blend=config.get("blend", "ramp"),
        temperatures=temperatures,
    )


@dataclass(frozen=True)
class _LeftIn:
    """Where the threshold is chosen: tiles, of how many, and the folds that they lie in."""

    tiles: ValidationTiles
    number: int
    names: tuple[str, ...]
    description: str


def _left_in(
    config: Config,
    folds: Folds,
    tiles: list[TrainTile],
    fold: int,
    sensor: Sensor,
    layers: Layers,
    pixels: PixelSizes,
) -> _LeftIn:
    """The ground of `threshold_fold` where there is one, else that of training."""
    names = [n for i, n in enumerate(folds.names) if i != fold]
    if config.threshold_fold is not None:
        inner = folds.index_of(config.threshold_fold)
        usable = folds.validation_tiles(tiles, inner)
        names = [folds.names[inner]]
        description = f"{names[0]}, held out of training as well"
    else:
        inner, description = fold, "training ground, which the network has learnt from"
        usable = training_tiles(folds, tiles, fold, drop_common=config.folds_drop)
    if not usable:
        raise InputError(
            config.data_path, f"nothing left when {folds.names[fold]} is held out", "add scenes"
        )
    most = min(len(usable), config.threshold_tiles or len(usable))
    chosen = [usable[i * len(usable) // most] for i in range(most)]
    of_training = config.threshold_fold is None
    dataset = ValidationTiles(
        *(chosen, tiles, folds, inner),
        of_training=of_training,
        sensor=sensor,
        layers=layers,
        pixels=pixels,
    )
    return _LeftIn(dataset, len(usable), tuple(names), description)


def _predictions(
    dataset: ValidationTiles, stream: Stream, classes: Classes, pixels: PixelSizes | None = None
) -> Iterator[_Predicted]:
    """The network's probabilities of each tile; of two classes those of the mapped one alone.

    A tile whose pixels are far from those that `pixels` asks for is mapped in these, and its map
    brought back, so that it is scored on its own grid.
    """
    bands = 1 if classes.by_threshold else len(classes)
    samples = ahead(dataset.__getitem__, list(range(len(dataset))))
    for tile, sample in zip(dataset.tiles, samples, strict=True):
        image = sample["image"].numpy()
        seen = image.shape[1:] if pixels is None else pixels.shape(tile)
        values = predict_seen(image, stream, (seen[0], seen[1]))
        by_temperature = tuple(values[i : i + bands] for i in range(0, len(values), bands))
        yield _Predicted(tile, by_temperature, sample["mask"].numpy())


def write_score(score: FoldScore, folder: Path, key: str) -> None:
    """Write blocks.csv, then fold.json, whose presence means that all is there."""
    write_blocks(folder / BLOCKS_CSV, score.rows)
    record = {
        "key": key,
        "version": SCORING_VERSION,
        "fold": score.fold,
        "city": score.city,
        "seed": score.seed,
        "weights": score.weights,
        "threshold": score.threshold,
        "threshold_tuned_on": list(score.tuned_on),
        "threshold_ground": score.threshold_ground,
        "threshold_tiles": list(score.threshold_tiles),
        "temperature": score.temperature,
        "held_out": score.held_out.tolist(),
        "tempered": score.tempered.tolist(),
        "left_in": score.left_in.tolist(),
        "notes": list(score.notes),
    }
    write_text_atomically(folder / FOLD_JSON, json.dumps(record) + "\n")


def read_score(folder: Path, key: str) -> FoldScore | None:
    """What `write_score` wrote under the same key, or None."""
    path = folder / FOLD_JSON
    try:
        record: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if record.get("key") != key:
        return None
    used, number = record["threshold_tiles"]
    return FoldScore(
        fold=record["fold"],
        city=record["city"],
        seed=record["seed"],
        weights=record["weights"],
        threshold=record["threshold"],
        tuned_on=tuple(record["threshold_tuned_on"]),
        threshold_ground=record["threshold_ground"],
        threshold_tiles=(used, number),
        temperature=record["temperature"],
        held_out=np.array(record["held_out"], np.int64),
        tempered=np.array(record["tempered"], np.int64),
        left_in=np.array(record["left_in"], np.int64),
        rows=tuple(read_blocks(folder / BLOCKS_CSV)),
        notes=tuple(record["notes"]),
    )
