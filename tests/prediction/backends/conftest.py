"""One folder of converted networks for a module's tests: each conversion takes seconds."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from builtup.prediction.backends.openvino import cache_folder


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What this module's tests have converted, for those that only use it."""
    return tmp_path_factory.mktemp("converted")


@pytest.fixture(autouse=True)
def shared_cache(converted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(converted))
    for choice in converted.rglob("auto-*.json"):  # what one test chose is not another's
        choice.unlink()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_folder()


@pytest.fixture
def openvino() -> None:
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed (the extra openvino)")
