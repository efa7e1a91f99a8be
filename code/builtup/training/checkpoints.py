"""Checkpoints of full state, weights, and trained models rebuilt from their runs.

All of it is tensors, numbers and text, read back with `weights_only`: a checkpoint is no code.
"""

from __future__ import annotations

import hashlib
import logging
import math
import pickle
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from builtup.config import load as configs
from builtup.errors import ConfigError, InputError, one_line
from builtup.jobs.files import atomic_path
from builtup.models.channels import with_signature
from builtup.models.described import build_described
from builtup.runs.lineage import find_artifacts
from builtup.runs.manifest import DataManifest, all_simulated
from builtup.runs.model_file import SUFFIX, ModelDescription, find_model_file, model_file_name
from builtup.runs.records import Part, Summary
from builtup.sensors.classes import BUILT_UP, Classes
from builtup.training.lessons import lesson_states, restore_lessons
from builtup.training.random_state import random_state, set_random_state
from builtup.training.schedule_state import put_back

if TYPE_CHECKING:  # a prediction reads weights and needs neither
    from builtup.data.contract import SampleLoader
    from builtup.training.learner import Learner

__all__ = [
    "TEACHER",
    "BestValidation",
    "Progress",
    "Trained",
    "full_state",
    "load_state",
    "load_trained",
    "made_with",
    "rebuilt",
    "restore",
    "save_state",
    "set_weights",
    "weights_digest",
    "weights_read",
]

log = logging.getLogger(__name__)

VERSION = 1
#: The folder of a logged config that holds what a teacher's network is built from.
TEACHER = "teacher"


@dataclass(frozen=True, kw_only=True)
class BestValidation(Part):
    """What a validation gave: scores by name, and by city; None where undefined.

    `threshold` was chosen on its ground, where it reaches `threshold_f1`. `confusion` holds a
    matrix [truth][prediction] a city, `histogram` (2, 255) pixels by truth and level of the mapped
    class, `tiles` the numbers of the best, median and worst tile of each city; checkpoints of
    earlier versions lack the last two.
    """

    scores: Mapping[str, float | None] = field(default_factory=dict)
    threshold: float = 0.5
    threshold_f1: float = math.nan
    confusion: Mapping[str, Sequence[Sequence[int]]] = field(default_factory=dict)
    histogram: Sequence[Sequence[int]] | None = None
    tiles: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass
