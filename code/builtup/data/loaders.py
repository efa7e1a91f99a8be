"""Loaders, ready for a config: from a folder of tiles and the name of the fold held out.

Configs import this module, and a prediction reads the config of its training: so torchvision and
ignite, which take two seconds of CPU time to import, are imported by the functions that need them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from builtup.data.class_balance import tile_weights
from builtup.data.contract import SampleLoader
from builtup.data.radar import Radar
from builtup.data.samplers import TrainingBatches, ValidationBatches
from builtup.errors import ConfigError, InputError
from builtup.sensors.catalogue import DEFAULT
from builtup.sensors.sensor import Sensor
from builtup.tiles.folds import Folds
from builtup.tiles.leakage import check_folds, require_same_data, training_tiles
from builtup.tiles.normalisation import read_classes, read_sensor
from builtup.tiles.table import TILE_STATS_CSV, TrainTile, read_tile_stats
from builtup.tiles.tile import TILES_CSV, band_count, read_tiles

if TYPE_CHECKING:
    from builtup.data.datasets import Augmentation, TrainTiles, ValidationTiles
    from builtup.data.pixels import PixelSizes
    from builtup.data.samples import Batch

#: The layer of classes, from which tile_stats.csv is, and that of levels of a probability.
MASKS, SOFT = "masks", "soft"

__all__ = [
    "TileLoader",
    "open_folder",
    "process_share",
    "train_eval_loader",
    "train_loader",
    "val_loader",
]


class TileLoader(SampleLoader):
    """Batches of the tiles of a folder, whose folds are known.

    `dataset.tiles[index]` are those in use, `drop_common` says whether ground that other cities
    share with the held-out one is left out. It holds a DataLoader and is none: its batches are
    those of this process already, and code that shares a DataLoader out among processes must not
    do it twice.
    """

    def __init__(
        self,
        dataset: TrainTiles | ValidationTiles,
        batch_sampler: TrainingBatches | ValidationBatches,
        tiles: Sequence[TrainTile],
        *,
        num_workers: int = 0,
        drop_common: bool = False,
        threshold_fold: int | None = None,
        folder: Path | None = None,
    ) -> None:
        from builtup.data.datasets import collate

        self.folder = folder
        self.threshold_fold = threshold_fold
        self.dataset = dataset
        self.batch_sampler = batch_sampler
        self.tiles: list[TrainTile] = list(tiles)
        self.folds: Folds = dataset.folds
        self.val_fold = dataset.val_fold
        self.drop_common = drop_common
        self._loader = DataLoader(
            dataset,
            batch_sampler=batch_sampler,
            collate_fn=collate,
            num_workers=num_workers,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=num_workers > 0,
            worker_init_fn=_start_worker if num_workers > 0 else None,
        )

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._loader)

    def set_epoch(self, epoch: int) -> None:
        """Choose the stream of an epoch (see `builtup.data.samplers`); validation has one only."""
        if isinstance(self.batch_sampler, TrainingBatches):
            self.batch_sampler.set_epoch(epoch)

    def generators(self) -> Iterator[torch.Generator]:
        """That of the batches; validation draws nothing."""
        if isinstance(self.batch_sampler, TrainingBatches):
            yield self.batch_sampler.generator

    def dealt(self) -> SampleLoader:
        """Itself: its batches are those of this process already."""
        return self

    @property
    def sample_tiles(self) -> Sequence[TrainTile]:
        """The tiles in use."""
        return self.dataset.tiles

    @property
    def knows_folds(self) -> bool:
        """Always."""
        return True

    def check_folds(self) -> None:
        """Raise LeakageError where training ground lies within the gap of validation ground."""
        check_folds(self.folds, self.tiles, self.val_fold, folds_drop=self.drop_common)


def train_loader(
    folder: str | Path,
    *,
    val_fold: str | int | None,
    batch_size: int,
    crop: int,
    sampler_weights: tuple[float, ...] | None = (0.5, 0.5),
    scale: tuple[float, float] | None = (0.7, 1.0),
    ratio: tuple[float, float] = (0.9, 1.1),
    flips: bool = True,
    radar: Radar | None = None,
    num_workers: int = 0,
    seed: int = 0,
    drop_common: bool = False,
    max_tiles: int | None = None,
    samples_per_epoch: int | None = None,
    threshold_fold: str | int | None = None,
    pixel_size: tuple[float, float] | None = None,
    layer: str = MASKS,
    cell: int = 1,
    one_scene: bool = False,
    channel_set: str = "",
    targets: tuple[str, ...] = (),
    height_dropout: float = 0.0,
    optical: Augmentation | None = None,
    reference_pixel: float | None = None,
    rarest: float = 0.0,
) -> TileLoader:
    """Random crops of `crop` pixels from the tiles below `folder` that `val_fold` leaves.

    `val_fold` is a fold's name or index, None to hold nothing out. `batch_size` counts the
    samples of all processes. `sampler_weights` are those of a tile (without, with built-up
    pixels), or one for each of more classes, of which the largest counts that occurs; None takes
    each as often as another. An epoch has `samples_per_epoch`, None: as many as there are tiles; a
    share `rarest` of them is drawn by how much of a tile is of the rarest class, and centred on a
    pixel of it. `scale=None` crops without resizing, `flips`
    are flips and quarter turns, `radar` further augmentation. `drop_common` leaves out ground that
    other cities share with the held-out one. `max_tiles` takes that many, evenly spread.
    `threshold_fold` is another fold to keep away from, whole tiles of it. `pixel_size` (least,
    most) resizes squares so that a pixel becomes so many times as large; it stands in place of
    `scale`. `layer` is what the samples' mask is read from: "masks", or another layer of the same
    tiles, such as "soft" (see `builtup.maps.pseudo_labels`). Crops begin at multiples of `cell`
    pixels of their scene, and must then be a multiple of it, not resized. With `one_scene` all
    crops of a batch are of one scene. `channel_set` is what the network is fed: its inputs are what
    images hold, the sensor's bands where it is empty; of a share `height_dropout` of the samples
    a height among them is unknown. `targets` are layers that samples hold beside the mask:
    "height"; "presence" and "log_pixel" are made of the sample (`builtup.data.samples`). `optical`
    is augmentation of cameras' images, as `radar` is of radar's. With `reference_pixel` (metres)
    `crop`, `scale` and `pixel_size` are of pixels of that size, and tiles of others are resized;
    those whose size is not known are taken to be of it. Raises
    InputError where the folder has no statistics or no such layer, the fold is unknown or no tile
    is left, ConfigError where both `scale` and `pixel_size` are given, crops hold no whole cells,
    presence or `rarest` is asked of another layer than masks, or the channel set or the
    augmentation is of another sensor.
    """
    from builtup.data.datasets import TrainTiles
    from builtup.data.samples import PRESENCE, layers_of_samples
    from builtup.data.transforms import chosen_crop, dihedral

    resized = scale is not None or pixel_size is not None or reference_pixel is not None
    if cell > 1 and (crop % cell or resized):
        raise ConfigError(
            f"crop = {crop}, scale = {scale}: crops of whole cells of {cell} pixels need a "
            "multiple of that, and no scale, pixel_size or reference_pixel"
        )
    if layer != MASKS and PRESENCE in targets:
        raise ConfigError(
            f"targets = {targets!r} with layer = {layer!r}: only masks say whether there is a "
            "building; leave presence out"
        )
    if layer != MASKS and rarest:
        raise ConfigError(
            f"rarest = {rarest} with layer = {layer!r}: only masks say where a class is; leave it "
            "out"
        )
    how = chosen_crop(crop, scale, ratio, pixel_size)
    tiles, folds, held, sensor = open_folder(folder, val_fold, layer)
    layers = layers_of_samples(folder, sensor, channel_set, targets, tiles, height_dropout)
    _require_augmentation(folder, sensor, radar, optical)
    inner = None if threshold_fold is None else folds.index_of(threshold_fold)
    usable = training_tiles(folds, tiles, held, drop_common=drop_common, threshold_fold=inner)
    chosen = _spread(usable, max_tiles)
    _require(chosen, folder, f"nothing to train on when {_name(folds, held)} is held out")
    weights, sought = tile_weights(chosen, sampler_weights, rarest, read_classes(Path(folder)))
    batches = TrainingBatches(
        len(chosen),
        batch_size,
        weights=weights,
        samples=samples_per_epoch,
        groups=[tile.tile.scene for tile in chosen] if one_scene else None,
        seed=seed,
        **process_share(),
    )
    augment = dihedral() if flips else None
    dataset = TrainTiles(
        *(chosen, folds, held, how, augment, radar),
        mixable=usable,
        sensor=sensor,
        cell=cell,
        layers=layers,
        optical=optical,
        pixels=_pixels(chosen, reference_pixel, targets),
        soft=layer == SOFT,
        sought=sought,
    )
    return TileLoader(
        dataset,
        batches,
        tiles,
        num_workers=num_workers,
        drop_common=drop_common,
        threshold_fold=inner,
        folder=Path(folder),
    )


def val_loader(
    folder: str | Path,
    *,
    val_fold: str | int,
    batch_size: int,
    num_workers: int = 0,
    drop_common: bool = False,
    max_tiles: int | None = None,
    channel_set: str = "",
    targets: tuple[str, ...] = (),
    reference_pixel: float | None = None,
) -> TileLoader:
    """The tiles of the held-out ground, whole, each valid labelled pixel scored once.

    `batch_size` counts the samples of one process; batches are dealt to processes whole.
    `channel_set` and `targets` as in `train_loader`; with `reference_pixel` (metres) tiles whose
    pixels are more than half as large again, or as small, are resized to it, and scored so.
    """
    from builtup.data.datasets import ValidationTiles
    from builtup.data.samples import layers_of_samples

    tiles, folds, held, sensor = open_folder(folder, val_fold)
    chosen = _spread(folds.validation_tiles(tiles, held), max_tiles) if held is not None else []
    _require(chosen, folder, f"nothing to validate on in {_name(folds, held)}")
    layers = layers_of_samples(folder, sensor, channel_set, targets, tiles)
    pixels = _pixels(chosen, reference_pixel, targets)
    dataset = ValidationTiles(
        chosen, tiles, folds, held, sensor=sensor, layers=layers, pixels=pixels
    )
    return _whole_tiles(dataset, batch_size, tiles, num_workers, drop_common)


def train_eval_loader(
    folder: str | Path,
    *,
    val_fold: str | int | None,
    batch_size: int,
    num_workers: int = 0,
    drop_common: bool = False,
    max_tiles: int | None = None,
    channel_set: str = "",
    targets: tuple[str, ...] = (),
    reference_pixel: float | None = None,
) -> TileLoader:
    """Training tiles as validation sees its own: whole, not augmented, each pixel scored once."""
    from builtup.data.datasets import ValidationTiles
    from builtup.data.samples import layers_of_samples

    tiles, folds, held, sensor = open_folder(folder, val_fold)
    chosen = _spread(training_tiles(folds, tiles, held, drop_common=drop_common), max_tiles)
    _require(chosen, folder, f"nothing to train on when {_name(folds, held)} is held out")
    dataset = ValidationTiles(
        *(chosen, tiles, folds, held),
        of_training=True,
        sensor=sensor,
        layers=layers_of_samples(folder, sensor, channel_set, targets, tiles),
        pixels=_pixels(chosen, reference_pixel, targets),
    )
    return _whole_tiles(dataset, batch_size, tiles, num_workers, drop_common)


def _whole_tiles(dataset: ValidationTiles, batch_size: int, *arguments: Any) -> TileLoader:
    batches = ValidationBatches(len(dataset), batch_size, **process_share())
    tiles, num_workers, drop_common = arguments
    return TileLoader(dataset, batches, tiles, num_workers=num_workers, drop_common=drop_common)


def process_share() -> dict[str, int]:
    """Which of how many processes this one is."""
    import ignite.distributed as idist

    return {"rank": idist.get_rank(), "world_size": idist.get_world_size()}


def open_folder(
    folder: str | Path, val_fold: str | int | None, layer: str = MASKS
) -> tuple[list[TrainTile], Folds, int | None, Sensor]:
    """The tiles of a folder (with another layer for their masks), their folds, the index of the
    one held out, their sensor; InputError where one of these is not there."""
    folder = Path(folder)
    tiles = read_tile_stats(folder / TILE_STATS_CSV)
    if layer != MASKS:
        tiles = _of_layer(tiles, folder / layer / TILES_CSV)
    folds = Folds.read(folder)
    require_same_data(folder, tiles, folds)
    held = None if val_fold is None else folds.index_of(val_fold)
    return tiles, folds, held, read_sensor(folder)


def _pixels(
    tiles: Sequence[TrainTile], reference: float | None, targets: tuple[str, ...]
) -> PixelSizes:
    """The sides of pixels where anything asks for them, else without a look at files."""
    from builtup.data.pixels import PixelSizes
    from builtup.data.samples import LOG_PIXEL

    wanted = reference is not None or LOG_PIXEL in targets
    return PixelSizes(tiles if wanted else (), reference)


def _require_augmentation(
    folder: str | Path, sensor: Sensor, radar: Radar | None, optical: Augmentation | None
) -> None:
    """ConfigError for the augmentation of another kind of sensor."""
    given, kind = (optical, "Optical") if sensor == DEFAULT else (radar, "Radar")
    if given is not None and given != Radar():
        raise ConfigError(
            f"augmentation by {kind}, and the tiles in {folder} are of {sensor.name}; leave it out"
        )


def _of_layer(tiles: Sequence[TrainTile], listed: Path) -> list[TrainTile]:
    """The tiles with another layer for their masks; InputError where it lacks one of them."""
    own = {tile.tile_id: tile for tile in read_tiles(listed)}
    found = [replace(t, mask=own[t.tile.tile_id]) for t in tiles if t.tile.tile_id in own]
    if len(found) < len(tiles):
        raise InputError(
            listed,
            f"lists {len(found)} of the {len(tiles)} tiles of {TILE_STATS_CSV}",
            "make the layer again, of the same tiles",
        )
    if found and listed.parent.name != SOFT:  # of which samples hold all bands
        bands = band_count(found[0].mask)
        if bands > 1:
            problem = f"has {bands} bands, and samples hold one"
            raise InputError(found[0].mask.path, problem, "give a layer of one band")
    return found


def _spread(tiles: list[TrainTile], most: int | None) -> list[TrainTile]:
    if most is None or most >= len(tiles):
        return tiles
    return [tiles[i * len(tiles) // most] for i in range(most)]


def _require(tiles: Sequence[TrainTile], folder: str | Path, problem: str) -> None:
    if not tiles:
        raise InputError(
            Path(folder) / TILE_STATS_CSV, problem, "add labelled scenes or hold out another fold"
        )


def _name(folds: Folds, fold: int | None) -> str:
    return "no fold" if fold is None else folds.names[fold]


def _start_worker(_: int) -> None:
    """One thread a worker: several workers that each use all cores are slower than one."""
    torch.set_num_threads(1)
