"""Configs and scripts that come with the package."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from builtup.config import shipped
from builtup.config.load import load
from builtup.config.shipped import PROJECT, found
from builtup.errors import ConfigError
from helpers import ROOT


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shipped._say.cache_clear()


def test_the_package_has_those_of_the_checkout() -> None:
    for folder in ("configs", "code/scripts"):
        own = {path.relative_to(ROOT) for path in (ROOT / folder).rglob("*.py")}
        assert own
        assert all((PROJECT / path).samefile(ROOT / path) for path in own)


def test_a_config_means_the_same_in_an_empty_folder(caplog: pytest.LogCaptureFixture) -> None:
    name = "configs/train/no_val/baseline_lwrefinenet_on_db.py"
    with caplog.at_level(logging.INFO):
        config = load(name, "seed=3")
        load(name)
    assert config.name == "no_val/baseline_lwrefinenet_on_db"
    assert config.path.samefile(ROOT / name)
    assert config.seed == 3
    said = f"{name}: not in this folder; the one that came with builtup is taken"
    assert caplog.messages == [said]


def test_the_file_of_this_folder_comes_first(tmp_path: Path) -> None:
    here = Path("configs/train/demo.py")
    here.parent.mkdir(parents=True)
    here.write_text("num_epochs = 77\n")
    assert found(here) == here
    assert load(here).num_epochs == 77


def test_a_config_of_ones_own_builds_on_one_that_came_along() -> None:
    Path("mine").mkdir()
    Path("mine/own.py").write_text('base = "configs/train/demo.py"\nnum_epochs = 2\n')
    config = load("mine/own.py")
    assert (config.num_epochs, config.val_interval) == (2, 4)
    assert [path.name for path in config.chain] == ["_unosat.py", "demo.py", "own.py"]
    like = Path("configs/train/like_the_checkout.py")
    like.parent.mkdir(parents=True)
    like.write_text('base = "demo.py"\n')
    assert [path.name for path in load(like).chain] == ["_unosat.py", "demo.py", like.name]
    Path("demo.py").write_text("")  # of the folder where one stands, not beside the config
    Path("mine/other.py").write_text('base = "demo.py"\n')
    with pytest.raises(ConfigError, match=r"base = 'demo.py' does not exist.*configs/…"):
        load("mine/other.py")


@pytest.mark.parametrize(
    "name", ["configs/train/no_such.py", "../project/configs/train/demo.py", "/configs/x.py"]
)
def test_what_is_nowhere_stays_as_it_was_given(name: str) -> None:
    assert found(Path(name)) == Path(name)
