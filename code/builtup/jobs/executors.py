"""Where the jobs of a step run: in this process, in several here, or on a cluster.

`run_step` asks `chosen()` for the executor, so that no step has to hand one through. The command
line chooses with `using(executor)`; without it jobs run in local processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from builtup.errors import BuiltupError
from builtup.jobs import workers

if TYPE_CHECKING:
    from builtup.jobs.steps import Job

    #: A job, its counts, and what refused it.
    Outcome = tuple[Job, dict[str, int], BuiltupError | None]

__all__ = ["Executor", "LocalProcesses", "chosen", "using"]


class Executor(Protocol):
    """Runs jobs somewhere and yields their outcomes as they end, in any order."""

    #: Whether jobs run on machines that may see files later than they are written.
    remote: bool

    def run(
        self, name: str, call: Callable[[Job], Outcome], jobs: Sequence[Job]
    ) -> Iterator[Outcome]:
        """Yield the outcome of `call(job)` for each job; what is left ends with the iterator."""
        ...


@dataclass(frozen=True)
class LocalProcesses:
    """Up to `count` processes of this machine; one job, or `count` 1, needs no other process."""

    count: int = 1
    remote: bool = False

    def run(
        self, name: str, call: Callable[[Job], Outcome], jobs: Sequence[Job]
    ) -> Iterator[Outcome]:
        """Yield the outcome of each job as it ends.

        Raises BuiltupError where a worker was killed. An interrupt stops the workers at once.
        """
        if self.count == 1 or len(jobs) < 2:
            yield from map(call, jobs)
            return
        pending: set[Future[Outcome]] = set()
        try:
            with workers.pool(min(self.count, len(jobs))) as pool:
                try:
                    with workers.deaf_to_interrupts():
                        pending |= {pool.submit(workers.work, call, job) for job in jobs}
                    while pending:
                        finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                        for future in finished:
                            yield future.result()
                finally:
                    for future in pending:
                        future.cancel()
        except BrokenProcessPool as e:
            raise BuiltupError(
                f"{name}: a worker process was killed, perhaps for its memory; "
                "run again (what is finished is kept), with a smaller num_workers"
            ) from e


_CHOSEN: ContextVar[Executor | None] = ContextVar("executor", default=None)


@contextmanager
def using(executor: Executor) -> Iterator[None]:
    """Run the jobs of all steps within on `executor`."""
    token = _CHOSEN.set(executor)
    try:
        yield
    finally:
        _CHOSEN.reset(token)


def chosen() -> Executor | None:
    """The executor of `using`; None where local processes shall run the jobs."""
    return _CHOSEN.get()
