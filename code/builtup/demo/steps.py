"""What the demos share: a clock, scripts run in this process, a database for their runs."""

from __future__ import annotations

import logging
import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from builtup.config.launch import run_script
from builtup.runs import tracking

__all__ = ["Clock", "overrides_of", "run_logged", "use_own_database"]

log = logging.getLogger(__name__)


@dataclass
class Clock:
    """Seconds of each named step."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Say what begins, and keep how long it took."""
        log.info("%s …", name)
        started = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - started


def use_own_database() -> None:
    """Record runs in output/mlflow.db, made where it is missing, unless another is named."""
    root = Path.cwd()
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        tracking.setup(root)
        os.environ["MLFLOW_TRACKING_URI"] = tracking.database_uri(root)


def run_logged(script: str, config: str, overrides: str) -> str:
    """Run a script in this process; return the id of its MLflow run."""
    run_script(Path("code/scripts") / f"{script}.py", Path(config), overrides=overrides)
    return tracking.last_run_id()  # the newest of its experiment may be another process's


def overrides_of(**settings: object) -> str:
    """The settings as overrides, quoted: a path may hold spaces."""
    return " ".join(shlex.quote(f"{name}={value}") for name, value in settings.items())
