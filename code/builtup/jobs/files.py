"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from builtup.errors import OutputError

__all__ = [
    "SPACE_REMEDY",
    "atomic_directory",
    "atomic_files",
    "atomic_path",
    "output_error",
    "owner",
    "scratch_directory",
    "sync",
    "user_cache",
    "write_error",
    "write_text_atomically",
]

#: Seconds after which what another machine was writing is taken for left behind.
ABANDONED_AFTER = 24 * 3600.0

#: Bytes below which a disk is full for a library that could not write.
FULL_BELOW = 1 << 20
SPACE_REMEDY = "check the free space and the permissions of the folder"


@contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """A path beside `final` to write to; on success it is synced and takes `final`'s place.

    On any failure nothing is left behind, and what a killed process left is swept away first.
    The temporary name keeps the suffix, from which GDAL drivers choose their format.
    """
    with _reserve(final) as temporary:
        yield temporary
        if not temporary.exists():
            raise OutputError(final, "was not written", "report this as a bug")
        sync(temporary)
        temporary.replace(final)
        sync(final.parent)


@contextmanager
def atomic_directory(final: Path) -> Iterator[Path]:
    """A folder beside `final` to fill; on success it takes `final`'s place, whole."""
    with _reserve(final) as temporary:
        temporary.mkdir()
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                sync(file)
        _replace_directory(temporary, final)
        sync(final.parent)


@contextmanager
def scratch_directory(final: Path) -> Iterator[Path]:
    """A folder beside `final` for what is needed while the context lasts."""
    with _reserve(final.with_name(f"{final.name}.scratch")) as temporary:
        temporary.mkdir()
        yield temporary


def _replace_directory(temporary: Path, final: Path) -> None:
    """Rename a folder over another; two that do so at once both succeed, the last one stays."""
    retired = final.with_name(f".{final.name}.{owner()}.old.partial")
    while True:
        try:
            temporary.rename(final)
            return
        except OSError as e:
            # rename cannot replace a folder that is not empty
            if e.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
        with suppress(FileNotFoundError):  # another process was sooner
            final.rename(retired)
            shutil.rmtree(retired)


@contextmanager
def atomic_files(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """A folder beside its files' places to write `names` in; on success all take their places.

    For formats of several files: they appear in the order of `names`, the one that readers open
    last, and its old version goes first, so that no reader meets parts of different versions.
    """
    last = folder / names[-1]
    with _reserve(folder / f"{names[-1]}.parts", last) as temporary:
        temporary.mkdir()
        yield temporary
        for name in names:
            if not (temporary / name).exists():
                raise OutputError(folder / name, "was not written", "report this as a bug")
            sync(temporary / name)
        last.unlink(missing_ok=True)
        for name in names:
            (temporary / name).replace(folder / name)
        sync(folder)


def sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def _reserve(final: Path, last: Path | None = None) -> Iterator[Path]:
    """The temporary name, free to use; errors name `final`, or the parts and their `last`."""
    shown = last or final
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        _sweep(final)
    except OSError as e:
        raise output_error(shown, e) from e
    stem, dot, suffix = final.name.rpartition(".")
    name = f".{stem}.{owner()}.partial.{suffix}" if dot else f".{suffix}.{owner()}.partial"
    temporary = final.with_name(name)
    _check_length(shown, len(os.fsencode(name)) - len(os.fsencode(final.name)))
    try:
        yield temporary
    except OutputError as e:
        path, problem = (
            _in_known_words(text, temporary, "." if last else final.name)
            for text in (e.path, e.problem)
        )
        raise OutputError(Path(path), problem, e.remedy) from e
    except OSError as e:
        raise output_error(shown, e) from e
    finally:
        _remove(temporary)


def _check_length(final: Path, more: int) -> None:
    """Raise OutputError where the file system has no room for `more` bytes in the file's name."""
    # a raster has a draft, and a manifest that is named after it; neither has a JSON file
    spare = 0 if final.suffix == ".json" else len(".draft.json")
    room = os.pathconf(final.parent, "PC_NAME_MAX") - more - spare
    length = len(os.fsencode(final.name))
    if length > room:
        problem = f"its name of {length} bytes is longer than the {room} that can be written"
        raise OutputError(final, problem, "rename the scene, its folder or its city")


def _in_known_words(text: str, temporary: Path, name: str) -> str:
    """`text` with the name that the user knows for the temporary one and for its draft's."""
    draft = f"{temporary.stem}.draft{temporary.suffix}"
    return text.replace(draft, name).replace(temporary.name, name)


def owner(pid: int | None = None) -> str:
    """`<machine>-<pid>`: a process (this one) among those of all machines that share a folder."""
    return f"{_machine()}-{os.getpid() if pid is None else pid}"


@functools.cache
def _machine() -> str:
    """Digits that stand for this host and, as containers may share its name, its process ids."""
    try:
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        namespace = 0  # no Linux: then no containers
    return hashlib.sha256(f"{socket.gethostname()} {namespace}".encode()).hexdigest()[:8]


def _sweep(final: Path) -> None:
    """Remove what dead processes left of earlier tries at `final` (not at `a.shp` for `a.tif`).

    Those of another machine cannot be asked; what they have not touched for a day is left behind.
    """
    stem, dot, suffix = final.name.rpartition(".")
    ours = re.escape(stem or suffix) + r"\.([0-9a-f]{8})-(\d+)(?:\.old)?\.partial"
    leftover = re.compile(rf"\.{ours}(?:\.draft)?\.{re.escape(suffix)}.*" if dot else rf"\.{ours}")
    for path in final.parent.iterdir():
        match = leftover.fullmatch(path.name)
        if match and _is_left_behind(path, match[1], int(match[2])):
            _remove(path)


def _is_left_behind(path: Path, machine: str, pid: int) -> bool:
    if machine == _machine():
        return pid == os.getpid() or not Path(f"/proc/{pid}").exists()
    try:
        return time.time() - path.stat().st_mtime > ABANDONED_AFTER
    except OSError:
        return False  # its owner is done with it


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):  # a read-only file system refuses what is not even there
            path.unlink()


def write_text_atomically(path: Path, text: str) -> None:
    """Write a small text file (UTF-8) so that a reader sees the old or the new one, whole."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_error(path: Path, reason: str) -> OutputError:
    """Say why a library could not write `path`; few of them say that the disk is full."""
    with suppress(OSError):
        if shutil.disk_usage(path.parent).free < FULL_BELOW:
            return output_error(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    return OutputError(path, f"cannot be written ({reason})", SPACE_REMEDY)


def output_error(path: Path, e: OSError) -> OutputError:
    """Say why `path` cannot be written."""
    remedy = {
        errno.ENOSPC: "the disk is full: free some space or choose another output_path",
        errno.EDQUOT: "free some space or choose another output_path",
        errno.EACCES: "choose an output_path that you may write to",
        errno.EROFS: "choose an output_path that you may write to",
        errno.ENOTDIR: "choose an output_path that is a folder, or none yet",
        errno.EEXIST: "choose an output_path that is a folder, or none yet",
    }.get(e.errno or 0, SPACE_REMEDY)
    return OutputError(path, f"cannot be written ({e.strerror or e})", remedy)


def user_cache() -> Path:
    """What may be forgotten at any time: `$XDG_CACHE_HOME/builtup`, or below ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "builtup"
