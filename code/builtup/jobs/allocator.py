"""Memory that is freed stays with the process, to be used again; garbage is looked for rarely.

The C library gives large blocks back to the system as soon as they are freed, and the system clears
each page of the next one when it is first touched. A network on a CPU does that with every layer's
output, a seventh of its forward time; Dask starts its workers so that all larger arrays do it
(docs/performance.md).

It is set once, where a process starts: by the command line (`cli.main`), in the workers of a step
(`executors`), in the processes of a training (`config/launch.py`), on a Dask worker with its first
job. glibc reads the same from MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_, but only before
Python has started, so every way to start one of these processes would have to set them.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import sys
from functools import cache
from typing import Any

__all__ = ["collect_garbage_rarely", "give_back", "keep_freed_memory"]

#: Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
#: More than a layer's output of a batch: smaller blocks are kept, and up to that much at the end.
KEPT = 1 << 30
#: New containers between two looks for garbage.
OBJECTS = 50_000


@cache
def keep_freed_memory() -> bool:
    """Let this process keep up to 1 GB of what it frees; once, and where the C library is glibc."""
    library = _glibc()
    if library is None:
        return False
    accepted = [library.mallopt(what, KEPT) for what in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD)]
    return all(accepted)


def collect_garbage_rarely() -> None:
    """Let this process make many new objects between two looks for garbage, and none when it ends.

    Importing torch and mlflow makes a million of objects that stay: to look through them after
    every 700 new ones, as Python does, is a fifth of their start-up; to take them apart one by one
    when the process ends, and its memory goes back as a whole, as much again.
    """
    gc.set_threshold(OBJECTS)
    atexit.register(_leave_alone)


def _leave_alone() -> None:
    """Let the end of the process not look for garbage."""
    if "triton" not in sys.modules:  # whose bindings list what is not taken apart as leaked
        gc.freeze()


def give_back() -> None:
    """Return what is free to the system: for a process that waits, and memory that others want."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


@cache
def _glibc() -> Any:
    """The C library of this process, None where it has no mallopt."""
    try:
        library = ctypes.CDLL(None)
        library.mallopt.argtypes = (ctypes.c_int, ctypes.c_int)
        library.malloc_trim.argtypes = (ctypes.c_size_t,)
    except (OSError, TypeError, AttributeError):  # another system, another library
        return None
    return library
