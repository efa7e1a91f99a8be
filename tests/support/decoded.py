"""What the tests of decoders have read in other processes; imports no torch, as it is there."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from builtup.errors import InputError

Read = Callable[[int], NDArray[np.float32]]


@contextmanager
def opened(read: Read) -> Iterator[Read]:
    yield read


@contextmanager
def locked() -> Iterator[Read]:
    raise InputError("x.tif", "locked", "unlock it")
    yield numbered


def numbered(item: int) -> NDArray[np.float32]:
    """An array that tells its item, of a size of its own."""
    return np.full((3, item + 1), item, np.float32)


def broken_at_ten(item: int) -> NDArray[np.float32]:
    if item == 10:
        raise InputError("x.tif", "cannot be read to its end", "copy it again")
    return numbered(item)


def killed_at_ten(item: int) -> NDArray[np.float32]:
    if item == 10:
        os.kill(os.getpid(), signal.SIGKILL)
    return numbered(item)


def marking(folder: Path, item: int) -> NDArray[np.float32]:
    """Leaves a file that tells which process read the item."""
    (folder / str(item)).write_text(str(os.getpid()))
    return numbered(item)
