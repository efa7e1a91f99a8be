"""The process that a training of a study runs in, which ends with the one that began it.

Imports take longer than many a small training's first epochs, and are the same for all: on Linux
one process makes them once, while the study looks at its data, and each training is forked from it.
It has opened nothing by then, no data, database or GPU; elsewhere each training begins anew.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import runpy
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

import builtup

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LOOK_EVERY", "run_command", "warm_up"]

#: Seconds between two looks at a training that is watched.
LOOK_EVERY = 1.0
#: Seconds that a training which is told to end has to close its run.
_PATIENCE = 60
#: What trainings import, and nothing that a config of one's own brings.
_IMPORTS = (
    "builtup.cli",
    "builtup.config.launch",
    "builtup.data.loaders",
    "builtup.training.after_training",
    "builtup.training.before_training",
    "builtup.training.handlers",
    "builtup.training.tile_pictures",
    "mlflow.store.tracking.sqlalchemy_store",
)


def warm_up() -> None:
    """Let the imports of trainings begin, in a process of their own; returns at once."""
    context = _context()
    if isinstance(context, ForkServerContext):
        context.set_forkserver_preload(list(_IMPORTS))  # one server for all: others set theirs
        with _found_by_others():
            forkserver.ensure_running()


def run_command(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    shall_end: Callable[[], bool] | None = None,
) -> int:
    """Run a command of builtup as a process; its exit status, minus the signal that killed it.

    It ends when this process does, and when `shall_end`, asked every second, says so: with SIGTERM,
    upon which a training closes its run.
    """
    warm_up()
    process = _context().Process(target=_call, args=(tuple(arguments), dict(environment)))
    with _found_by_others():
        process.start()
    try:
        while process.exitcode is None:
            process.join(None if shall_end is None else LOOK_EVERY)
            if process.exitcode is None and shall_end is not None and shall_end():
                return _end(process)
        return process.exitcode
    except BaseException:
        _end(process)
        raise


def _end(process: BaseProcess) -> int:
    process.terminate()
    process.join(_PATIENCE)
    if process.exitcode is None:
        process.kill()
        process.join()
    return process.exitcode or 0


@functools.cache
def _context() -> ForkServerContext | SpawnContext:
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    return multiprocessing.get_context("forkserver")


@contextmanager
def _found_by_others() -> Iterator[None]:
    """Let new processes find this very package."""
    before = os.environ.get("PYTHONPATH")
    own = str(Path(builtup.__file__).parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join([own, *filter(None, [before])])
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


# --- in the process -------------------------------------------------------------------------------


def _call(arguments: tuple[str, ...], environment: dict[str, str]) -> None:
    """As `python -m builtup` does, with an environment of its own."""
    _end_with_parent()
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["builtup", *arguments]
    runpy.run_module("builtup", run_name="__main__", alter_sys=True)


def _end_with_parent() -> None:
    """Get SIGTERM when the study's process has ended, however it did."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="study", daemon=True).start()
