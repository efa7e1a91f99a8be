"""Inputs and outputs in an object store (`s3://bucket/prefix`, `gs://…`).

An object store has no folders that could be renamed and no files that could be half written. So a
command works in a mirror of what lies under its URL, `output/stores/s3/<bucket>/<prefix>`: it is
fetched first, jobs fetch what they lack and put what they made when it is whole, their manifest
last, and what the command writes besides is put at its end. The store is the truth: what the mirror
holds and the store does not is removed. The mirror may be deleted at any time.

Reads and writes are tried again by pyarrow, with back-off, before they fail.
"""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builtup.endpoints import s3_endpoint
from builtup.errors import InputError, OutputError
from builtup.files import atomic_path

__all__ = ["Store", "active", "fetch", "forget", "is_url", "mirrored", "put"]

log = logging.getLogger(__name__)

#: Where mirrors lie, relative to the working folder.
MIRRORS = Path("output") / "stores"
#: Files on their way at a time.
AT_ONCE = 8
#: One slash or two: a path type of the command line takes one away.
_URL = re.compile(r"(s3|gs):/{1,2}([^/]+)/?(.*)")


def is_url(text: object) -> bool:
    """Whether an option names an object store."""
    return _URL.fullmatch(str(text)) is not None


@dataclass(frozen=True)
class Store:
    """What lies in `bucket` under `prefix`, and the folder `mirror` that mirrors it."""

    scheme: str
    bucket: str
    prefix: str
    mirror: Path

    @classmethod
    def of(cls, url: object) -> Store:
        """The store of a URL; InputError where it is none."""
        match = _URL.fullmatch(str(url))
        if match is None:
            raise InputError(str(url), "no URL of an object store", "give s3://bucket/prefix")
        scheme, bucket, prefix = match[1], match[2], match[3].strip("/")
        if any(part in {"", ".", ".."} for part in prefix.split("/")) and prefix:
            raise InputError(str(url), "an empty part, . or .. in it", "give s3://bucket/prefix")
        return cls(scheme, bucket, prefix, MIRRORS / scheme / bucket / prefix)

    def holds(self, path: Path) -> bool:
        """Whether a path lies in the mirror."""
        return path.is_relative_to(self.mirror)

    def key(self, path: Path) -> str:
        """The object (`bucket/…`) of a path in the mirror."""
        inner = path.relative_to(self.mirror).as_posix()
        return "/".join(filter(None, (self.bucket, self.prefix, "" if inner == "." else inner)))

    def shown(self, path: Path) -> str:
        """The object's URL, for messages."""
        return f"{self.scheme}://{self.key(path)}"

    def pull(self) -> None:
        """Make the mirror what the store is. Raises InputError."""
        from pyarrow import fs

        selector = fs.FileSelector(self.key(self.mirror), recursive=True, allow_not_found=True)
        with _naming(self, self.mirror, InputError, "read"):
            found = [i for i in _filesystem(self.scheme).get_file_info(selector) if i.is_file]
        root = self.key(self.mirror)
        there = {self.mirror / info.path[len(root) + 1 :]: info for info in found}
        for path in [p for p in self.mirror.rglob("*") if p.is_file() and p not in there]:
            path.unlink(missing_ok=True)
        stale = [path for path, info in there.items() if not _is_current(path, info)]
        if stale:
            log.info("fetching %d files from %s", len(stale), self.shown(self.mirror))
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(lambda path: self._download(path, there[path]), stale))

    def fetch(self, path: Path) -> None:
        """Make a file or folder of the mirror what it is in the store. Raises InputError."""
        from pyarrow import fs

        with _naming(self, path, InputError, "read"):
            (info,) = _filesystem(self.scheme).get_file_info([self.key(path)])
        if info.type == fs.FileType.Directory:
            Store(self.scheme, self.bucket, self._inner(path), path).pull()
        elif info.is_file and not _is_current(path, info):
            self._download(path, info)

    def _inner(self, path: Path) -> str:
        return self.key(path).partition("/")[2]

    def _download(self, path: Path, info: Any) -> None:
        with atomic_path(path) as temporary, _naming(self, path, InputError, "read"):
            _copy(info.path, _filesystem(self.scheme), str(temporary), _local())
        os.utime(path, ns=(info.mtime_ns, info.mtime_ns))

    def put(self, path: Path) -> None:
        """Put a file, or the files of a folder and no others, into the store. OutputError."""
        filesystem = _filesystem(self.scheme)
        if path.is_dir():
            with _naming(self, path, OutputError, "written"):
                filesystem.delete_dir_contents(self.key(path), missing_dir_ok=True)
            with ThreadPoolExecutor(AT_ONCE) as threads:
                list(threads.map(self.put, sorted(p for p in path.rglob("*") if p.is_file())))
            return
        with _naming(self, path, OutputError, "written"):
            _copy(str(path), _local(), self.key(path), filesystem)
            (info,) = filesystem.get_file_info([self.key(path)])
        os.utime(path, ns=(info.mtime_ns, info.mtime_ns))  # marks it as that version

    def forget(self, path: Path) -> None:
        """Delete an object, if it is there. Raises OutputError."""
        filesystem = _filesystem(self.scheme)
        with _naming(self, path, OutputError, "written"):
            if filesystem.get_file_info([self.key(path)])[0].is_file:
                filesystem.delete_file(self.key(path))

    def push(self) -> None:
        """Put what the mirror holds and the store has not in that version. Raises OutputError."""
        filesystem = _filesystem(self.scheme)
        paths = sorted(p for p in self.mirror.rglob("*") if p.is_file() and not _is_partial(p))
        with _naming(self, self.mirror, OutputError, "written"):
            infos = filesystem.get_file_info([self.key(path) for path in paths]) if paths else []
        for path, info in zip(paths, infos, strict=True):
            if not (info.is_file and _is_current(path, info)):
                self.put(path)


