"""What a training is made of, built from its config."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.utils import manual_seed
from torch import nn

from builtup.config.device import pick_device
from builtup.config.load import Config
from builtup.config.settings import KNOWN
from builtup.data.contract import SampleLoader, as_tile_loader
from builtup.data.separation import require_separate
from builtup.errors import BuiltupError, ConfigError, InputError
from builtup.models.channels import inputs_of
from builtup.models.heads import CLASSES, On, heads_of, terms_of
from builtup.runs.lineage import find_artifacts, inherited_threshold
from builtup.runs.model_file import find_model_file
from builtup.runs.records import InheritedThreshold
from builtup.scoring.counts import SCORES
from builtup.sensors.classes import Classes
from builtup.tiles.normalisation import channel_statistics, read_classes
from builtup.training.checkpoints import weights_read
from builtup.training.evaluator import PrepareBatch, prepare_batch
from builtup.training.learner import WARMUPS, Learner
from builtup.training.learnt_ground import Held, LearntGround
from builtup.training.lessons import Lesson, as_lessons
from builtup.training.pseudo_record import PseudoRecord
from builtup.training.trainer import optimiser_steps

__all__ = [
    "Data",
    "build_data",
    "build_learner",
    "check_settings",
    "classes_of",
    "seed_everything",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Data:
    """The loaders of a training; `length` is an epoch's number of batches in every process.

    `inherited` is the threshold of a training without validation, where `threshold_from` says so.
    `learnt` is the ground that its weights learn from, with that of the run whose weights it begins
    with, if any; `held` is what it holds out.
    """

    train: SampleLoader
    val: SampleLoader | None
    train_eval: SampleLoader | None
    prepare: PrepareBatch
    length: int
    classes: Classes
    inherited: InheritedThreshold | None = None
    learnt: LearntGround = field(default_factory=LearntGround)
    held: Held = field(default_factory=Held)
    lessons: tuple[Lesson, ...] = ()

    @property
    def val_cities(self) -> list[str]:
        """The cities validated on."""
        return [] if self.val is None else list(self.val.places.cities)


def check_settings(config: Config) -> None:
    """Refuse settings that do not fit one another, or that do nothing in silence."""
    config.require_read("training")
    classes_of(config)
    if config.ema_warmup not in WARMUPS:
        raise ConfigError(
            f"{config.path}: ema_warmup = {config.ema_warmup!r}: expected {' or '.join(WARMUPS)}"
        )
    unknown = [name for name in config.val_metrics if name not in SCORES]
    if unknown or not config.val_metrics:
        raise ConfigError(
            f"{config.path}: val_metrics = {config.val_metrics!r}: expected some of "
            f"{', '.join(SCORES)}"
        )


def classes_of(config: Config) -> Classes:
    """The classes of a config, those that its data name where it names none.

    Raises ConfigError where its `class_names` do not fit `num_classes`, or those of the data;
    InputError where only the data could name the classes, and there are none.
    """
    folder = config.get("data_path")
    of_data = read_classes(Path(folder)) if folder else None
    named = of_data.names if of_data else ()
    if not config.states("class_names"):
        if folder and not named and config.num_classes != len(config.class_names):
            raise InputError(
                folder,
                f"no tiles with statistics there that name {config.num_classes} classes",
                "give data_path the folder that generate_tiles_stats wrote, or set class_names",
            )
        if named and len(named) != config.num_classes:
            raise ConfigError(
                f"{config.path}: num_classes = {config.num_classes}, and the masks of {folder} "
                f"have {len(named)} classes ({', '.join(named)}); set num_classes = {len(named)}"
            )
        return of_data or Classes.of_config(config.class_names, config.num_classes, config.path)
    classes = Classes.of_config(config.class_names, config.num_classes, config.path)
    if named and classes.names != named:
        raise ConfigError(
            f"{config.path}: class_names = {', '.join(classes.names)}, and the masks of {folder} "
            f"have {', '.join(named)}, in this order; leave class_names out, or write it so"
        )
    return of_data or classes


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch, each process differently."""
    manual_seed(seed + idist.get_rank())


