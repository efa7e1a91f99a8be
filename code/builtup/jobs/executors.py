"""Where the jobs of a step run: in this process, in several here, or on a cluster.

`run_step` asks `chosen()` for the executor, so that no step has to hand one through. The command
line chooses with `using(executor)`; without it jobs run in local processes, `LocalProcesses`:

    this process                                       a worker
    WorkerPool.submit(call, item) ── by pickle ──▶     _run: call(item)
    keepalive ═══════════ a pipe ════════════▶ parent  a thread waits for its end (_watch)
       closed by us on ^C, or by the system
       when this process dies                  ──▶     SIGTERM ▶ SystemExit inside `call`, which
                                                       removes what it was writing ▶ _exit(1)

An interrupt of the terminal reaches all processes at once; this one alone hears it, and so the
workers end in one way only. A worker computes in one thread: there are as many as cores to be used.

`map_threads` is for what takes no cores: reading the headers of many scenes.
"""

from __future__ import annotations

import ast
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, TypeVar

import threadpoolctl

from builtup import logs
from builtup.errors import BuiltupError
from builtup.jobs.allocator import keep_freed_memory

__all__ = [
    "Executor",
    "LocalProcesses",
    "WorkerPool",
    "chosen",
    "is_remote",
    "map_threads",
    "require_guard",
    "using",
    "worker_pool",
]

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Seconds for the work at hand to remove what it was writing.
GRACE = 3.0
#: Threads of `map_threads`: as many requests as a store answers without turning any away.
THREADS = 16


class Executor(Protocol[Item, Result]):
    """Runs jobs somewhere and yields what became of them as they end, in any order."""

    #: Whether jobs run on machines that may see files later than they are written.
    remote: bool

    def run(
        self, name: str, call: Callable[[Item], Result], jobs: Sequence[Item]
    ) -> Iterator[Result]:
        """Yield `call(job)` of each job; what is left ends with the iterator."""
        ...


_CHOSEN: ContextVar[Executor[Any, Any] | None] = ContextVar("executor", default=None)


@contextmanager
def using(executor: Executor[Any, Any]) -> Iterator[None]:
    """Run the jobs of all steps within on `executor`."""
    token = _CHOSEN.set(executor)
    try:
        yield
    finally:
        _CHOSEN.reset(token)


def chosen() -> Executor[Any, Any] | None:
    """The executor of `using`; None where local processes shall run the jobs."""
    return _CHOSEN.get()


def is_remote() -> bool:
    """Whether jobs run on other machines than this one."""
    executor = chosen()
    return executor is not None and executor.remote


@dataclass(frozen=True)
class LocalProcesses:
    """Up to `count` processes of this machine; one job, or `count` 1, needs no other process."""

    count: int = 1
    remote: bool = False

    def run(
        self, name: str, call: Callable[[Item], Result], jobs: Sequence[Item]
    ) -> Iterator[Result]:
        """Yield `call(job)` of each job as it ends.

        Raises BuiltupError where a worker was killed. An interrupt stops the workers at once.
        """
        if self.count == 1 or len(jobs) < 2:
            yield from map(call, jobs)
            return
        pending: set[Future[Result]] = set()
        try:
            with worker_pool(min(self.count, len(jobs))) as pool:
                try:
                    pending |= {pool.submit(call, job) for job in jobs}
                    while pending:
                        finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                        for future in finished:
                            yield future.result()
                finally:
                    for future in pending:
                        future.cancel()
        except BrokenProcessPool as e:
            require_guard()
            raise BuiltupError(
                f"{name}: a worker process was killed, perhaps for its memory; "
                "run again (what is finished is kept), with a smaller num_workers"
            ) from e


@dataclass(frozen=True)
class WorkerPool:
    """Processes that take calls and end with this one; made by `worker_pool`."""

    processes: ProcessPoolExecutor

    def submit(self, call: Callable[[Item], Result], item: Item) -> Future[Result]:
        """Have a worker compute `call(item)`; both are pickled, `call` is a module's function."""
        # the first call starts the processes, which inherit the mask: they never hear the interrupt
        # of a terminal, not even while they import; this process hears what came meanwhile
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return self.processes.submit(_run, call, item)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def worker_pool(count: int, prepare: Callable[[], None] | None = None) -> Iterator[WorkerPool]:
    """`count` processes that end with this one, each prepared by `prepare()`.

    An interrupt, and a worker that was killed (BrokenProcessPool), end the others at once.
    """
    _end_a_copy()
    context = multiprocessing.get_context("spawn")  # GDAL and forks do not mix
    parent, keepalive = context.Pipe(duplex=False)
    processes = ProcessPoolExecutor(
        count, mp_context=context, initializer=_begin, initargs=(parent, prepare)
    )
    with parent, keepalive, processes:
        try:
            yield WorkerPool(processes)
        except (BrokenProcessPool, KeyboardInterrupt):
            keepalive.close()
            raise


