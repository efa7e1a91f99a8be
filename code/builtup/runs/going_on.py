"""How a run that was stopped goes on: the command, said when it stops."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builtup.config.load import Config

__all__ = ["INFERENCE", "TRAINING", "Interrupted", "command", "naming_the_way_on"]

log = logging.getLogger(__name__)

TRAINING = "code/scripts/training.py"
INFERENCE = "code/scripts/inference.py"


class Interrupted(KeyboardInterrupt):
    """An interrupt; the message says how to go on."""


def command(
    config_path: Path | str, overrides: str, script: str = TRAINING, processes: int = 1
) -> str:
    """What runs a script with a config: by `mlflow run` where that started this process."""
    by_mlflow = bool(os.environ.get("MLFLOW_RUN_ID"))
    options = {
        "script_path": script if by_mlflow and script != TRAINING else "",
        "config_path": str(config_path),
        "num_gpus": str(processes) if processes > 1 else "",
        "overrides": overrides,
    }
    given = {name: text for name, text in options.items() if text}
    if by_mlflow:
        parts = ["mlflow run . --env-manager local"]
        parts += [f"-P {name}={_quoted(text)}" for name, text in given.items()]
    else:
        name = "infer" if script == INFERENCE else "train"
        parts = [f"builtup {name}", *(f"--{name} {_quoted(text)}" for name, text in given.items())]
    return " ".join(parts)


def _quoted(text: str) -> str:
    return f'"{text}"' if "=" in text and '"' not in text else shlex.quote(text)


@contextmanager
def naming_the_way_on(
    config: Config, run_id: str, saved: Path, script: str = TRAINING
) -> Iterator[None]:
    """Say how to go on with a run that is stopped; `saved` is the file without which it cannot.

    An interrupt becomes `Interrupted`. Nothing is said without a `run_id` (of several processes
    one speaks), or of the training of a fold (`validate=false`), which cross_validate goes on with.
    """
    if not run_id or not config.get("validate", True):
        yield
        return
    try:
        yield
    except KeyboardInterrupt as e:
        raise Interrupted(_way_on(config, run_id, saved, script)) from e
    except (SystemExit, Exception):
        if saved.is_file():
            log.info("%s", _way_on(config, run_id, saved, script))
        raise


def _way_on(config: Config, run_id: str, saved: Path, script: str) -> str:
    if not saved.is_file():
        return "nothing is saved yet: the same command begins anew"
    again = command(config.path, f"resume_from={run_id}", script, config.num_processes)
    return f"go on with: {again}"