def build_data(config: Config) -> Data:
    """Run the builders of loaders; refuse validation ground that training can see."""
    config.provide(device=pick_device(config.get("device", "auto"), config.path))
    with weights_read() as begun_with:  # comes first: its settings fail before data are read
        _require_kind(config, "model", nn.Module)
    train = as_tile_loader(config.build("train_loader"))
    val = _optional(config.build("val_loader") if config.validate else None)
    require_separate(config, train, val)
    train_eval = _optional(config.build("train_eval_loader"))
    length = int(idist.all_reduce(len(train), op="MIN"))
    if length == 0:
        raise InputError(config.path, "train_loader gives no batch", "lower batch_size")
    if config.has("lessons"):
        _require_kind(config, "criterion", nn.Module)
    lessons = as_lessons(config.build("lessons"), config.path)
    for lesson in lessons:
        if config.ema_decay is None and getattr(lesson.loss, "needs_average", False):
            raise ConfigError(
                f"{config.path}: the loss of the lesson {lesson.name} asks the moving average, and "
                "there is none; set ema_decay"
            )
    prepare = config.build("prepare_batch") or prepare_batch
    held, learnt = Held.by(config, train, val), _learnt_from(train)
    for lesson in lessons:
        learnt = learnt.and_of(_learnt_from(lesson.samples))
    for loader in (train, *(lesson.samples for lesson in lessons)):
        learnt = learnt.and_of(_learnt_by_teacher(config, loader, held))
    for file in dict.fromkeys((*begun_with, *_named_weights(config))):
        learnt = learnt.and_of(_learnt_by(config, file, held))
    classes, inherited = classes_of(config), _inherited(config, train)
    config.settings["class_names"] = classes.names  # as they are logged, with the run
    return Data(train, val, train_eval, prepare, length, classes, inherited, learnt, held, lessons)


def _require_kind(config: Config, name: str, kind: type) -> Any:
    """Build; ConfigError where what came out is of another kind than training needs."""
    built = config.build(name)
    if not isinstance(built, kind):
        raise ConfigError(
            f"{config.path}: {name}() returned {type(built).__name__}, not a "
            f"torch {kind.__name__}; correct what it returns"
        )
    return built


def _named_weights(config: Config) -> list[Path]:
    """Files of weights that settings of the config's own name: model() may read them by torch."""
    texts = (v for k, v in config.settings.items() if isinstance(v, str) and k not in KNOWN)
    return [
        path for text in texts if text.endswith((".pt", ".pth")) and (path := Path(text)).is_file()
    ]


def _learnt_by(config: Config, file: Path, held: Held) -> LearntGround:
    """What the run behind a file of weights has learnt from; nothing, with a warning, if unknown.

    Raises LeakageError where some of that is held out.
    """
    if find_model_file(file) is not None:  # of simulated ground, which nobody holds out
        return LearntGround()
    try:
        behind = LearntGround.behind(find_artifacts(file)[0])
    except BuiltupError:
        behind = None
    if behind is None:
        log.warning(
            "the network begins with %s: what that has learnt from is not known, so that the "
            "ground held out may be among it",
            file,
        )
        return LearntGround()
    remedy = "hold out what that run held out, or begin with other weights"
    behind.require_unseen(
        held, config.path, f"the run behind {file}, which it begins with,", remedy
    )
    return behind


def _learnt_from(loader: SampleLoader) -> LearntGround:
    """What a loader gives to learn from; of pseudo-labels, ground without a label of its own."""
    learnt = LearntGround.of(loader)
    labelled = loader.folder is None or PseudoRecord.find(loader.folder) is None
    return learnt if labelled else learnt.without_labels()


def _learnt_by_teacher(config: Config, loader: SampleLoader, held: Held) -> LearntGround:
    """What the teacher of a loader's pseudo-labels has learnt from; nothing where it has none.

    Raises LeakageError where some of that is held out.
    """
    record = None if loader.folder is None else PseudoRecord.find(loader.folder)
    if record is None:
        return LearntGround()
    if record.learnt is None or record.learnt.unknown:
        log.warning(
            "%s: what the teacher of its pseudo-labels (%s) has learnt from is not %sknown, so "
            "that the ground held out may be among it",
            *(loader.folder, record.teacher, "" if record.learnt is None else "all "),
        )
    if record.learnt is None:
        return LearntGround(unknown=True)
    source = f"run {record.teacher}, the teacher of the pseudo-labels in {loader.folder},"
    remedy = "hold out what that run held out, or make them with a teacher that held it out"
    record.learnt.require_unseen(held, _student(config), source, remedy)
    return record.learnt


def _student(config: Config) -> str:
    """The config as messages name it, with the run that it is trained in, where one is recorded."""
    import mlflow  # late: checks of a config need none

    run = mlflow.active_run()
    return str(config.path) if run is None else f"{config.path} (run {run.info.run_id})"


