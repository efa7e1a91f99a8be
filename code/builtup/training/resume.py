"""Going on with an earlier training: its settings, its state, the ground it has learnt from."""

from __future__ import annotations

import hashlib
import json
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
from torch import nn

from builtup.config.load import Config
from builtup.data.contract import SampleLoader
from builtup.errors import ConfigError
from builtup.models.segmenter import Segmenter
from builtup.runs.lineage import find_artifacts
from builtup.runs.manifest import LoggedConfig
from builtup.training.build import Data
from builtup.training.checkpoints import Progress, load_state, made_with, restore
from builtup.training.learner import Learner
from builtup.training.learnt_ground import LearntGround

__all__ = ["Earlier", "find_earlier", "resume", "start_at"]

log = logging.getLogger(__name__)

#: Settings of a call, not of what is trained: never taken from the run before.
_OF_THE_CALL = {"resume_from", "max_minutes"}
#: Settings that had their effect before the state was saved: another value would do nothing.
_HAD_THEIR_EFFECT = ("seed", "pretrained", "normalisation", "channel_set", "mean", "std")


@dataclass(frozen=True)
class Earlier:
    """The training that `resume_from` names: its last checkpoint, and what it logged."""

    name: str
    checkpoint: Path
    logged: LoggedConfig

    @property
    def folder(self) -> Path:
        """The artifacts of its run."""
        return self.checkpoint.parent.parent


def find_earlier(config: Config) -> Earlier | None:
    """The training to go on with, None to begin; the config takes that run's overrides.

    Those given now come first; with another config none is taken. What was taken is said. Raises
    RunError or InputError where there is no such run.
    """
    if not config.resume_from:
        return None
    last = Path(idist.broadcast(_last_checkpoint(config), src=0, safe_mode=True))
    logged = LoggedConfig.read(last.parent.parent)
    earlier = Earlier(config.resume_from, last, logged)
    if logged.files and logged.files[-1] == config.path.name:
        _take_overrides(config, earlier)
    return earlier


def _last_checkpoint(config: Config) -> str | None:
    """Rank 0 alone asks MLflow."""
    if idist.get_rank() != 0:
        return None
    path = Path(config.resume_from)
    if not path.is_file():
        path = find_artifacts(config.resume_from)[0] / "checkpoints" / "last.pt"
    return str(path.absolute())


def _take_overrides(config: Config, earlier: Earlier) -> None:
    pairs = [text.partition("=")[::2] for text in (*earlier.logged.overrides, *config.overrides)]
    now = {text.partition("=")[0] for text in config.overrides}
    taken = {
        name: text
        for name, text in pairs
        if name not in now | _OF_THE_CALL and name in config.settings
    }
    known = LearntGround.find(earlier.folder)
    if known is not None and known.held_out and "val_fold" not in now:
        fold = taken.get("val_fold", str(config.get("val_fold")))
        if fold.isdigit():  # the number of another fold where a city was added
            taken["val_fold"] = known.held_out
    if taken:
        config.override(taken.items())
        given = " ".join(f"{name}={text}" for name, text in taken.items())
        log.info("as in the run that is gone on with: %s", given)


def resume(
    config: Config, learner: Learner, data: Data, folder: Path, earlier: Earlier | None
) -> Progress:
    """Go on from the last checkpoint of an earlier training, or begin.

    What is kept for a soup is copied into the new run's `folder`, and so is the best checkpoint so
    far where this run validates as that one did; otherwise nothing was best so far. Raises
    LeakageError where this run holds out ground that the earlier one has learnt from, ConfigError
    where its state means something else under this config.
    """
    measure = _measure(config, data)
    progress = Progress(measure=measure, learnt=data.learnt.to_json())
    if earlier is None:
        return progress
    state = load_state(earlier.checkpoint)
    learnt = _require_unseen(config, data, earlier, state)
    made = made_with(learner, data.length, config.accumulation_steps)
    _require_same(config, state.get("made_with") or made, made)  # not in older checkpoints
    _require_effect(config, earlier)
    normalisation = _normalisation(learner.model)
    restore(state, earlier.checkpoint, learner, progress, data.train)
    if normalisation != _normalisation(learner.model):
        log.warning(
            "the mean and deviation of the channels stay those of %s: the data have others now",
            earlier.name,
        )
    if idist.get_rank() > 0:  # the state is rank 0's
        manual_seed(config.seed + idist.get_rank() + progress.iteration)
    source = earlier.folder
    soup_left = config.soup > 0 and not (source / "weights" / "soup.pt").is_file()
    if progress.iteration >= data.length * config.num_epochs and not soup_left:
        raise ConfigError(
            f"resume_from={config.resume_from}: all its {progress.epoch} epochs are done; "
            f"raise num_epochs above {config.num_epochs} to go on"
        )
    same = progress.measure == measure if progress.measure else _same_cities(progress, data)
    if not same:
        if progress.best is not None:
            log.info(
                "the best weights so far, of iteration %d, were chosen by another validation "
                "(score, ground or tiles): they do not count",
                progress.best_iteration,
            )
        progress.forget_best()
    progress.measure, progress.learnt = measure, learnt.to_json()
    if idist.get_rank() == 0:
        _copy_kept(source, folder, best=same)
        _say_differences(config, earlier)
    log.info("going on from %s, iteration %d", earlier.checkpoint, progress.iteration)
    return progress


