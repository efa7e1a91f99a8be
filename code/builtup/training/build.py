"""What a training is made of, built from its config."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine
from ignite.utils import manual_seed

from builtup.config.device import pick_device
from builtup.config.load import Config
from builtup.data.contract import SampleLoader, as_tile_loader
from builtup.data.separation import require_separate
from builtup.errors import ConfigError, InputError
from builtup.runs.lineage import find_artifacts, inherited_threshold
from builtup.runs.records import InheritedThreshold
from builtup.scoring.counts import SCORES
from builtup.sensors.classes import Classes
from builtup.tiles.normalisation import channel_statistics
from builtup.training.checkpoints import Progress, load_state, made_with, restore
from builtup.training.evaluator import PrepareBatch, prepare_batch
from builtup.training.learner import Learner
from builtup.training.trainer import optimiser_steps

__all__ = [
    "Data",
    "build_data",
    "build_learner",
    "check_settings",
    "classes_of",
    "resume",
    "seed_everything",
    "start_at",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Data:
    """The loaders of a training; `length` is an epoch's number of batches in every process.

    `inherited` is the threshold of a training without validation, where `threshold_from` says so.
    """

    train: SampleLoader
    val: SampleLoader | None
    train_eval: SampleLoader | None
    prepare: PrepareBatch
    length: int
    classes: Classes
    inherited: InheritedThreshold | None = None

    @property
    def val_cities(self) -> list[str]:
        """The cities validated on."""
        return [] if self.val is None else list(self.val.places.cities)


def check_settings(config: Config) -> None:
    """Refuse values that would fail later, or do nothing in silence."""
    for name in ("num_epochs", "accumulation_steps", "val_interval", "log_interval", "es_patience"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ConfigError(f"{config.path}: {name} = {value}: expected 1 or more")
    for name, least in (("num_workers", 0), ("batch_size", 1)):
        if config.get(name, least) < least:
            raise ConfigError(
                f"{config.path}: {name} = {config.get(name)}: expected {least} or more"
            )
    if config.soup < 0 or config.soup == 1:
        raise ConfigError(f"{config.path}: soup = {config.soup}: expected 0, or 2 or more")
    if config.num_classes < 2:
        raise ConfigError(f"{config.path}: num_classes = {config.num_classes}: expected 2 or more")
    classes_of(config)
    unknown = [name for name in config.val_metrics if name not in SCORES]
    if unknown or not config.val_metrics:
        raise ConfigError(
            f"{config.path}: val_metrics = {config.val_metrics!r}: expected some of "
            f"{', '.join(SCORES)}"
        )


def classes_of(config: Config) -> Classes:
    """The classes of a config; ConfigError where its `class_names` do not fit `num_classes`."""
    return Classes.of_config(config.class_names, config.num_classes, config.path)


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch, each process differently."""
    manual_seed(seed + idist.get_rank())


def build_data(config: Config) -> Data:
    """Run the builders of loaders; refuse validation ground that training can see."""
    config.provide(device=pick_device(config.get("device", "auto"), config.path))
    config.build("model")  # comes first in the contract: its settings fail before data are read
    train = as_tile_loader(config.build("train_loader"))
    val = _optional(config.build("val_loader") if config.validate else None)
    require_separate(config, train, val)
    train_eval = _optional(config.build("train_eval_loader"))
    length = int(idist.all_reduce(len(train), op="MIN"))
    if length == 0:
        raise InputError(config.path, "train_loader gives no batch", "lower batch_size")
    prepare = config.build("prepare_batch") or prepare_batch
    return Data(
        train, val, train_eval, prepare, length, classes_of(config), _inherited(config, train)
    )


def _optional(loader: Any) -> SampleLoader | None:
    return None if loader is None else as_tile_loader(loader)


def _inherited(config: Config, train: SampleLoader) -> InheritedThreshold | None:
    if config.threshold_from is None:
        return None
    if train.val_fold is not None:
        raise ConfigError(
            f"{config.path}: threshold_from = {config.threshold_from!r} is for a training on all "
            "data, which has no validation to choose a threshold on; set val_fold=none or "
            "threshold_from=none"
        )
    return inherited_threshold(config.threshold_from, train.fold_names)


