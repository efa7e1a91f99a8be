"""Steps of the chain, run by the scripts that train, as a user would run them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["builtup", "use_project_database"]


def builtup(command: str, **parameters: object) -> None:
    """Run a step in a process of its own; what is done already does nothing."""
    words = [word for key, value in parameters.items() for word in (f"--{key}", str(value))]
    subprocess.run([sys.executable, "-m", "builtup", command, *words], check=True)


def use_project_database() -> None:
    """Record runs in output/mlflow.db where no other database is named."""
    os.environ.setdefault(
        "MLFLOW_TRACKING_URI", f"sqlite:///{Path('output').resolve() / 'mlflow.db'}"
    )
