"""Configs: bases, overrides, unknown and wrongly typed names, builders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builtup.config import load as config
from builtup.errors import ConfigError

BASE = """
seed, num_classes, num_epochs = 1, 2, 5
lr = 0.1
class_weights = (0.5, 1.5)
cities = ("Mosul", "Najaf")
run_id = "abc"
val_fold = "Mosul"
note = None

def model():
    return ("model", lr, class_weights, cities, note)

def optimizer(model):
    return ("optimizer", model)

def lr_scheduler(optimizer, total_steps):
    return ("scheduler", optimizer, total_steps)
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def _write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return _write


def test_a_config_builds_on_its_base_and_the_base_sees_its_settings(write: Any) -> None:
    write("base.py", BASE)
    loaded = config.load(write("child.py", 'base = "base.py"\nlr = 0.2\n'))
    assert (loaded.lr, loaded.num_epochs) == (0.2, 5)
    assert [path.name for path in loaded.chain] == ["base.py", "child.py"]
    assert loaded.build("model")[1] == 0.2


def test_bases_go_four_levels_deep_and_no_further(write: Any) -> None:
    """Ours go three; a user's own file stands on any of them."""
    write("a.py", BASE)
    write("b.py", 'base = "a.py"\nlr = 0.2')
    path = write("c.py", 'base = "b.py"\nnum_epochs = 7')
    assert (config.load(path).lr, config.load(path).num_epochs) == (0.2, 7)
    assert config.load(write("d.py", 'base = "c.py"')).num_epochs == 7
    assert config.load(write("e.py", 'base = "d.py"')).num_epochs == 7
    with pytest.raises(ConfigError, match=r"f\.py: base goes deeper than 4 levels"):
        config.load(write("f.py", 'base = "e.py"'))


@pytest.mark.parametrize(
    ("override", "name", "value"),
    [
        ("lr=1", "lr", 1.0),
        ("num_epochs=3", "num_epochs", 3),
        ("run_id=12345", "run_id", "12345"),
        ("run_id=\"'0123'\"", "run_id", "0123"),
        ("'run_id=two words'", "run_id", "two words"),
        ("val_fold=0", "val_fold", 0),
        ("val_fold=Najaf", "val_fold", "Najaf"),
        ("val_fold=none", "val_fold", None),
        ("class_weights=1,2", "class_weights", (1, 2)),
        ('class_weights="(1, 2.5)"', "class_weights", (1, 2.5)),
        ("cities=Kirkouk,Tikrit", "cities", ("Kirkouk", "Tikrit")),
        ("amp=true", "amp", True),
        ("max_minutes=3", "max_minutes", 3.0),
        ("save_overlays=1", "save_overlays", 1),
        ("save_overlays=true", "save_overlays", True),
        ("note=[1,2]", "note", (1, 2)),
        ("note=hello", "note", "hello"),
    ],
)
def test_an_override_takes_the_type_of_what_it_replaces(
    write: Any, override: str, name: str, value: object
) -> None:
    loaded = config.load(write("c.py", BASE), override)
    assert loaded.settings[name] == value
    assert type(loaded.settings[name]) is type(value)