_ACTIVE: ContextVar[tuple[Store, ...]] = ContextVar("stores", default=())


def active() -> tuple[Store, ...]:
    """The stores whose mirrors the running command works in; jobs take them along."""
    return _ACTIVE.get()


@contextmanager
def mirrored(options: dict[str, Any], names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Options in which the URLs among `names` are folders that mirror them while the block runs."""
    replaced, stores = dict(options), list[Store]()
    for name in names:
        if is_url(options.get(name, "")):
            store = Store.of(options[name])
            if store not in stores:
                store.pull()
                stores.append(store)
            replaced[name] = type(options[name])(store.mirror)
    token = _ACTIVE.set(tuple(stores))
    with ExitStack() as stack:
        stack.callback(_ACTIVE.reset, token)
        yield replaced
        for store in stores:
            store.push()


def fetch(paths: Iterable[Path], stores: Sequence[Store]) -> None:
    """Fetch those of the paths that lie in a store."""
    for path, store in _stored(paths, stores):
        store.fetch(path)


def put(paths: Iterable[Path], stores: Sequence[Store]) -> None:
    """Put those of the paths that lie in a store, one after the other."""
    for path, store in _stored(paths, stores):
        store.put(path)


def forget(paths: Iterable[Path], stores: Sequence[Store]) -> None:
    """Delete the objects of those of the paths that lie in a store."""
    for path, store in _stored(paths, stores):
        store.forget(path)


def _stored(paths: Iterable[Path], stores: Sequence[Store]) -> Iterator[tuple[Path, Store]]:
    for path in paths:
        for store in stores:
            if store.holds(path):
                yield path, store
                break


def _is_current(path: Path, info: Any) -> bool:
    try:
        stat = path.stat()
    except OSError:
        return False
    return stat.st_size == info.size and stat.st_mtime_ns == info.mtime_ns


def _is_partial(path: Path) -> bool:
    return ".partial" in path.name


@functools.cache
def _filesystem(scheme: str) -> Any:
    """pyarrow's file system; credentials and endpoint as AWS or Google name them in variables."""
    from pyarrow import fs

    if scheme == "gs":
        return fs.GcsFileSystem()
    endpoint = s3_endpoint()
    if endpoint is None:
        return fs.S3FileSystem()
    protocol, host = endpoint
    return fs.S3FileSystem(endpoint_override=host, scheme=protocol)


@functools.cache
def _local() -> Any:
    from pyarrow import fs

    return fs.LocalFileSystem()


def _copy(source: str, origin: Any, target: str, destination: Any) -> None:
    from pyarrow import fs

    fs.copy_files(source, target, source_filesystem=origin, destination_filesystem=destination)


@contextmanager
def _naming(store: Store, path: Path, kind: type[InputError], done: str) -> Iterator[None]:
    """Errors of the store in one line that names the object; those of the network may pass."""
    try:
        yield
    except OSError as e:
        problem = f"cannot be {done} in the store ({' '.join(str(e).split())[:160]})"
        remedy = "check the bucket, the credentials and AWS_ENDPOINT_URL"
        raise kind(store.shown(path), problem, remedy) from e
