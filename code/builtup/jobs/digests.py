"""sha256 of files, remembered between processes.

Hashing a scene takes as long as reading it several times over, and each step of the chain reads
the same scenes. A digest is remembered with what the system says of the file (inode, size, times
of its content and of its last change in nanoseconds) and counts only while all of that is the same.
The memory is `builtup/digests.sqlite` in the user's cache folder; it may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from builtup.jobs.files import user_cache

__all__ = ["sha256_of"]

#: Smaller files are hashed sooner than looked up.
LEAST_SIZE = 4 << 20
#: Files changed within this many nanoseconds may change again within one tick of the clock.
SETTLED = 2_000_000_000


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, as hexadecimal digits. Raises OSError."""
    with path.open("rb") as f:
        stat = os.fstat(f.fileno())
        if stat.st_size < LEAST_SIZE:
            return hashlib.file_digest(f, "sha256").hexdigest()
        name, state = str(path.resolve()), _state(stat)
        with _memory() as memory:
            known = _recall(memory, name, state)
        if known is not None:
            return known
        settled = time.time_ns() - stat.st_ctime_ns > SETTLED
        digest = hashlib.file_digest(f, "sha256").hexdigest()
        unchanged = _state(os.fstat(f.fileno())) == state
    if settled and unchanged:
        with _memory() as memory:
            _remember(memory, name, state, digest)
    return digest


def _state(stat: os.stat_result) -> str:
    return f"{stat.st_ino} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"


def _file() -> Path:
    return user_cache() / "digests.sqlite"


@contextlib.contextmanager
def _memory() -> Iterator[sqlite3.Connection | None]:
    """The open memory, None where it cannot be had: then files are hashed each time."""
    connection = None
    with contextlib.suppress(OSError, RuntimeError, sqlite3.Error):
        file = _file()
        file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(file, timeout=5.0)
        connection.execute(
            "CREATE TABLE IF NOT EXISTS digests (path TEXT PRIMARY KEY, state TEXT, sha256 TEXT)"
        )
    try:
        yield connection
    finally:
        if connection is not None:
            connection.close()


def _recall(memory: sqlite3.Connection | None, name: str, state: str) -> str | None:
    if memory is None:
        return None
    query = "SELECT sha256 FROM digests WHERE path = ? AND state = ?"
    with contextlib.suppress(sqlite3.Error):
        row = memory.execute(query, (name, state)).fetchone()
        return None if row is None else str(row[0])
    return None


def _remember(memory: sqlite3.Connection | None, name: str, state: str, digest: str) -> None:
    if memory is not None:
        with contextlib.suppress(sqlite3.Error), memory:
            memory.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", (name, state, digest))
