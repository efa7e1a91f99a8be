"""What a search may try: from a config's space(trial) to overrides; who proposes and who prunes."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.trial import BaseTrial, FrozenTrial, TrialState

from builtup.config import load as configs
from builtup.config.load import Config
from builtup.config.overrides import split_overrides
from builtup.config.settings import KNOWN, SEARCH
from builtup.errors import ConfigError
from builtup.runs.study_records import Axis

__all__ = [
    "PRUNERS",
    "as_overrides",
    "asked",
    "axes_of",
    "importance_of",
    "make_pruner",
    "make_sampler",
    "require_space",
    "without",
]

PRUNERS = ("median", "hyperband", "none")
optuna.logging.set_verbosity(optuna.logging.WARNING)  # it says each trial in its own words

#: What a search sets itself: whoever asked for another value would not get it.
_OURS = {"tuned_by", "validate", "resume_from", "log_model", "register", "val_fold"}
#: Trials that an importance needs to mean anything.
LEAST_TRIALS = 4


def asked(config: Config, trial: BaseTrial) -> dict[str, Any]:
    """The settings that space(trial) returns, numbers to six digits, as they are trained with.

    Raises ConfigError where that is no dict of settings, or names what the search sets itself.
    """
    found = config.ask(trial)
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise ConfigError(
            f"{config.path}: space(trial) returned {type(found).__name__}; return settings by "
            'name, such as {"lr": trial.suggest_float("lr", 1e-4, 1e-2, log=True)}'
        )
    if not found or not trial.params:
        raise ConfigError(
            f"{config.path}: space(trial) names no setting to try; return settings by name, each "
            "with a value from trial.suggest_…"
        )
    if ours := sorted(found.keys() & _OURS):
        raise ConfigError(f"{config.path}: space(trial): {ours[0]} is set by search itself")
    if of_search := [n for n in found if n in KNOWN and KNOWN[n].by == (SEARCH,)]:
        raise ConfigError(
            f"{config.path}: space(trial): {of_search[0]} is a setting of the search, not of what "
            "is trained; leave it out"
        )
    return {name: _rounded(value) for name, value in found.items()}


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def as_overrides(values: Mapping[str, Any]) -> str:
    """Settings as text that `split_overrides` takes apart again."""
    return " ".join(shlex.quote(f"{name}={_text(value)}") for name, value in values.items())


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else repr(value)


def without(overrides: str, names: Iterable[str]) -> str:
    """Overrides but for those of some names."""
    left = {name: text for name, text in split_overrides(overrides) if name not in set(names)}
    return as_overrides(left)


def require_space(config: Config, overrides: str) -> str:
    """Overrides as the config's space may draw them, at random.

    Raises ConfigError where it names no setting of the config, or one that `overrides` set.
    """
    config.require("space")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    values = asked(config, study.ask())
    if twice := sorted(values.keys() & {name for name, _ in split_overrides(overrides)}):
        raise ConfigError(
            f"overrides: {twice[0]} is what space(trial) of {config.path} tries; leave it out, or "
            "take it out of the space"
        )
    try:
        configs.load(config.path, f"{overrides} {as_overrides(values)}")
    except ConfigError as e:
        problem = str(e).removeprefix(f"{config.path}: ")
        raise ConfigError(f"{config.path}: space(trial): {problem}") from e
    return as_overrides(values)


def make_sampler(seed: int, index: int, startup: int) -> optuna.samplers.BaseSampler:
    """A tree-structured Parzen estimator for the `index`-th trial, at random before `startup`.

    Its chance depends on seed and index alone, so that a search that was stopped asks for what it
    would have asked for. After Bergstra et al. (2011), Algorithms for Hyper-Parameter Optimization.
    """
    own = int(np.random.SeedSequence([abs(seed), index]).generate_state(1)[0])
    return optuna.samplers.TPESampler(n_startup_trials=startup, seed=own)


def make_pruner(name: str, startup: int, most: int) -> BasePruner:
    """median (worse than half of the trials after as many validations), hyperband, or none.

    `most` are the validations of a trial that is not pruned. Hyperband: Li et al. (2018).
    """
    if name == "median":
        return MedianPruner(n_startup_trials=startup)
    if name == "hyperband":
        return HyperbandPruner(min_resource=1, max_resource=most, reduction_factor=3)
    return NopPruner()


def axes_of(trials: Sequence[FrozenTrial]) -> tuple[Axis, ...]:
    """What the parameters of these trials were chosen from, in the order of their first use."""
    ranges: dict[str, BaseDistribution] = {}
    for trial in trials:
        for name, of in trial.distributions.items():
            ranges.setdefault(name, of)
    return tuple(_axis(name, of) for name, of in ranges.items())


def _axis(name: str, of: BaseDistribution) -> Axis:
    if isinstance(of, CategoricalDistribution):
        return Axis(name=name, choices=tuple(of.choices))
    low, high, log = (getattr(of, part) for part in ("low", "high", "log"))
    return Axis(name=name, low=float(low), high=float(high), log=bool(log))


def importance_of(study: optuna.Study) -> dict[str, float]:
    """Each parameter's share of what sets the best tenth of the trials apart; they sum to 1.

    By PED-ANOVA (Watanabe et al. 2023), which needs no forest. Nothing for fewer than four
    finished trials, or where they are all alike. Only parameters that all of them have count.
    """
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(done) < LEAST_TRIALS or len({trial.value for trial in done}) == 1:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: share for name, share in found.items() if math.isfinite(share)}
