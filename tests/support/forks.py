"""Processes that start in no time: forked from one that has imported all they need."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import forkserver
from typing import Any

import pytest


@contextmanager
def processes_with(*modules: str) -> Iterator[Any]:
    """A context of multiprocessing, whose processes have `modules` and the environment of now.

    Python keeps one fork server for all, with the modules and the environment of when it was first
    needed: those of another test, such as one of a cluster. So it is begun anew, before and after.
    """
    server: Any = forkserver._forkserver  # type: ignore[attr-defined]
    before = server._preload_modules
    server._stop()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(modules))
    try:
        warm = context.Process(target=time.sleep, args=(0,))
        warm.start()
        warm.join()
        yield context
    finally:
        server._stop()
        server._preload_modules = before


@contextmanager
def launching_forks(*modules: str) -> Iterator[None]:
    """What `run_script` starts as several processes is forked from one with these modules.

    They talk to each other as always; only torch, MLflow and we are imported once.
    """
    import ignite.distributed as idist

    ours = ("builtup.config.launch", "builtup.runs.recorder", "mlflow", *modules)
    with processes_with(*ours), pytest.MonkeyPatch.context() as patch:
        patch.setattr(idist, "spawn", partial(idist.spawn, start_method="forkserver"))
        yield
