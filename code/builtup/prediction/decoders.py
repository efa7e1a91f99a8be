"""Reading in other processes, in order and some ahead: for networks that one thread starves.

A GPU computes faster than a thread decompresses. Each process opens the files for itself, and
leaves what it reads in memory that it shares with this one.
"""

from __future__ import annotations

import mmap
import multiprocessing
import os
import tempfile
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from multiprocessing.reduction import DupFd
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from builtup.errors import BuiltupError
from builtup.jobs.executors import require_guard, worker_pool

__all__ = ["Opening", "decoding", "number_of_decoders"]

Float = NDArray[np.float32]
Item = TypeVar("Item", bound=Hashable)
#: What opens files, and gives what reads an item of them: picklable, and costs no import of torch.
Opening = Callable[[], AbstractContextManager[Callable[[Item], Float]]]

#: Most processes for one GPU: a bound on what they hold together, not a measurement.
MOST = 8
#: Items for each process, at least: starting one takes about a second.
FEWEST = 4
#: Arrays that were handed out and are still valid: one at work, one to be worked on next.
LENT = 2


def number_of_decoders(device: str, processes: int = 1) -> int:
    """How many processes shall read for a device: none for a CPU, where a thread keeps up.

    `processes` of this machine share its cores.
    """
    if device != "cuda":
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(0, min(MOST, (cores or 1) // processes - 1))


@contextmanager
def decoding(
    opening: Opening[Item], items: Sequence[Item], count: int, values: int
) -> Iterator[Callable[[Item], Float]]:
    """What reads `items`, which must be asked for in their order; by `count` processes ahead.

    With `count` 0, for few items, and in a process that may have no children (a Dask worker), it
    reads here, when it is asked. `values` is the size of the largest array. An array of another
    process is valid until the second next is asked for. What reading raises is raised in its turn;
    BuiltupError where a process was killed, or where there is no memory to share.
    """
    count = min(count, len(items) // FEWEST)
    if count < 1 or multiprocessing.current_process().daemon:
        with opening() as read:
            yield read
        return
    slots = _Slots.make(count + LENT, values)
    try:
        with worker_pool(count, partial(_prepare, opening, slots)) as pool:
            ahead = _Ahead(pool.submit, slots, items)
            try:
                ahead.fill()
                yield ahead.read
            finally:
                ahead.cancel()
    except BrokenProcessPool as e:
        require_guard()
        raise BuiltupError(
            "a process that reads ahead was killed, perhaps for its memory; run again with "
            "decoders=0, which reads in this process"
        ) from e
    finally:
        slots.close()


class _Ahead:
    """What is being read, what waits to be asked for, and what is lent out."""

    def __init__(
        self, submit: Callable[..., Future[Any]], slots: _Slots, items: Sequence[Any]
    ) -> None:
        self.submit, self.slots = submit, slots
        self.rest = iter(items)
        self.free = deque(range(slots.count))
        self.coming: deque[tuple[Any, int, Future[tuple[int, ...]]]] = deque()
        self.lent: deque[int] = deque()

    def fill(self) -> None:
        """Have as many items read as there is room for."""
        while self.free:
            for item in self.rest:
                slot = self.free.popleft()
                self.coming.append((item, slot, self.submit(_decode, (slot, item))))
                break
            else:
                return

    def read(self, item: Any) -> Float:
        """The array of the next item, which must be this one."""
        if len(self.lent) == LENT:
            self.free.append(self.lent.popleft())
        self.fill()
        expected, slot, future = self.coming.popleft()
        if item != expected:
            raise ValueError(f"{item} is asked for, {expected} was read")
        shape = future.result()
        self.lent.append(slot)
        return self.slots.array(slot, shape)

    def cancel(self) -> None:
        """Have nothing read that has not been begun."""
        for _, _, future in self.coming:
            future.cancel()


class _Slots:
    """Memory for `count` arrays, shared by its descriptor: no name of it outlives a process."""

    def __init__(self, descriptor: int, count: int, values: int) -> None:
        self.descriptor, self.count, self.values = descriptor, count, values
        self._map = mmap.mmap(descriptor, 4 * count * values)

    @classmethod
    def make(cls, count: int, values: int) -> _Slots:
        """Take the memory; BuiltupError where there is not that much."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("builtup")
        else:
            with tempfile.TemporaryFile() as f:
                descriptor = os.dup(f.fileno())
        size = 4 * count * values
        try:
            os.truncate(descriptor, size)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, size)  # not later, by a signal
        except OSError as e:
            os.close(descriptor)
            raise BuiltupError(
                f"no {size / 1e6:.0f} MB of memory for what is read ahead ({e.strerror}); use a "
                "smaller batch_size, or decoders=0"
            ) from e
        return cls(descriptor, count, values)

    def __reduce__(self) -> Any:
        # for processes that are being started
        return _attach, (DupFd(self.descriptor), self.count, self.values)

    def array(self, slot: int, shape: tuple[int, ...]) -> Float:
        """A slot as an array of that shape."""
        size = int(np.prod(shape))
        if size > self.values:
            raise ValueError(f"an array of {shape} does not fit {self.values} values")
        return np.frombuffer(self._map, np.float32, size, 4 * slot * self.values).reshape(shape)

    def close(self) -> None:
        """Let go of it; the memory is freed with the last array and the last process."""
        os.close(self.descriptor)


def _attach(descriptor: Any, count: int, values: int) -> _Slots:
    return _Slots(descriptor.detach(), count, values)


# --- in the processes -----------------------------------------------------------------------------

#: How files are opened, where arrays go, and what reads once they are open.
_mine: tuple[Opening[Any], _Slots] | None = None
_stack = ExitStack()
_read: Callable[[Any], Float] | None = None


def _prepare(opening: Opening[Any], slots: _Slots) -> None:
    global _mine
    _mine = opening, slots


def _decode(task: tuple[int, Any]) -> tuple[int, ...]:
    """Read an item into a slot; its shape. Files are opened here, so that errors come back."""
    global _read
    assert _mine is not None
    slot, item = task
    opening, slots = _mine
    if _read is None:
        _read = _stack.enter_context(opening())
    array = _read(item)
    slots.array(slot, array.shape)[...] = array
    return array.shape
