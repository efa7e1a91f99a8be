"""The jobs of a step on a Dask cluster: tried again after faults, one process a job.

Workers see the same folders at the same paths as this machine (or the outputs lie in an object
store, see `store`). A job that is done twice, because its worker was lost or only thought to be,
writes the same bytes atomically, so nothing has to be undone. What may become of a job:

    submit ──▶ done, or bad input          its outcome is yielded
           ──▶ a fault that may pass       it is submitted again, RETRIES times at most
           ──▶ its worker is lost          the scheduler gives it to another one; after
                                           `allowed-failures` of them it is done once more, alone
           ──▶ a bug                       raised here, with the worker's traceback
"""

from __future__ import annotations

import errno
import functools
import hashlib
import itertools
import logging
import os
import platform
import queue
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import builtup
from builtup.errors import BuiltupError, ClusterError, OutputError, one_line
from builtup.jobs import executors
from builtup.jobs.allocator import give_back, keep_freed_memory
from builtup.jobs.steps import Job, Outcome

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["DaskCluster", "Limits", "connected"]

log = logging.getLogger(__name__)

#: Further tries of a job after errors of the system (storage, network). Dask's own `retries` would
#: repeat bugs as well.
RETRIES = 2


@dataclass(frozen=True)
class Limits:
    """How many jobs are handed to the scheduler at a time, and seconds after which we speak.

    `in_flight` jobs are enough for a thousand workers, and little for the scheduler's memory. A
    scheduler, and a first worker, must have answered within `answer`. After `silence` without a
    job's end the workers are counted; without any for `no_workers` a step is given up (a cluster
    may grow anew).
    """

    in_flight: int = 1024
    answer: float = 30.0
    silence: float = 30.0
    no_workers: float = 900.0


LIMITS = Limits()
#: Transient errors of the system: another try may not meet them.
_TRANSIENT = {
    *(errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR, errno.EBUSY),
    *(errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED, errno.EPIPE),
    *(errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EREMOTEIO),
    *(errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST),  # of outputs: another worker was sooner
}


@contextmanager
def connected(scheduler: str, limits: Limits = LIMITS) -> Iterator[None]:
    """Run the jobs of all steps within on the Dask cluster at `scheduler`; "" for local processes.

    Raises ClusterError where nothing answers there, or its workers cannot do our jobs.
    """
    if not scheduler:
        yield
        return
    try:
        from distributed import Client
    except ImportError as e:
        raise ClusterError(
            f"scheduler={scheduler}: Dask is not installed; "
            "install it here and on the workers (pip install '.[cluster]')"
        ) from e
    for name in ("distributed", "tornado"):
        logging.getLogger(name).setLevel(logging.ERROR)  # what matters is raised by us
    try:
        # a client that has nothing to connect to leaves threads that Python waits for at its end
        _ask_scheduler(scheduler, limits.answer)
        client = Client(scheduler, timeout=limits.answer, set_as_default=False)
    except (OSError, ValueError, TypeError) as e:
        raise ClusterError(
            f"scheduler={scheduler}: no Dask scheduler answers there ({one_line(e, 160)}); "
            "check the address, or start one (dask scheduler)"
        ) from e
    with client:
        cluster = DaskCluster(client, scheduler, limits)
        cluster.check()
        with executors.using(cluster):
            yield


def _ask_scheduler(address: str, seconds: float) -> None:
    """Raise what Dask raises where no scheduler answers at the address."""
    import asyncio

    from distributed.core import rpc
    from distributed.security import Security

    async def ask() -> None:
        connection = Security().get_connection_args("client")
        async with rpc(address, timeout=seconds, connection_args=connection) as scheduler:
            await asyncio.wait_for(scheduler.identity(n_workers=0), seconds)

    asyncio.run(ask())


@dataclass(frozen=True)
class Environment:
    """What a worker must share with this machine: the package, Python, the working folder."""

    package: str
    python: str
    folder: str

    @classmethod
    def here(cls) -> Environment:
        """That of this process."""
        return cls(
            f"builtup {builtup.__version__} ({_source_digest()})",
            "Python " + ".".join(platform.python_version_tuple()[:2]),
            str(Path.cwd()),
        )

    def difference(self, other: Environment) -> str | None:
        """`builtup 0.1.0 (…) there, … here`, or None."""
        for name in ("package", "python"):
            there, here = getattr(other, name), getattr(self, name)
            if there != here:
                return f"{there} there, {here} here"
        return None


