"""What a search is about, looked through before anything is trained."""

from __future__ import annotations

import ast
import math
import os
from dataclasses import dataclass
from pathlib import Path

from builtup.config import load as configs
from builtup.config.load import Config
from builtup.config.settings import KNOWN, SEARCH
from builtup.config.shipped import PROJECT
from builtup.errors import ConfigError
from builtup.scoring.counts import SCORES
from builtup.studies.launch_runs import FoldTask, data_digest, training_key
from builtup.studies.search_space import PRUNERS, as_overrides, require_space, without
from builtup.tiles.folds import Folds
from builtup.training.build import check_settings

__all__ = ["LENGTH", "Plan", "plan"]

#: Settings of how long a search trains, which are not meant for the training after it.
LENGTH = ("num_epochs", "samples_per_epoch", "max_minutes", "val_interval", "es_patience")

#: What a config that says nothing of it gets.
TRIALS, PRUNER, STARTUP = 20, "median", 5
#: Scores of a validation beside those of val_metrics.
_FURTHER = ("worst_city_f1", "threshold", "f1_at_threshold")


@dataclass(frozen=True)
class Plan:
    """What is searched: a config, folds (name, city), and how it is judged.

    `overrides` are those of every training, `ground` the places of the folds, as summaries name
    them, `validations` those of one training, `data` the digest of what is learnt from.
    `train` is the config that the settings found are for, most often the one that this builds on,
    and `lengths` are overrides by which it trains as long as that.
    """

    config: Config
    overrides: str
    folds: tuple[tuple[str, str], ...]
    ground: tuple[str, ...]
    metric: str
    pruner: str
    startup: int
    wanted: int
    seed: int
    validations: int
    data: str
    train: Path
    lengths: str

    @property
    def most(self) -> int:
        """Validations of a trial that is not pruned."""
        return self.validations * len(self.folds)

    def identity(self) -> dict[str, str]:
        """By what trials can be compared; each in the words in which a difference is told."""
        return {
            "config or overrides": training_key(self.config, ""),
            "data": self.data,
            "folds": "; ".join(name for name, _ in self.folds),
            "metric": self.metric,
            "number of validations": str(self.validations),
            "seed": str(self.seed),
        }

    def task(self, number: int, fold: tuple[str, str], values: str, run_id: str) -> FoldTask:
        """The training of a trial of the search `run_id` that holds out a fold."""
        own = as_overrides({"val_fold": fold[0], "tuned_by": run_id})
        text = " ".join(filter(None, [self.overrides, values, own]))
        path = self.config.path
        config = configs.load(path, text)
        key = training_key(config, self.data)
        return FoldTask(*fold, int(config.seed), path, text, config, key, number)


def plan(
    config_path: Path, folds: str, seed: int, overrides: str, trials: int | None = None
) -> Plan:
    """What is asked for, looked through before anything is trained; ConfigError and its like."""
    config = configs.load(config_path, overrides)
    config.require(
        "space", "metric", "data_path", "seed", "num_epochs", "num_classes", "val_loader"
    )
    own = [name for name, known in KNOWN.items() if known.by == (SEARCH,)]
    for_training = without(overrides, own)
    drawn = require_space(config, for_training)
    if not config.validate:
        raise ConfigError(f"{config.path}: validate = False: a search chooses by validations")
    _require_metric(config)
    pruner = config.get("pruner", PRUNER)
    if pruner not in PRUNERS:
        raise ConfigError(f"{config.path}: pruner = {pruner!r}: expected {', '.join(PRUNERS)}")
    chosen, ground = _folds(config, folds)
    fixed = as_overrides({"log_model": False, "log_predictions": 0})
    text = " ".join(filter(None, [for_training, fixed]))
    resolved = configs.load(config_path, text)
    check_settings(resolved)
    train, lengths = _train(config, drawn)
    return Plan(
        config=resolved,
        overrides=text,
        folds=chosen,
        ground=ground,
        metric=config.metric,
        pruner=pruner,
        startup=config.get("startup", STARTUP),
        wanted=trials or config.get("trials", TRIALS),
        seed=seed,
        validations=math.ceil(config.num_epochs / config.val_interval),
        data=data_digest(Path(config.data_path)),
        train=train,
        lengths=lengths,
    )


def _train(config: Config, drawn: str) -> tuple[Path, str]:
    """The config that is searched for, and by which overrides it trains as long as it should.

    The base, where it takes what the space names and is, but for LENGTH, what is searched; else
    the search's own config, as long as its base.
    """
    if len(config.chain) < 2:
        return config.path, ""
    base = Path(os.path.normpath(config.chain[-2]))
    if base.is_relative_to(PROJECT):
        base = base.relative_to(PROJECT)  # by the name that it has in every folder
    searched, plain = configs.load(config.path).settings, configs.load(base).settings
    lengths = {n: plain[n] for n in LENGTH if n in plain and plain[n] != searched.get(n)}
    try:
        configs.check_overrides(base, drawn)
    except ConfigError:
        return config.path, as_overrides(lengths)
    of_search = {name for name, known in KNOWN.items() if known.by == (SEARCH,)}
    own = {n for n in searched if n not in plain or searched[n] != plain[n]} - of_search
    if own - {*LENGTH, "base"} or _defines(config):
        return config.path, as_overrides(lengths)
    return base, ""


def _defines(config: Config) -> bool:
    """Whether a search's own file defines more than its space."""
    body = ast.parse(config.sources[-1]).body
    return any(isinstance(node, ast.FunctionDef) and node.name != "space" for node in body)


def _require_metric(config: Config) -> None:
    """ConfigError for a metric that no validation logs."""
    known = (*config.val_metrics, *_FURTHER)
    prefix, _, rest = config.metric.partition("/")
    if prefix == "val" and rest.rpartition("/")[2] in known:
        return
    last = rest.rpartition("/")[2]
    add = f", or add {last!r} to val_metrics" if prefix == "val" and last in SCORES else ""
    raise ConfigError(
        f"{config.path}: metric = {config.metric!r}: no validation logs it; expected one of "
        f"{', '.join(f'val/{name}' for name in known)}{add}"
    )


def _folds(config: Config, folds: str) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """The folds to hold out by name and city, and the places that are tuned on."""
    known = Folds.read(Path(config.data_path))
    wanted = [name.strip() for name in folds.split(";") if name.strip()]
    if not wanted and config.get("val_fold") is None:
        raise ConfigError(
            f"{config.path}: val_fold is none, so that nothing is held out to choose by; give "
            f"folds, some of {'; '.join(known.names)}"
        )
    chosen = dict.fromkeys(known.index_of(n) for n in (wanted or [config.val_fold]))
    ground: set[str] = set()
    for fold in chosen:
        members = known.members[fold] if known.members else ()
        ground |= {known.scenes[scene].city for scene in members} or {known.names[fold]}
    return tuple((known.names[f], known.city_of(f)) for f in chosen), tuple(sorted(ground))