def _optional(loader: Any) -> SampleLoader | None:
    return None if loader is None else as_tile_loader(loader)


def _inherited(config: Config, train: SampleLoader) -> InheritedThreshold | None:
    if config.threshold_from is None:
        record = None if train.folder is None else PseudoRecord.find(train.folder)
        if record is None or record.mode != "soft" or record.threshold is None or train.held_out:
            return None
        # a student of probabilities has those of its teacher: what cuts one cuts the other
        log.info("threshold %.3f, that of the teacher's maps", record.threshold)
        return InheritedThreshold(
            threshold=record.threshold, tuned_on=record.tuned_on, source=record.teacher
        )
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
    _require_inputs(config, model, data)
    _require_modules(config)
    _normalise(config, model, data)
    memory_format = torch.channels_last if config.channels_last else torch.preserve_format
    model.to(device, memory_format=memory_format)
    criterion = _require_kind(config, "criterion", nn.Module).to(device)
    _require_heads(config, model, criterion, data.lessons)
    optimizer = _require_kind(config, "optimizer", torch.optim.Optimizer)
    steps = optimiser_steps(data.length, config.num_epochs, config.accumulation_steps)
    config.provide(total_steps=steps)
    scheduler = config.build("lr_scheduler")
    _require_schedule(config, scheduler)
    learner = Learner(
        *(model, criterion, optimizer, scheduler, device, _amp_dtype(config, device)),
        lessons=data.lessons,
    )
    learner.wrap(compiled=config.compile)
    if config.ema_decay is not None:
        learner.average(config.ema_decay, config.ema_warmup)
    return learner


def _require_heads(
    config: Config, model: nn.Module, criterion: nn.Module, lessons: Sequence[Lesson]
) -> None:
    """ConfigError where a head has no loss or a loss no head, or a lesson has a term's name."""
    terms, heads = terms_of(criterion), heads_of(model)
    own = [lesson.loss.head for lesson in lessons if isinstance(lesson.loss, On)]
    used = {term.loss.head for term in terms} | set(own)
    if idle := [head for head in heads if head not in used]:
        raise ConfigError(
            f"{config.path}: head {idle[0]} of the network has no loss; add On({idle[0]!r}, …) to "
            "criterion(), or leave it out of heads"
        )
    if missing := sorted(used - {CLASSES, *heads}) if heads else []:
        raise ConfigError(
            f"{config.path}: criterion() has a loss of {missing[0]}, the network no such head; add "
            "it to heads"
        )
    names = {term.name for term in terms}
    if twice := [lesson.name for lesson in lessons if lesson.name in names]:
        raise ConfigError(
            f"{config.path}: a lesson is called {twice[0]}, as a term of the loss; rename it"
        )


def _require_inputs(config: Config, model: nn.Module, data: Data) -> None:
    """ConfigError where a loader of ours gives other bands than the network's channels read."""
    wanted = inputs_of(model)
    for loader in (data.train, data.val, data.train_eval):
        given = getattr(None if loader is None else loader.dataset, "inputs", wanted)
        if given != wanted:
            raise ConfigError(
                f"{config.path}: the network reads {', '.join(wanted)}, and samples of "
                f"{config.get('data_path')} hold {', '.join(given)}; choose a channel_set of the "
                "data's sensor, and give it to every loader"
            )


def _require_modules(config: Config) -> None:
    """ConfigError for modules that would not be found again where the run is used."""
    if lost := config.modules.left_behind:
        raise ConfigError(
            f"{config.path}: imports {', '.join(lost)} from a folder that only it knows: its "
            "network could not be loaded again; put the module beside the config (it travels with "
            "the run), or install it"
        )


def _require_schedule(config: Config, scheduler: Any) -> None:
    """ConfigError for a schedule that cannot be moved on at every step, with no more to go by."""
    if scheduler is None:
        return
    step = getattr(scheduler, "step", None)
    wanted = inspect.signature(step).parameters.values() if step is not None else ()
    needs = [p.name for p in wanted if p.default is p.empty and p.kind in _PLAIN]
    if step is None or needs:
        why = f"needs {', '.join(needs)} at every step" if needs else "has no step()"
        raise ConfigError(
            f"{config.path}: lr_scheduler(): {type(scheduler).__name__} {why}; use a schedule that "
            "follows the number of steps, such as builtup.training.schedules.poly"
        )


_PLAIN = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


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