@functools.cache
def _source_digest() -> str:
    """Digits of a sha256 of the package's source: a version number does not follow a checkout."""
    digest = hashlib.sha256()
    root = Path(builtup.__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


@dataclass
class DaskCluster:
    """An executor (see `executors`) of a Dask client; `address` is for messages."""

    client: Client
    address: str
    limits: Limits = LIMITS
    remote: bool = True
    environment: Environment = field(default_factory=Environment.here)

    def check(self) -> None:
        """Raise ClusterError where there is no worker, or one with another version of us."""
        try:
            self.client.wait_for_workers(1, timeout=self.limits.answer)
        except TimeoutError as e:
            raise ClusterError(
                f"scheduler={self.address}: no worker in {self.limits.answer:.0f} s; "
                f"start one (dask worker {self.address} --nthreads 1)"
            ) from e
        answers = self.client.run(_probe(), self.environment.folder, on_error="return")
        for worker, answer in sorted(answers.items()):
            problem = _problem(self.environment, answer)
            if problem is not None:
                raise ClusterError(f"worker {worker}: {problem}")

    def run(
        self, name: str, call: Callable[[Job], Outcome], jobs: Sequence[Job]
    ) -> Iterator[Outcome]:
        """Yield the outcome of each job as it ends; bad input is an outcome like any other.

        The scheduler blames the loss of a worker on all jobs that it had given to it, those in its
        queue too. So what it gives up is done again at the end, one job at a time, and only those
        that lose their workers once more are given up.
        """
        from distributed import KilledWorker

        self._check_resources(jobs)
        given_up: list[Job] = []
        for job, answer in self._answers(name, call, jobs, self.limits.in_flight):
            if isinstance(answer, KilledWorker):
                given_up.append(job)
            else:
                yield self._outcome(job, answer)
        for job, answer in self._answers(name, call, given_up, 1):
            yield self._outcome(job, answer)

    def _check_resources(self, jobs: Sequence[Job]) -> None:
        wanted = {(key, amount) for job in jobs for key, amount in job.resources.items()}
        workers = self.workers().values()
        for key, amount in sorted(wanted):
            if all(worker["resources"].get(key, 0) < amount for worker in workers):
                raise ClusterError(
                    f"scheduler={self.address}: none of the {len(workers)} workers offers "
                    f"{key}={amount:g}; start one with --resources {key}={amount:g}"
                )

    def workers(self) -> dict[str, Any]:
        """What the scheduler knows of each worker, by address."""
        return dict(self.client.scheduler_info(n_workers=-1)["workers"])

    def _answers(
        self, name: str, call: Callable[[Job], Outcome], jobs: Sequence[Job], at_a_time: int
    ) -> Iterator[tuple[Job, Any]]:
        """Yield each job as it ends, with what `_task` returned or the exception that it raised.

        What the scheduler still has when the caller stops is cancelled.
        """
        from distributed.client import FutureCancelledError

        prefix = f"{name}-{uuid.uuid4().hex[:8]}"
        ended: queue.SimpleQueue[str] = queue.SimpleQueue()  # keys, put by Dask's thread
        pending: dict[str, tuple[Job, Future[Any]]] = {}
        tries: Counter[str] = Counter()
        numbers = itertools.count()
        waiting = iter(jobs)

        def submit(job: Job) -> None:
            future = self.client.submit(
                _task,
                *(call, job, self.environment),
                key=f"{prefix}-{next(numbers)}",
                pure=False,
                resources=dict(job.resources) or None,
            )
            pending[future.key] = job, future
            tries[job.name] += 1
            future.add_done_callback(lambda future: ended.put(future.key))

        try:
            while True:
                for job in itertools.islice(waiting, at_a_time - len(pending)):
                    submit(job)
                if not pending:
                    return
                job, future = pending.pop(self._next(ended, len(pending)))
                try:
                    answer = future.exception() or future.result()
                except FutureCancelledError as e:
                    raise ClusterError(
                        f"scheduler={self.address}: is gone; "
                        "start it again, then run the same command to go on"
                    ) from e
                if isinstance(answer, OSError | _Fault) and tries[job.name] <= RETRIES:
                    log.warning("%s: tried again after %s", job.name, _reason(answer))
                    submit(job)
                else:
                    yield job, answer
        finally:
            if pending and self.client.status == "running":
                self.client.cancel([future for _, future in pending.values()], force=True)

    def _next(self, ended: queue.SimpleQueue[str], count: int) -> str:
        """The key of the next job to end; ClusterError where `count` of them wait in vain."""
        alone_since: float | None = None
        while True:
            try:
                return ended.get(timeout=self.limits.silence)
            except queue.Empty:
                now = time.monotonic()
            if self.workers():
                alone_since = None
                continue
            alone_since = alone_since or now
            if now - alone_since >= self.limits.no_workers:
                raise ClusterError(
                    f"scheduler={self.address}: no worker for {self.limits.no_workers:.0f} s while "
                    f"{count} jobs waited; start some, then run the same command to go on"
                )
            log.warning("%s: no worker left, %d jobs wait for one", self.address, count)

    def _outcome(self, job: Job, answer: Any) -> Outcome:
        """What became of a job; raises what ends the step, and bugs as they are."""
        from distributed import KilledWorker

        match answer:
            case (counts, error):
                return job, counts, error
            case KilledWorker():
                lost = f"{answer.allowed_failures + 1} workers were lost while they did it"
                remedy = "check their memory (dask worker --memory-limit) and logs"
                return job, {}, ClusterError(f"{job.name}: {lost}; {remedy}")
            case _Fault():
                return job, {}, answer.error
            case OSError():
                times = f"failed {RETRIES + 1} times ({_reason(answer)})"
                remedy = "check the workers' storage and network, then run the same command again"
                return job, {}, ClusterError(f"{job.name}: {times}; {remedy}")
            case ImportError():
                problem = _problem(self.environment, answer)
                raise ClusterError(f"a worker: {problem}") from answer
        raise answer


class _Fault(Exception):
    """A transient error of the system, which a step has put into its own words: `error`."""

    def __init__(self, error: BuiltupError) -> None:
        super().__init__(error)
        self.error = error


def _reason(fault: OSError | _Fault) -> str:
    kind = "" if isinstance(fault, _Fault) else f"{type(fault).__name__}: "
    return kind + one_line(fault, 160)


def _task(call: Callable[[Job], Outcome], job: Job, environment: Environment) -> Any:
    """On a worker: (counts, error) of the job; raises OSError or _Fault for what may pass."""
    difference = environment.difference(Environment.here())
    if difference is not None:  # a worker that joined late
        raise ImportError(difference)
    os.chdir(environment.folder)  # paths of jobs are relative to it
    keep_freed_memory()  # a process that others started
    try:
        _, counts, error = call(job)
    finally:
        give_back()  # a worker's memory is watched, and may be another's next
    if error is not None and _may_pass(error):
        raise _Fault(error)
    return counts, error


def _may_pass(error: BuiltupError) -> bool:
    """Whether the cause is a transient error of the system, worth another try."""
    cause = error.__cause__
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__
    if cause is None or cause.errno not in _TRANSIENT:
        return False
    # an input that is not there is bad input; an output may be another worker's, an instant away
    return isinstance(error, OutputError) or cause.errno not in {errno.ENOENT, errno.EEXIST}


def _probe() -> Callable[..., Any]:
    """A function that travels by value: it must run where our package is missing."""

    def probe(folder: str, dask_worker: Any) -> Any:  # Dask fills in the second by its name
        from pathlib import Path

        from builtup.jobs.cluster import Environment

        return Environment.here(), dask_worker.state.nthreads, Path(folder).is_dir()

    return probe


def _problem(here: Environment, answer: Any) -> str | None:
    """What is wrong with a worker's answer to the probe, and the remedy; None if nothing is."""
    if isinstance(answer, ImportError):
        return (
            f"cannot run builtup ({one_line(answer, 160)}); install {here.package} and its "
            "requirements there, or start it with PYTHONPATH=<folder of the project>/code"
        )
    if isinstance(answer, BaseException):
        return f"does not answer ({one_line(answer, 160)}); look into its log"
    there, threads, shared = answer
    difference = here.difference(there)
    if difference is not None:
        return f"{difference}; install the same version on both, and start the worker again"
    if threads != 1:
        return f"runs {threads} jobs in one process; start it with --nthreads 1 (and --nworkers)"
    if not shared:
        return f"has no folder {here.folder}; mount it there at the same path"
    return None
