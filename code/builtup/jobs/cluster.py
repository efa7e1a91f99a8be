"""The jobs of a step on a Dask cluster: tried again after faults, one process a job.

Workers see the same folders at the same paths as this machine (or the outputs lie in an object
store, see `store`). A job that is done twice, because its worker was lost or only thought to be,
writes the same bytes atomically, so nothing has to be undone.
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
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builtup import __version__
from builtup.errors import BuiltupError, ClusterError, OutputError, one_line
from builtup.jobs import executors
from builtup.jobs.allocator import give_back, keep_freed_memory
from builtup.jobs.steps import Job, Outcome

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["DaskCluster", "connected"]

log = logging.getLogger(__name__)

#: Further tries of a job after errors of the system (storage, network).
RETRIES = 2
#: Jobs handed to the scheduler at a time: enough for a thousand workers, little for its memory.
IN_FLIGHT = 1024
#: Seconds until a scheduler, and a first worker, must have answered.
ANSWER_WITHIN = 30.0
#: Seconds of silence after which the workers are counted.
PATIENCE = 30.0
#: Seconds without any worker after which a step is given up (a cluster may grow anew).
NO_WORKERS_FOR = 900.0
#: What the system says when something else may be said a moment later.
_PASSING = {
    *(errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR, errno.EBUSY),
    *(errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED, errno.EPIPE),
    *(errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EREMOTEIO),
    *(errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST),  # of outputs: another worker was sooner
}


@contextmanager
def connected(scheduler: str) -> Iterator[None]:
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
    client = Client.__new__(Client)
    try:
        client.__init__(scheduler, timeout=ANSWER_WITHIN, set_as_default=False)
    except (OSError, ValueError, TypeError) as e:
        # an address that is none leaves it half open: Python would wait for it for ever at its end
        with suppress(AttributeError):
            client.close()
        raise ClusterError(
            f"scheduler={scheduler}: no Dask scheduler answers there ({one_line(e, 160)}); "
            "check the address, or start one (dask scheduler)"
        ) from e
    with client:
        cluster = DaskCluster(client, scheduler)
        cluster.check()
        with executors.using(cluster):
            yield


@dataclass(frozen=True)
class Setting:
    """What a worker must share with this machine: the package, Python, the working folder."""

    package: str
    python: str
    folder: str

    @classmethod
    def here(cls) -> Setting:
        """Those of this process."""
        return cls(
            f"builtup {__version__} ({_source_digest()})",
            "Python " + ".".join(platform.python_version_tuple()[:2]),
            str(Path.cwd()),
        )

    def difference(self, other: Setting) -> str | None:
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
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


@dataclass
class DaskCluster:
    """An executor (see `executors`) of a Dask client; `address` is for messages."""

    client: Client
    address: str
    remote: bool = True
    setting: Setting = field(default_factory=Setting.here)

    def check(self) -> None:
        """Raise ClusterError where there is no worker, or one with another version of us."""
        try:
            self.client.wait_for_workers(1, timeout=ANSWER_WITHIN)
        except TimeoutError as e:
            raise ClusterError(
                f"scheduler={self.address}: no worker in {ANSWER_WITHIN:.0f} s; "
                f"start one (dask worker {self.address} --nthreads 1)"
            ) from e
        answers = self.client.run(_probe(), self.setting.folder, on_error="return")
        for worker, answer in sorted(answers.items()):
            problem = _problem(self.setting, answer)
            if problem is not None:
                raise ClusterError(f"worker {worker}: {problem}")

    def run(
        self, name: str, call: Callable[[Job], Outcome], jobs: Sequence[Job]
    ) -> Iterator[Outcome]:
        """Yield the outcome of each job as it ends; bad input is an outcome like any other.

        A job whose worker is lost is done again by another one (the scheduler's
        `allowed-failures` times), one that met an error of the system is tried RETRIES times more.
        """
        self._check_resources(jobs)
        flight = _Flight(self, f"{name}-{uuid.uuid4().hex[:8]}", call)
        waiting = iter(jobs)
        try:
            for job in itertools.islice(waiting, IN_FLIGHT):
                flight.submit(job)
            while flight.pending or flight.suspects:
                if not flight.pending:  # and so nothing is waiting any more
                    flight.submit(flight.suspects.pop())
                outcome = flight.next_outcome()
                if outcome is not None:
                    yield outcome
                for job in itertools.islice(waiting, IN_FLIGHT - len(flight.pending)):
                    flight.submit(job)
        finally:
            flight.cancel()

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


class _Flight:
    """The jobs that the scheduler has, and what became of them.

    The scheduler blames the loss of a worker on all jobs that it had given to it, those in its
    queue too. So the jobs that it gives up are suspects: they are done again at the end, one at a
    time, and only those that lose their workers once more are given up.
    """

    def __init__(self, cluster: DaskCluster, key: str, call: Callable[[Job], Outcome]) -> None:
        self.cluster = cluster
        self.call = call
        self.key = key
        self.pending: dict[str, tuple[Job, Future[Any]]] = {}
        self.suspects: list[Job] = []
        self._suspected: set[str] = set()
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._failures: Counter[str] = Counter()
        self._number = itertools.count()
        self._alone_since: float | None = None

    def submit(self, job: Job) -> None:
        key = f"{self.key}-{next(self._number)}"
        future = self.cluster.client.submit(
            _task,
            *(self.call, job, self.cluster.setting),
            key=key,
            pure=False,
            resources=dict(job.resources) or None,
        )
        self.pending[key] = job, future
        future.add_done_callback(lambda future: self._ended.put(future.key))

    def next_outcome(self) -> Outcome | None:
        """Wait for a job to end; None where it is tried again, or where none did for a while."""
        try:
            key = self._ended.get(timeout=PATIENCE)
        except queue.Empty:
            self._look_around()
            return None
        self._alone_since = None
        job, future = self.pending.pop(key)
        result = self._result(job, future)
        if result is None:
            return None
        if not isinstance(result, _Fault):
            counts, error = result
            return job, counts, error
        self._failures[job.name] += 1
        if self._failures[job.name] <= RETRIES:
            log.warning("%s: tried again after %s", job.name, result.reason)
            self.submit(job)
            return None
        return (
            job,
            {},
            result.error
            or ClusterError(
                f"{job.name}: failed {RETRIES + 1} times ({result.reason}); "
                "check the workers' storage and network, then run the same command again"
            ),
        )

    def _result(self, job: Job, future: Future[Any]) -> Any:
        """(counts, error), a _Fault, or None for a job that has become a suspect."""
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        try:
            return future.result()
        except KilledWorker as e:
            if job.name not in self._suspected:
                self._suspected.add(job.name)
                self.suspects.append(job)
                return None
            lost = f"{e.allowed_failures + 1} workers were lost while they did it"
            remedy = "check their memory (dask worker --memory-limit) and logs"
            return {}, ClusterError(f"{job.name}: {lost}; {remedy}")
        except FutureCancelledError as e:
            raise ClusterError(
                f"scheduler={self.cluster.address}: is gone; "
                "start it again, then run the same command to go on"
            ) from e
        except OSError as e:
            return _Fault(f"{type(e).__name__}: {one_line(e, 160)}")
        except ImportError as e:
            raise ClusterError(f"a worker: {_problem(self.cluster.setting, e)}") from e

    def _look_around(self) -> None:
        """Warn where there is no worker, and give up where there was none for long."""
        address, count = self.cluster.address, len(self.pending)
        if self.cluster.workers():
            self._alone_since = None
            return
        now = time.monotonic()
        self._alone_since = self._alone_since or now
        if now - self._alone_since >= NO_WORKERS_FOR:
            raise ClusterError(
                f"scheduler={address}: no worker for {NO_WORKERS_FOR:.0f} s while {count} jobs "
                "waited; start some, then run the same command to go on"
            )
        log.warning("%s: no worker left, %d jobs wait for one", address, count)

    def cancel(self) -> None:
        """Give up what the scheduler still has."""
        futures = [future for _, future in self.pending.values()]
        if futures and self.cluster.client.status == "running":
            self.cluster.client.cancel(futures, force=True)


@dataclass(frozen=True)
class _Fault:
    """An error of the system: `error` says it where it was said in our own words."""

    reason: str
    error: BuiltupError | None = None


def _task(call: Callable[[Job], Outcome], job: Job, setting: Setting) -> Any:
    """On a worker: (counts, error) of the job, or a _Fault that may pass."""
    difference = setting.difference(Setting.here())
    if difference is not None:  # a worker that joined late
        raise ImportError(difference)
    os.chdir(setting.folder)  # paths of jobs are relative to it
    keep_freed_memory()  # a process that others started
    try:
        _, counts, error = call(job)
    finally:
        give_back()  # a worker's memory is watched, and may be another's next
    if error is not None and _may_pass(error):
        return _Fault(str(error), error)
    return counts, error


def _may_pass(error: BuiltupError) -> bool:
    """Whether an error of ours was one of the system that another try may not meet."""
    cause = error.__cause__
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__
    if cause is None or cause.errno not in _PASSING:
        return False
    # an input that is not there is bad input; an output may be another worker's, an instant away
    return isinstance(error, OutputError) or cause.errno not in {errno.ENOENT, errno.EEXIST}


def _probe() -> Callable[..., Any]:
    """A function that travels by value: it must run where our package is missing."""

    def probe(folder: str, dask_worker: Any) -> Any:  # Dask fills in the second by its name
        from pathlib import Path

        from builtup.jobs.cluster import Setting

        return Setting.here(), dask_worker.state.nthreads, Path(folder).is_dir()

    return probe


def _problem(here: Setting, answer: Any) -> str | None:
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
