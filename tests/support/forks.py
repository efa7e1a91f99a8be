"""Processes that start in no time: forked from one that has imported all they need."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from typing import Any


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