def _measure(config: Config, data: Data) -> str:
    """A digest of what validations measure; nothing without any."""
    if data.val is None:
        return ""
    places = data.val.places
    parts = [config.val_metrics[0], list(data.classes.names), data.classes.mapped]
    parts += [sorted(places.tile_ids), list(places.cities)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _same_cities(progress: Progress, data: Data) -> bool:
    """Whether a checkpoint without a measure was validated on the cities of this run."""
    if data.val is None or progress.best is None:
        return False
    return set(progress.best.confusion) == set(data.val_cities or ["all"])


def _require_unseen(
    config: Config, data: Data, earlier: Earlier, state: Mapping[str, Any]
) -> LearntGround:
    """All that the weights have learnt from and will; LeakageError where some is held out."""
    said = state.get("progress", {}).get("learnt")
    behind = LearntGround.from_json(said) if said else LearntGround.behind(earlier.folder)
    if behind is None:
        if data.held.names:
            log.warning(
                "what %s has learnt from is not known, so that %s may be among it",
                *(earlier.checkpoint, ", ".join(data.held.names)),
            )
        return data.learnt
    remedy = "hold out what that run held out, val_fold=none to learn from all, or begin anew"
    behind.require_unseen(
        data.held, config.path, f"resume_from={config.resume_from}: that run", remedy
    )
    return data.learnt.and_of(behind)


def _require_same(config: Config, before: Mapping[str, Any], made: Mapping[str, Any]) -> None:
    """ConfigError where the state to go on from means something else under this config."""
    meaning = {"epoch_length": "batches an epoch (from batch_size, samples and processes)"}
    before = {"lessons": [], **before}  # not in checkpoints from before there were lessons
    for name, value in made.items():
        if before[name] != value:
            raise _other(config, meaning.get(name, name), before[name], value)


def _require_effect(config: Config, earlier: Earlier) -> None:
    """ConfigError for another value of a setting that would only be logged."""
    before, now = earlier.logged.settings, json.loads(json.dumps(config.settings))
    for name in _HAD_THEIR_EFFECT:
        if name in before and name in now and before[name] != now[name]:
            raise _other(config, name, before[name], now[name])


def _other(config: Config, name: str, before: Any, now: Any) -> ConfigError:
    return ConfigError(
        f"{config.path}: resume_from={config.resume_from} was trained with {name} = {before}, "
        f"not {now}; make it the same again, or leave resume_from out"
    )


def _say_differences(config: Config, earlier: Earlier) -> None:
    """The settings that this run has otherwise than the one before."""
    before, now = earlier.logged.settings, json.loads(json.dumps(config.read_settings()))
    changed = [
        f"{name} = {now[name]} (was {before[name]})"
        for name in sorted(before.keys() & now.keys() - _OF_THE_CALL)
        if before[name] != now[name]
    ]
    if changed:
        log.info("from here on otherwise than before: %s", ", ".join(changed))


def _normalisation(model: nn.Module) -> list[float]:
    if not isinstance(model, Segmenter):
        return []
    return [*torch.cat([model.channels.mean, model.channels.std]).tolist()]


def _copy_kept(source: Path, target: Path, *, best: bool) -> None:
    """The best weights so far, where they count, and the ingredients of a soup."""
    soup = sorted((source / "checkpoints" / "soup").glob("*.pt"))
    names = [str(path.relative_to(source)) for path in soup]
    for name in ["checkpoints/best.pt", "weights/best.pt", *names] if best else names:
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