def build_learner(config: Config, data: Data) -> Learner:
    """Build model, criterion, optimiser and schedule on the config's device."""
    device = pick_device(config.get("device", "auto"), config.path)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    model = config.build("model")
    _normalise(config, model, data)
    memory_format = torch.channels_last if config.channels_last else torch.preserve_format
    model.to(device, memory_format=memory_format)
    criterion = config.build("criterion").to(device)
    optimizer = config.build("optimizer")
    steps = optimiser_steps(data.length, config.num_epochs, config.accumulation_steps)
    config.provide(total_steps=steps)
    scheduler = config.build("lr_scheduler")
    learner = Learner(model, criterion, optimizer, scheduler, device, _amp_dtype(config, device))
    learner.wrap(compiled=config.compile)
    if config.ema_decay is not None:
        learner.average(config.ema_decay)
    return learner


def _normalise(config: Config, model: Any, data: Data) -> None:
    if config.normalisation == "config":
        return
    if config.normalisation != "stats":
        raise ConfigError(
            f"{config.path}: normalisation = {config.normalisation!r}: expected config or stats"
        )
    mean, std = channel_statistics(
        Path(config.data_path), model.channels.channel_set, data.train.val_fold
    )
    model.channels.set_normalisation(mean, std)


def _amp_dtype(config: Config, device: torch.device) -> torch.dtype | None:
    if device.type == "cuda":
        return None if config.amp is False else torch.float16
    return torch.bfloat16 if config.amp else None


def resume(config: Config, learner: Learner, data: Data, folder: Path) -> Progress:
    """Go on from the last checkpoint of `resume_from`, or begin.

    The best checkpoint so far, and what is kept for a soup, is copied into the new run's `folder`.
    """
    progress = Progress()
    if not config.resume_from:
        return progress
    last = Path(idist.broadcast(_last_checkpoint(config), src=0, safe_mode=True))
    state = load_state(last)
    made = made_with(learner, data.length, config.accumulation_steps)
    _require_same(config, state.get("made_with") or made, made)  # not in older checkpoints
    restore(state, last, learner, progress, data.train)
    if idist.get_rank() > 0:  # the state is rank 0's
        manual_seed(config.seed + idist.get_rank() + progress.iteration)
    source = last.parent.parent
    soup_left = config.soup > 0 and not (source / "weights" / "soup.pt").is_file()
    if progress.iteration >= data.length * config.num_epochs and not soup_left:
        raise ConfigError(
            f"resume_from={config.resume_from}: all its {progress.epoch} epochs are done; "
            f"raise num_epochs above {config.num_epochs} to go on"
        )
    if idist.get_rank() == 0:
        _copy_kept(source, folder)
    log.info("going on from %s, iteration %d", last, progress.iteration)
    return progress


def _require_same(config: Config, before: Mapping[str, Any], made: Mapping[str, Any]) -> None:
    """ConfigError where the state to go on from means something else under this config."""
    meaning = {"epoch_length": "batches an epoch (from batch_size, samples and processes)"}
    for name, value in made.items():
        if before[name] != value:
            raise ConfigError(
                f"{config.path}: resume_from={config.resume_from} was trained with "
                f"{meaning.get(name, name)} = {before[name]}, not {value}; make it the same again, "
                "or leave resume_from out"
            )


def _last_checkpoint(config: Config) -> str | None:
    """Rank 0 alone asks MLflow."""
    if idist.get_rank() != 0:
        return None
    path = Path(config.resume_from)
    if not path.is_file():
        path = find_artifacts(config.resume_from)[0] / "checkpoints" / "last.pt"
    return str(path.absolute())


def _copy_kept(source: Path, target: Path) -> None:
    """The best weights so far, and the ingredients of a soup."""
    soup = sorted((source / "checkpoints" / "soup").glob("*.pt"))
    ingredients = [str(path.relative_to(source)) for path in soup]
    for name in ("checkpoints/best.pt", "weights/best.pt", *ingredients):
        if (source / name).is_file() and source.resolve() != target.resolve():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target / name)


def start_at(
    trainer: Engine, loader: SampleLoader, progress: Progress, length: int, num_epochs: int
) -> Any:
    """Set the trainer to where `progress` stands; return what it is to iterate over.

    A run that stopped within an epoch takes the rest of that epoch's batches.
    """
    if progress.iteration == 0:
        return loader
    trainer.load_state_dict(
        {"iteration": progress.iteration, "epoch_length": length, "max_epochs": num_epochs}
    )
    return _Rest(loader, progress.iteration % length)


class _Rest:
    """A loader whose first iteration leaves out the first batches."""

    def __init__(self, loader: SampleLoader, skip: int) -> None:
        self.loader, self.skip = loader, skip

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self.loader)
        for _ in range(self.skip):
            next(batches)
        self.skip = 0
        return batches
