"""A tracking database for these tests, and trainings within the test's own process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tiny_folds import enter, train_in_threads, write_cities, write_config


@pytest.fixture(scope="session")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from builtup.runs import tracking

    root = tmp_path_factory.mktemp("validation_project")
    tracking.setup(root)
    return root


@pytest.fixture(scope="session")
def cities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiles of three cities, one of them without a building, and a config."""
    root = tmp_path_factory.mktemp("cities")
    tiles = write_cities(root, empty="Gamma")
    write_config(root, tiles)
    return root


@pytest.fixture(scope="session")
def done(cities: Path, tracked: Path) -> str:
    """A cross-validation of three folds, and what it printed."""
    from builtup.studies.cross_validate import cross_validate

    with pytest.MonkeyPatch.context() as patch:
        enter(tracked, patch)
        train_in_threads(patch)
        return cross_validate(config_path=cities / "tiny.py", overrides="num_epochs=6")


@pytest.fixture
def project(tracked: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a project with its database, made the current one."""
    enter(tracked, monkeypatch)
    return tracked


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let folds train within this process; gives the overrides of those that were started."""
    return train_in_threads(monkeypatch)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
