"""What is looked through before a search trains anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from builtup.config.load import load
from builtup.config.shipped import PROJECT
from builtup.errors import BuiltupError, ConfigError
from builtup.studies import search_plan
from builtup.studies.search_plan import Plan, plan

SPACE = """
base = "tiny.py"
metric, trials, pruner, startup = "val/iou", 7, "hyperband", 2
num_epochs, val_interval = 7, 2


def space(trial):
    return {"lr": trial.suggest_float("lr", 1e-4, 1e-1, log=True)}
"""


def planned(cities: Path, overrides: str = "", folds: str = "", text: str = SPACE) -> Plan:
    path = cities / "planned.py"
    path.write_text(text)
    return plan(path, folds, 0, overrides)


def test_what_is_asked_for(cities: Path) -> None:
    of = planned(cities)
    assert (of.metric, of.wanted, of.pruner, of.startup) == ("val/iou", 7, "hyperband", 2)
    assert of.folds == (("38SAA_Alpha", "38SAA_Alpha"),)
    assert of.validations == 4  # after 2, 4, 6 and 7 epochs
    assert of.train == cities / "tiny.py"
    assert planned(cities, folds="Beta;Alpha").most == 8


def test_a_trial_is_the_config_with_its_own_settings(cities: Path) -> None:
    of = planned(cities, "hidden=4 trials=9 metric=val/f1")
    task = of.task(3, of.folds[0], "lr=0.5", "abc")
    assert (of.wanted, of.metric) == (9, "val/f1")
    assert (task.config.lr, task.config.hidden, task.config.num_epochs) == (0.5, 4, 7)
    assert (task.config.tuned_by, task.config.log_model) == ("abc", False)
    assert "trials" not in task.overrides and "metric" not in task.overrides
    assert task.name == "trial 3 of planned without 38SAA_Alpha"
    assert task.key == of.task(9, of.folds[0], "lr=0.5", "another search").key
    assert task.key != of.task(3, of.folds[0], "lr=0.4", "abc").key


def test_without_an_own_space_of_the_base_the_config_itself_is_tuned(cities: Path) -> None:
    own = SPACE + "\n\nsteepness = 0.0\n\n\ndef criterion():\n    return steepness\n"
    own = own.replace('"lr": trial', '"steepness": trial')
    assert planned(cities, text=own).train == cities / "planned.py"


OPTIMIZER = """


def optimizer(model):
    from torch.optim import SGD

    return SGD(model.parameters(), lr)
"""


@pytest.mark.parametrize("own", ["\nhidden = 5\n", OPTIMIZER])
def test_what_is_trained_with_the_best_is_what_was_searched(cities: Path, own: str) -> None:
    """Settings and functions that a search has of its own are not lost with its lengths."""
    of = planned(cities, text=SPACE + own)
    assert of.train == cities / "planned.py"
    base, after = load(cities / "tiny.py"), load(of.train, of.lengths)
    for name in ("num_epochs", "val_interval"):
        assert after.get(name) == base.get(name) != of.config.get(name)
    assert planned(cities).lengths == ""


@pytest.mark.parametrize(
    ("searched", "trained"),
    [
        ("recommended_cpu", "recommended_cpu"),
        ("efficientfpn", "open_cities/efficientfpn_b1"),
    ],
)
def test_a_config_that_comes_along_is_tuned_by_its_name(searched: str, trained: str) -> None:
    config = load(PROJECT / "configs" / "search" / f"{searched}.py")
    assert search_plan._train(config, "lr=0.1") == (Path(f"configs/train/{trained}.py"), "")


@pytest.mark.parametrize(
    ("overrides", "folds", "said"),
    [
        ("metric=val/iuo", "", "metric = 'val/iuo': no validation logs it; expected one of val/f1"),
        ("metric=iou", "", "metric = 'iou': no validation logs it"),
        ("metric=val/macro_iou", "", "or add 'macro_iou' to val_metrics"),
        ("pruner=medain", "", "pruner = 'medain': expected median, hyperband, none"),
        ("trials=0", "", "trials = 0: expected 1 or more"),
        ("validate=false", "", "validate = False: a search chooses by validations"),
        ("val_fold=none", "", "val_fold is none, so that nothing is held out.*38SAA_Alpha; "),
        ("", "Delta", "fold Delta: the data have no such fold"),
        ("lr=0.5", "", "overrides: lr is what space"),
        ("nothing=1", "", "override nothing=1 matches no setting"),
    ],
)
def test_bad_input_is_one_line(cities: Path, overrides: str, folds: str, said: str) -> None:
    with pytest.raises(BuiltupError, match=said) as e:
        planned(cities, overrides, folds)
    assert "\n" not in str(e.value)


def test_a_score_of_one_city_may_be_the_metric(cities: Path) -> None:
    assert planned(cities, "metric=val/38SAA_Alpha/f1").metric == "val/38SAA_Alpha/f1"


def test_a_config_without_a_metric_is_refused(cities: Path) -> None:
    text = SPACE.replace('metric, trials, pruner, startup = "val/iou", 7, "hyperband", 2\n', "")
    with pytest.raises(ConfigError, match="metric is missing; add metric = "):
        planned(cities, text=text)


def test_trials_can_be_compared_only_with_those_of_the_same_kind(cities: Path) -> None:
    before = planned(cities).identity()
    for overrides, folds, what in (
        ("hidden=3", "", "config or overrides"),
        ("", "Beta", "folds"),
        ("metric=val/f1", "", "metric"),
        ("val_interval=1", "", "number of validations"),
    ):
        now = planned(cities, overrides, folds).identity()
        assert {name for name in now if now[name] != before[name]} == {what}
    assert planned(cities, "trials=3 startup=9").identity() == before