def test_functions_see_overridden_settings(write: Any) -> None:
    loaded = config.load(write("c.py", BASE), "lr=0.7 cities=Tikrit note=x")
    assert loaded.build("model") == ("model", 0.7, (0.5, 1.5), ("Tikrit",), "x")


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (BASE + "num_epoch = 3", "", r"c\.py: setting num_epoch is unknown.*mean num_epochs"),
        (BASE + "num_epochs = '3'", "", r"c\.py: num_epochs = '3': expected an integer"),
        (BASE + "num_epochs = True", "", r"num_epochs = True: expected an integer"),
        (BASE + "lr = [1]", "", r"lr = \[1\]: expected .*a number"),
        (BASE + "def optimiser(model): ...", "", r"optimiser is unknown.*mean optimizer"),
        (BASE + "from os import path as lr_scheduler", "", r"c\.py: lr_scheduler is no function"),
        (BASE + "from random import seed as criterion", "", r"criterion is no .*; write def crit"),
        (BASE + "criterion = None", "", r"criterion is no function of this file; write def crit"),
        (BASE + "def criterion(modle): ...", "", r"criterion\(modle\): unknown.*mean model"),
        (BASE + "def train_loader(optimizer): ...", "", r"train_loader\(optimizer\): unknown"),
        (BASE, "num_epoch=3", r"override num_epoch=3 matches no setting.*mean num_epochs"),
        (BASE, "num_epochs=3.5", r"override num_epochs=3\.5: expected an integer"),
        (BASE, "class_weights=a,b", r"class_weights=a,b: expected a tuple"),
        (BASE, "num_epochs 3", r"'num_epochs' is no override; write name=value"),
        (BASE, "run_id='x", "close the quotation"),
        ("lr = (", "", r"c\.py: line 1: .*correct the Python"),
        ("\nlr = missing", "", r"c\.py: line 2: NameError.*missing"),
        ('base = "nowhere.py"', "", r"c\.py: base = 'nowhere\.py' does not exist"),
        ("base = str(1)", "", r"base is computed; expected the file's name"),
    ],
)
def test_a_wrong_name_or_type_is_one_line_that_says_what_was_expected(
    write: Any, text: str, overrides: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        config.load(write("c.py", text), overrides)
    assert "\n" not in str(caught.value)


def test_a_missing_config_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.py: cannot be read"):
        config.load(tmp_path / "nowhere.py")


def test_missing_settings_and_builders_are_named(write: Any) -> None:
    loaded = config.load(write("c.py", "num_epochs = 3"))
    with pytest.raises(ConfigError, match=r"c\.py: seed is missing; add seed = … \(an integer\)"):
        loaded.require("num_epochs", "seed")
    with pytest.raises(ConfigError, match=r"c\.py: model is missing; define the function model"):
        loaded.require("model")
    assert not hasattr(loaded, "seed")
    assert loaded.get("seed", 4) == 4


def test_builders_get_by_name_what_was_built_before(write: Any) -> None:
    loaded = config.load(write("c.py", BASE))
    model = loaded.build("model")
    loaded.provide(total_steps=12)
    optimizer = loaded.build("optimizer")
    assert optimizer[1] is model
    assert loaded.build("lr_scheduler") == ("scheduler", optimizer, 12)
    assert loaded.build("val_loader") is None


def test_a_builder_called_too_early_says_what_it_lacks(write: Any) -> None:
    with pytest.raises(ConfigError, match=r"optimizer\(model\) asks for what was not built"):
        config.load(write("c.py", BASE)).build("optimizer")


def test_loading_builds_nothing_and_reads_no_data(write: Any) -> None:
    text = BASE + "\ndef train_loader():\n    raise RuntimeError('data were touched')\n"
    assert config.load(write("c.py", text)).has("train_loader")


def test_what_is_imported_is_neither_setting_nor_builder(write: Any) -> None:
    text = "from __future__ import annotations\nimport os\nfrom pathlib import Path\n" + BASE
    assert "os" not in config.load(write("c.py", text)).settings


def test_what_a_builder_raises_is_one_line_that_names_its_place(write: Any) -> None:
    path = write("c.py", BASE + "\ndef criterion():\n    return 1 / (lr - lr)\n")
    message = r"c\.py: line \d+: criterion\(\): ZeroDivisionError: .*correct the function"
    with pytest.raises(ConfigError, match=message) as caught:
        config.load(path).build("criterion")
    assert "\n" not in str(caught.value)


def test_further_overrides_reach_builders_and_are_checked(write: Any) -> None:
    loaded = config.load(write("c.py", BASE), "lr=0.2")
    loaded.override([("note", "x"), ("lr", "3")])
    assert loaded.build("model")[1] == 3.0 and loaded.build("model")[4] == "x"
    assert loaded.overrides == ("lr=0.2", "note=x", "lr=3")
    with pytest.raises(ConfigError, match="lr = -1"):
        loaded.override([("lr", "-1")])
