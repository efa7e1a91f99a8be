"""Finding a headless Chromium: the one named, Playwright's own, or the system's."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

#: What Debian, Ubuntu and others call it.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")


def executable(own: str) -> str:
    """The browser to start; skips the test where there is none. `own` is Playwright's."""
    named = os.environ.get("BUILTUP_BROWSER", "")
    for found in (named, own, *(shutil.which(name) or "" for name in NAMES)):
        if found and Path(found).is_file():
            return found
    pytest.skip("no headless browser: .ci/run installs one, or set BUILTUP_BROWSER to a Chromium")


@contextmanager
def headless() -> Iterator[Any]:
    """A running headless browser; skips the test where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: make venv")
    with playwright.sync_playwright() as p:
        path = executable(p.chromium.executable_path)
        # without a sandbox it runs as root too; the pages are our own
        with p.chromium.launch(executable_path=path, args=["--no-sandbox"]) as browser:
            yield browser
