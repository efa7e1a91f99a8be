"""What a search may try: overrides of what a space proposes, refusals, proposals and pruners."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from builtup.config.load import Config, load
from builtup.config.overrides import parse_value, split_overrides
from builtup.errors import ConfigError
from builtup.runs.study_records import Axis
from builtup.studies.search_space import (
    as_overrides,
    asked,
    axes_of,
    importance_of,
    make_pruner,
    make_sampler,
    require_space,
    without,
)

CONFIG = """
lr, decay, crops, name = 0.1, None, (1, 2), "a b"


def optimizer(model):
    return lr, decay, crops, name


def space(trial):
    return {space}
"""
LR = '{"lr": trial.suggest_float("lr", 1e-4, 1e-1, log=True)}'


def config_of(folder: Path, space: str = LR) -> Config:
    path = folder / "searched.py"
    path.write_text(CONFIG.replace("{space}", space))
    return load(path)


def new_trial(seed: int = 0) -> optuna.Trial:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()


VALUES = {
    "lr": (st.floats(1e-9, 1e9), (float,)),
    "epochs": (st.integers(0, 10**9), (int,)),
    "flips": (st.booleans(), (bool,)),
    "decay": (st.none() | st.floats(1e-3, 1.0), (float, type(None))),
    "crops": (st.tuples(st.integers(1, 9), st.integers(1, 9)), (tuple,)),
    "encoder": (st.text("abc -'\"/=;", min_size=1), (str,)),
}


@given(st.fixed_dictionaries({name: of for name, (of, _) in VALUES.items()}))
def test_overrides_say_what_was_proposed(values: dict[str, Any]) -> None:
    encoder = values["encoder"]
    if len(encoder) > 1 and encoder[0] == encoder[-1] and encoder[0] in "'\"":
        values["encoder"] = "plain"  # quotes around a text are left out by design
    pairs = dict(split_overrides(as_overrides(values)))
    found = {name: parse_value(pairs[name], VALUES[name][1], values[name]) for name in pairs}
    assert found == values


def test_numbers_are_tried_with_six_digits(tmp_path: Path) -> None:
    config = config_of(tmp_path, '{"lr": trial.suggest_float("lr", 1/3, 1/3)}')
    assert asked(config, new_trial()) == {"lr": 0.333333}


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ("None", "returned NoneType; return settings by name"),
        ("{}", "names no setting to try"),
        ('{"lr": 0.5}', "names no setting to try"),
        ('{"resume_from": trial.suggest_categorical("r", ["a"])}', "resume_from is set by search"),
        ('{"trials": trial.suggest_int("t", 1, 2)}', "trials is a setting of the search"),
        ('{"lr": trial.suggest_flaot("lr", 0, 1)}', r"space\(\): AttributeError"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(tmp_path: Path, space: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as e:
        asked(config_of(tmp_path, space), new_trial())
    assert "searched.py" in str(e.value) and "\n" not in str(e.value)


def test_a_space_that_names_no_setting_of_the_config_is_refused(tmp_path: Path) -> None:
    config = config_of(tmp_path, '{"lrr": trial.suggest_float("lrr", 0.1, 1)}')
    with pytest.raises(ConfigError, match=r"space\(trial\): override lrr=0\.\d+ matches no") as e:
        require_space(config, "")
    assert "did you mean lr?" in str(e.value)
    assert str(e.value).count("searched.py") == 1


def test_what_is_searched_cannot_be_overridden(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    assert require_space(config, "decay=0.5").startswith("lr=")
    with pytest.raises(ConfigError, match="overrides: lr is what space"):
        require_space(config, "lr=0.5")


def test_a_config_without_a_space_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plain.py"
    path.write_text("lr = 0.1\n\n\ndef optimizer(model):\n    return lr\n")
    with pytest.raises(ConfigError, match=r"space is missing; define the function space"):
        require_space(load(path), "")


def test_a_search_may_stand_on_a_config_of_four_bases_and_no_more(tmp_path: Path) -> None:
    for i in range(7):
        base = (
            f'base = "{i - 1}.py"\n'
            if i
            else "lr = 0.1\n\n\ndef optimizer(model):\n    return lr\n"
        )
        (tmp_path / f"{i}.py").write_text(base)
    for i in (5, 6):
        space = f"\n\ndef space(trial):\n    return {LR}\n"
        (tmp_path / f"of_{i}.py").write_text(f'base = "{i - 1}.py"{space}')
    assert len(load(tmp_path / "of_5.py").chain) == 6
    with pytest.raises(ConfigError, match="base goes deeper than 5 levels"):
        load(tmp_path / "of_6.py")
    with pytest.raises(ConfigError, match="base goes deeper than 4 levels"):
        load(tmp_path / "5.py")


def test_a_space_asks_for_a_trial_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text("def space(model):\n    return {}\n")
    with pytest.raises(ConfigError, match=r"space\(model\): unknown parameter.*expected trial"):
        load(path)


def test_overrides_can_be_left_out() -> None:
    assert without("num_epochs=3 data_path='a b' lr=1", ["num_epochs"]) == "'data_path=a b' lr=1"


def proposals(seed: int, index: int, values: list[float]) -> float:
    """What is proposed after trials of these values."""
    study = optuna.create_study(direction="maximize")
    for i, value in enumerate(values):
        study.sampler = make_sampler(seed, i, 2)
        trial = study.ask()
        trial.suggest_float("lr", 1e-4, 1e-1, log=True)
        study.tell(trial, value)
    study.sampler = make_sampler(seed, index, 2)
    return study.ask().suggest_float("lr", 1e-4, 1e-1, log=True)


def test_proposals_depend_on_seed_number_and_what_was_found() -> None:
    values = [0.1, 0.3, 0.2]
    assert proposals(0, 3, values) == proposals(0, 3, values)
    assert proposals(0, 3, values) != proposals(1, 3, values)
    assert proposals(0, 0, []) != proposals(0, 1, [])


def test_the_median_pruner_ends_what_is_worse_than_half_of_the_others() -> None:
    """At the second validation three trials had .2, .4 and .6: the median is .4."""
    study = optuna.create_study(direction="maximize", pruner=make_pruner("median", 3, 4))
    for value in (0.2, 0.4, 0.6):
        trial = study.ask()
        trial.report(0.1, 1)
        trial.report(value, 2)
        assert not trial.should_prune()  # the first three are never pruned
        study.tell(trial, value)
    for value, pruned in ((0.39, True), (0.41, False)):
        trial = study.ask()
        trial.report(0.1, 1)
        assert not trial.should_prune()
        trial.report(value, 2)
        assert trial.should_prune() == pruned
        study.tell(trial, state=TrialState.PRUNED)


def test_hyperband_and_none_are_what_their_names_say() -> None:
    assert isinstance(make_pruner("hyperband", 5, 9), optuna.pruners.HyperbandPruner)
    assert isinstance(make_pruner("none", 5, 9), optuna.pruners.NopPruner)


def searched(number: int) -> optuna.Study:
    """Trials in which x alone decides."""
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(number):
        trial = study.ask()
        x, _ = trial.suggest_float("x", 0, 1), trial.suggest_categorical("kind", ["a", None])
        study.tell(trial, -((x - 0.3) ** 2))
    return study


def test_what_decides_is_important() -> None:
    shares = importance_of(searched(30))
    assert shares["x"] > 0.7 and sum(shares.values()) == pytest.approx(1)
    assert importance_of(searched(3)) == {}


def test_axes_are_what_was_chosen_from() -> None:
    assert axes_of(searched(1).trials) == (
        Axis(name="x", low=0.0, high=1.0),
        Axis(name="kind", choices=("a", None)),
    )