# --- the program that calls us -------------------------------------------------------------------


def require_guard() -> None:
    """Raise BuiltupError where the call stands in a program that each worker would run again.

    A worker imports the file that was started as a program, to find its functions; what stands
    outside of `if __name__ == "__main__":` happens once more.
    """
    _end_a_copy()
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__") == "__main__" and frame.f_code.co_name == "<module>":
            file = frame.f_globals.get("__file__")  # a notebook has none
            if file and not _is_guarded(Path(file), frame.f_lineno):
                raise BuiltupError(
                    f"{file}, line {frame.f_lineno}: its worker processes would run this file "
                    'again; put the call below if __name__ == "__main__": (docs/api.md)'
                )
        frame = frame.f_back


def _end_a_copy() -> None:
    """End a worker that, while it imports the program, has come to our call once more."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        sys.exit(1)  # without a word: the process that started it says what is wrong


def _is_guarded(file: Path, line: int) -> bool:
    """Whether a line of a program stands below a test of `__name__`; True where it is unknown."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return True
    return any(
        node.lineno <= line <= (node.end_lineno or node.lineno)
        and any(
            isinstance(part, ast.Name) and part.id == "__name__" for part in ast.walk(node.test)
        )
        for node in ast.walk(tree)
        if isinstance(node, ast.If)
    )


# --- in a worker ----------------------------------------------------------------------------------

#: Whether a call is being computed, and whether this worker was told to end.
_at_work = False
_ending = False


def _begin(parent: Connection, prepare: Callable[[], None] | None) -> None:
    """In a new worker: end when the other end of `parent` is closed."""
    keep_freed_memory()
    logs.set_up(logging.WARNING)
    _compute_in_one_thread()
    signal.signal(signal.SIGTERM, _end)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if prepare is not None:
        prepare()


def _compute_in_one_thread() -> None:
    """Keep BLAS from a thread a core: those of several workers wait for each other's time slices.

    The variables are for libraries that are loaded later; threadpoolctl tells those that are.
    """
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    threadpoolctl.threadpool_limits(1)


def _run(call: Callable[[Item], Result], item: Item) -> Result:
    """`call(item)`; a worker that is told to end meanwhile removes what it was writing."""
    global _at_work
    try:
        _at_work = True
        return call(item)
    finally:
        _at_work = False
        if _ending:
            os._exit(1)  # the pool would hand the next job to a worker that only raises


def _watch(parent: Connection) -> None:
    parent.poll(None)
    main = threading.main_thread().ident
    if main is not None:
        signal.pthread_kill(main, signal.SIGTERM)
    _exit_after_grace()  # GDAL may keep that thread for long


def _end(number: int, frame: FrameType | None) -> None:
    global _ending
    if not _at_work:
        os._exit(1)
    if not _ending:  # the second time it is removing what it was writing
        _ending = True
        threading.Thread(target=_exit_after_grace, daemon=True).start()
        raise SystemExit(1)


def _exit_after_grace() -> None:
    time.sleep(GRACE)
    os._exit(1)


# --- in threads -----------------------------------------------------------------------------------


def map_threads(
    call: Callable[[Item], Result], items: Sequence[Item]
) -> Iterator[Result | BuiltupError]:
    """`call(item)` of each item, or the BuiltupError that it raises, in the order of the items.

    For what mostly waits for its storage, such as reading the headers of scenes: one after the
    other, those of ten thousand scenes elsewhere would take hours. Other errors are raised. What
    has not begun when the caller stops is not begun any more.
    """
    from rasterio.errors import NotGeoreferencedWarning  # here: workers may need no GDAL

    with warnings.catch_warnings(), ThreadPoolExecutor(THREADS) as threads:
        # here, since the filters are those of all threads: each would undo the others'
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        futures = [threads.submit(_result_or_error, call, item) for item in items]
        try:
            for future in futures:
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


def _result_or_error(call: Callable[[Item], Result], item: Item) -> Result | BuiltupError:
    try:
        return call(item)
    except BuiltupError as e:
        return e
