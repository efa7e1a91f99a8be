"""A tracking database for these tests, and trainings within the test's own process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tiny_folds import enter, train_in_threads


@pytest.fixture(scope="session")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from builtup.runs import tracking

    root = tmp_path_factory.mktemp("validation_project")
    tracking.setup(root)
    return root


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
