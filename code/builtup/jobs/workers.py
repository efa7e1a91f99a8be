"""In a worker process: how it ends with its parent, and cleanly where it is told to.

An interrupt of the terminal reaches all processes at once; the parent alone hears it, and tells
the workers by closing a pipe. Where the parent dies, the system closes it.

A worker computes in one thread: there are as many workers as cores are to be used.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from types import FrameType
from typing import TypeVar

import threadpoolctl

__all__ = ["deaf_to_interrupts", "pool", "work"]

Input = TypeVar("Input")
Output = TypeVar("Output")

#: Seconds for the work at hand to remove what it was writing.
GRACE = 3.0

_at_work = False
_told_to_end = False


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Processes that are started within never hear the interrupt of a terminal.

    They inherit the mask, so it holds while they import; this process hears what came meanwhile.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def pool(count: int, prepare: Callable[[], None] | None = None) -> Iterator[ProcessPoolExecutor]:
    """`count` processes that end with this one, each prepared by `prepare()`.

    Submit `work` with a call, so that a worker that is told to end removes what it was writing;
    the first time within `deaf_to_interrupts`. An interrupt, and a worker that was killed
    (BrokenProcessPool), end the others at once.
    """
    context = multiprocessing.get_context("spawn")  # GDAL and forks do not mix
    # closed by this process, or by its death: whoever waits at the other end notices
    watched, held = context.Pipe(duplex=False)
    processes = ProcessPoolExecutor(
        count, mp_context=context, initializer=_begin, initargs=(watched, prepare)
    )
    with watched, held, processes:
        try:
            yield processes
        except (BrokenProcessPool, KeyboardInterrupt):
            held.close()
            raise


def _begin(parent: Connection, prepare: Callable[[], None] | None) -> None:
    """In a new worker: end when the other end of `parent` is closed."""
    _compute_in_one_thread()
    signal.signal(signal.SIGTERM, _end)
    threading.Thread(target=_wait_for_the_end, args=(parent,), daemon=True).start()
    if prepare is not None:
        prepare()


def _compute_in_one_thread() -> None:
    """Keep BLAS from a thread a core: those of several workers wait for each other's time slices.

    The variables are for libraries that are loaded later; threadpoolctl tells those that are.
    """
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    threadpoolctl.threadpool_limits(1)


def work(call: Callable[[Input], Output], job: Input) -> Output:
    """`call(job)`; a process that is told to end meanwhile removes what it was writing."""
    global _at_work
    try:
        _at_work = True
        return call(job)
    finally:
        _at_work = False
        if _told_to_end:
            os._exit(1)  # the pool would hand the next job to a worker that only raises


def _wait_for_the_end(parent: Connection) -> None:
    parent.poll(None)
    main = threading.main_thread().ident
    if main is not None:
        signal.pthread_kill(main, signal.SIGTERM)
    _exit_after_grace()  # GDAL may keep that thread for long


def _end(number: int, frame: FrameType | None) -> None:
    global _told_to_end
    if not _at_work:
        os._exit(1)
    if not _told_to_end:  # the second time it is removing what it was writing
        _told_to_end = True
        threading.Thread(target=_exit_after_grace, daemon=True).start()
        raise SystemExit(1)


def _exit_after_grace() -> None:
    time.sleep(GRACE)
    os._exit(1)
