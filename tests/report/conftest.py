"""A tracking database for these tests: its first start takes seconds."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from builtup.runs import tracking

    root = tmp_path_factory.mktemp("report_project")
    tracking.setup(root)
    return root


@pytest.fixture
def project(tracked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, made the current one, with the database."""
    from builtup.runs import tracking

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.database_uri(tracked))
    return tmp_path
