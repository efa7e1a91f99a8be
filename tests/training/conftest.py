"""A tracking database for the whole session: its first start takes seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from builtup.runs import tracking

    root = tmp_path_factory.mktemp("project")
    tracking.setup(root)
    return root


@pytest.fixture
def project(database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a project with its database, made the current one."""
    from builtup.runs import tracking

    monkeypatch.chdir(database)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.database_uri(database))
    tracking.client()  # earlier tests may have looked elsewhere
    return database


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