class Progress:
    """How far a training is, its best validation so far, and what it has learnt from.

    `measure` is a digest of what its validations measure: the score, the tiles, the classes.
    `learnt` is a `LearntGround` as JSON values. Checkpoints of earlier versions lack the two.
    """

    iteration: int = 0
    epoch: int = 0
    best_score: float = float("-inf")
    best_iteration: int = 0
    without_better: int = 0  # validations since
    best: BestValidation | None = None
    measure: str = ""
    learnt: Mapping[str, Any] = field(default_factory=dict)

    def forget_best(self) -> None:
        """What was best so far does not count for what is validated now."""
        self.best, self.best_score = None, float("-inf")
        self.best_iteration = self.without_better = 0

    def state(self) -> dict[str, Any]:
        """As numbers, text, lists and dicts."""
        return {**vars(self), "best": {} if self.best is None else self.best.to_json()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take what `state` gave."""
        best = state["best"]
        values = {**state, "best": BestValidation.from_json(best) if best else None}
        for name, value in values.items():
            setattr(self, name, value)


@dataclass(frozen=True)
class Trained:
    """A trained model in eval mode with what inference needs to know of its run.

    `held_out` is its fold, or what `val_fold` was, `trained_on` are the folds learnt from. A model
    that is one file has no run and no folder: `run_id` is its name.
    """

    model: nn.Module
    settings: dict[str, Any]
    threshold: float
    class_names: tuple[str, ...]
    run_id: str
    temperature: float | None = None  # fitted by cross_validate
    held_out: int | str | None = None
    trained_on: tuple[str, ...] = ()
    simulated: bool = False  # all that it learnt from
    texture: tuple[float, ...] = ()  # of what it learnt from; empty where it is not known
    share: float | None = None  # of the mapped class there
    metres: float | None = None  # of a pixel of images that it learnt from, where it is known
    folder: Path | None = None  # of its run's artifacts
    description: ModelDescription | None = None
    class_roles: Mapping[str, Any] = field(default_factory=dict)  # what class names do not say

    @property
    def classes(self) -> Classes:
        """What it maps; background and building where its run names nothing."""
        return Classes.with_roles(self.class_names or BUILT_UP.names, self.class_roles)


def save_state(state: Mapping[str, Any], path: Path) -> None:
    """Write a state atomically: through a file of Python's, whose errors atomic_path explains."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        torch.save(dict(state), file)


#: The files of weights that were read while `weights_read` lasted.
_read: ContextVar[list[Path] | None] = ContextVar("weights that were read", default=None)


#: What reading a file of weights raises where it is none, or damaged.
_UNREADABLE = (
    *(OSError, EOFError, KeyError, RuntimeError, ValueError),
    *(pickle.UnpicklingError, SafetensorError),
)


@contextmanager
def weights_read() -> Iterator[list[Path]]:
    """Note the files of weights that are read meanwhile: what a config's model() begins with."""
    read: list[Path] = []
    token = _read.set(read)
    try:
        yield read
    finally:
        _read.reset(token)


def load_state(path: Path) -> dict[str, Any]:
    """Read a state onto the CPU; InputError where the file is none or holds code."""
    if (read := _read.get()) is not None:
        read.append(path)
    if not path.is_file():
        raise InputError(path, "does not exist", "give a run id or a file of weights")
    try:
        if path.suffix == SUFFIX:
            return load_file(path)
        if not zipfile.is_zipfile(path):
            raise ValueError("no file of torch.save, or cut off")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as e:
        reason = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
        raise InputError(
            path,
            f"cannot be read as weights ({reason[:200]})",
            "choose another file, or train anew",
        ) from e
    if not isinstance(state, dict):
        raise InputError(path, "holds no weights by name", "save the model's state_dict")
    return state


def made_with(learner: Learner, epoch_length: int, accumulation_steps: int) -> dict[str, Any]:
    """What a state has no meaning without: a run that goes on from it must have the same."""
    scheduler = learner.scheduler
    return {
        "epoch_length": epoch_length,
        "accumulation_steps": accumulation_steps,
        "optimizer": type(learner.optimizer).__name__,
        "lr_scheduler": None if scheduler is None else type(scheduler).__name__,
        "lessons": [str(lesson) for lesson in learner.lessons],
    }


def full_state(
    learner: Learner, progress: Progress, loader: SampleLoader, made: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that a continued run needs to go on as if it had not stopped.

    `made` is what `made_with` gives.
    """
    return {
        "version": VERSION,
        "made_with": dict(made),
        "model": learner.model.state_dict(),
        "as_built": learner.as_built,
        "optimizer": learner.optimizer.state_dict(),
        "scheduler": None if learner.scheduler is None else learner.scheduler.state_dict(),
        "scaler": learner.scaler.state_dict(),
        "ema": None if learner.ema is None else learner.ema.state_dict(),
        "lessons": lesson_states(learner.lessons),
        "progress": progress.state(),
        "random": random_state(),
        "generators": [generator.get_state() for generator in loader.generators()],
    }


def restore(
    state: Mapping[str, Any], path: Path, learner: Learner, progress: Progress, loader: SampleLoader
) -> None:
    """Put a full state back; InputError where it does not fit (all missing keys listed)."""
    if state.get("version") != VERSION:
        problem = "is no checkpoint of full state of this version"
        raise InputError(path, problem, "give resume_from a training run")
    set_weights(learner.model, state["model"], path)
    try:
        put_back(learner.optimizer, learner.scheduler, state)
    except (ValueError, KeyError, IndexError) as e:
        raise InputError(
            path,
            f"its optimiser is another one ({one_line(e, 200)})",
            "use the config that it was trained with",
        ) from e
    learner.scaler.load_state_dict(state["scaler"])
    if learner.ema is not None:
        set_weights(learner.ema, state["ema"] or _as_average(state["model"]), path)
    restore_lessons(learner.lessons, state.get("lessons", {}))
    progress.load(state["progress"])
    set_random_state(state["random"])
    for generator, saved in zip(loader.generators(), state["generators"], strict=False):
        generator.set_state(saved)


def set_weights(model: nn.Module, weights: Mapping[str, Any], path: Path) -> None:
    """Load a state_dict; InputError lists what is missing, unexpected and of another shape, or
    names both channels where they are others."""
    weights, problem = with_signature(model, weights)
    if problem:
        raise InputError(path, problem, "use the config that they were trained with")
    own = model.state_dict()
    missing = sorted(own.keys() - weights.keys())
    unexpected = sorted(weights.keys() - own.keys())
    shapes = [
        f"{key} {tuple(weights[key].shape)} for {tuple(own[key].shape)}"
        for key in sorted(own.keys() & weights.keys())
        if isinstance(weights[key], Tensor) and weights[key].shape != own[key].shape
    ]
    found = [
        f"{name} {len(keys)} ({', '.join(keys)})"
        for name, keys in (("missing", missing), ("unexpected", unexpected), ("reshaped", shapes))
        if keys
    ]
    if found:
        raise InputError(
            path,
            f"weights do not fit the model: {'; '.join(found)}",
            "use the config that they were trained with",
        )
    model.load_state_dict(weights)


def weights_digest(weights: Mapping[str, Any]) -> str:
    """sha256 of all weights and buffers of a state_dict, by name."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(
            value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        )
    return digest.hexdigest()


def load_trained(run_id_or_path: str | Path, which: str = "best") -> Trained:
    """Rebuild a trained Segmenter from a run id, an artifact folder or a file of weights.

    `which` is best, last or soup. The model comes from the config that the run logged, without
    downloading pretrained weights; of a model that is one file (`shipped`, or a path) from what
    that says. Raises RunError, InputError or ConfigError, in one line.
    """
    if (file := find_model_file(run_id_or_path)) is not None:
        return _of_file(file, which)
    folder, run_id = find_artifacts(run_id_or_path)
    given = Path(run_id_or_path)
    path = given if given.is_file() else folder / "weights" / f"{which}.pt"
    config, model = rebuilt(folder)
    weights = load_state(path)
    full = weights.get("model")
    set_weights(model, full if isinstance(full, dict) else weights, path)
    if config.channels_last:  # up to twice as fast, on a CPU too
        model.to(memory_format=torch.channels_last)
    summary = _summary(folder).of_soup() if path.name == "soup.pt" else _summary(folder)
    return Trained(
        model=model.eval(),
        settings=dict(config.settings),
        threshold=0.5 if summary.threshold is None else float(summary.threshold),
        class_names=tuple(config.get("class_names", ())),
        run_id=run_id,
        temperature=summary.temperature,
        # a number would be another fold where the data have other cities now
        held_out=summary.val_fold or config.get("val_fold"),
        trained_on=summary.trained_on or (),
        simulated=_simulated(folder),
        texture=summary.texture or (),
        share=summary.share,
        metres=summary.metres,
        folder=folder,
        class_roles=summary.class_roles or {},
    )


def rebuilt(folder: Path) -> tuple[configs.Config, nn.Module]:
    """The config that a run logged, and its network without weights.

    A student's is built from what was kept of its teacher (`builtup.training.students`).
    """
    kept = folder / "config" / TEACHER
    own = {"teacher": str(kept)} if kept.is_dir() else {}
    config = configs.load_logged(folder / "config", pretrained=False, **own)
    model = config.build("model")
    if model is None:
        raise InputError(folder / "config", "defines no model", "choose a training run")
    return config, model


def _of_file(path: Path, which: str) -> Trained:
    """The model of one file, its weights compared with the sha256 that the file says."""
    if which != "best":
        raise ConfigError(f"weights={which}: {path} holds one set of weights; leave it out")
    said, weights = ModelDescription.read(path), load_state(path)
    if weights_digest(weights) != said.weights:
        raise InputError(path, "its weights are damaged", "copy it again, or install builtup anew")
    model = build_described(said.channels, said.network)
    set_weights(model, weights, path)
    if said.settings.get("channels_last"):
        model.to(memory_format=torch.channels_last)
    return Trained(
        model=model.eval(),
        settings=dict(said.settings),
        threshold=said.threshold,
        class_names=said.classes,
        run_id=model_file_name(path),
        temperature=said.temperature,
        simulated=said.simulated,
        texture=said.texture,
        share=said.share,
        description=said,
    )


def _summary(folder: Path) -> Summary:
    """The run's summary; InputError where it makes no sense."""
    found = Summary.find(folder)
    if found is None:
        text = "%s: does not exist, the run did not end; the threshold is 0.5"
        log.warning(text, folder / Summary.NAME)
    return found or Summary()


def _simulated(folder: Path) -> bool:
    """Whether a run has learnt from simulated ground only, as far as its manifest tells."""
    try:
        known = DataManifest.find(folder)
    except InputError:  # damaged: nothing is known
        return False
    return bool(known and (known.simulated or all_simulated(known.images_and_masks)))


def _as_average(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    average = {f"module.{key}": value for key, value in weights.items()}
    return {"n_averaged": torch.tensor(0), **average}
