"""Inputs and outputs in an object store (`s3://bucket/prefix`, `gs://…`).

An object store has no folders that could be renamed and no files that could be half written. So a
command works in a mirror of what lies under its URL, `output/stores/s3/<bucket>/<prefix>`: it is
fetched first, jobs fetch what they lack and put what they made when it is whole, their manifest
last, and what the command writes besides is put at its end. The store is the truth: what the mirror
holds and the store does not is removed. The mirror may be deleted at any time.

Reads and writes that a network or a busy store fails are tried again, with back-off, before they
are named; what another try does not change is named at once.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from builtup.errors import BuiltupError, FileError, InputError, OutputError, one_line
from builtup.jobs.files import atomic_path, output_error
from builtup.jobs.retries import Retries

__all__ = [
    "Store",
    "active",
    "fetch",
    "forget",
    "is_url",
    "mirrored",
    "put",
    "s3_endpoint",
    "with_urls",
]

log = logging.getLogger(__name__)

#: Where mirrors lie, relative to the working folder.
MIRRORS = Path("output") / "stores"
#: Files on their way at a time.
AT_ONCE = 8
#: One slash or two: a path type of the command line takes one away.
_URL = re.compile(r"(s3|gs):/{1,2}([^/]+)/?(.*)")
_OTHER_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/.*")
#: Transient errors of a store and of the way to it: another try may not meet them.
_TRANSIENT = re.compile(
    r"NETWORK_CONNECTION|SLOW_?DOWN|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|THROTTLING|"
    r"REQUEST_TIME(D_)?OUT|HTTP status 5\d\d|curlCode|timed? ?out",
    re.IGNORECASE,
)
_SECOND = 10**9
Result = TypeVar("Result")


def is_url(text: object) -> bool:
    """Whether an option names an object store."""
    return _URL.fullmatch(str(text)) is not None


@dataclass(frozen=True)
class Store:
    """What lies in `bucket` under `prefix`, and the folder `mirror` that mirrors it.

    `retries` are for what a network fails; pyarrow's own are over within one or two seconds.
    """

    scheme: str
    bucket: str
    prefix: str
    mirror: Path
    retries: Retries = field(default=Retries(), compare=False)

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

    def pull(self, tell: bool = True) -> int:
        """Make the mirror what the store is, and say of how many files. Raises InputError."""
        from pyarrow import fs

        root = self.key(self.mirror)
        selector = fs.FileSelector(root, recursive=True, allow_not_found=True)
        listed = self._tried(
            self.mirror, InputError, "read", lambda: self._filesystem().get_file_info(selector)
        )
        found = [info for info in listed if info.is_file]
        if not found:
            self._require_bucket()
        there = {self.mirror / self._checked(info.path)[len(root) + 1 :]: info for info in found}
        self._require_files(there)
        for path in [p for p in self.mirror.rglob("*") if p.is_file() and p not in there]:
            path.unlink(missing_ok=True)
        stale = [path for path, info in there.items() if not _is_current(path, info)]
        if stale and tell:
            log.info("fetching %d files from %s", len(stale), self.shown(self.mirror))
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(lambda path: self._download(path, there[path]), stale))
        return len(there)

    def _require_bucket(self) -> None:
        """Raise InputError where the store says that the bucket is not there."""
        from pyarrow import fs

        if self.scheme != "s3":
            return  # elsewhere that is another right than to list it
        with suppress(OSError):  # the same: who may not ask learns it from the first object
            if self._filesystem().get_file_info(self.bucket).type == fs.FileType.NotFound:
                raise InputError(
                    f"{self.scheme}://{self.bucket}",
                    "no such bucket",
                    "check its name and AWS_ENDPOINT_URL, or create it",
                )

    def _require_files(self, there: Mapping[Path, object]) -> None:
        """Raise InputError where others lie below an object, as only a folder's files can."""
        for path in there:
            above = next((folder for folder in path.parents if folder in there), None)
            if above is not None:
                problem = f"an object, and a folder for {self.shown(path)}"
                raise InputError(self.shown(above), problem, "rename one of them")

    def _checked(self, key: str) -> str:
        """The key of an object; InputError where no path of a mirror can stand for it."""
        if any(part in {"", ".", ".."} for part in key.split("/")):
            raise InputError(
                f"{self.scheme}://{key}",
                "an object whose name has an empty part, . or .. in it",
                "rename it, or move it elsewhere",
            )
        return key

    def fetch(self, path: Path) -> None:
        """Make a file or folder of the mirror what it is in the store. Raises InputError."""
        from pyarrow import fs

        info = self._tried(path, InputError, "read", lambda: self._info(path))
        if info.type == fs.FileType.Directory:
            replace(self, prefix=self._inner(path), mirror=path).pull(tell=False)
        elif info.is_file and not _is_current(path, info):
            self._download(path, info)

    def _inner(self, path: Path) -> str:
        return self.key(path).partition("/")[2]

    def _filesystem(self) -> Any:
        return _filesystem(self.scheme)

    def _info(self, path: Path) -> Any:
        return self._filesystem().get_file_info(self.key(path))

    def _download(self, path: Path, info: Any) -> None:
        with atomic_path(path) as temporary:
            self._tried(
                path,
                InputError,
                "read",
                lambda: _copy(info.path, self._filesystem(), str(temporary), _local()),
            )
        os.utime(path, ns=(info.mtime_ns, info.mtime_ns))

    def put(self, path: Path) -> None:
        """Put a file, or the files of a folder and no others, into the store. OutputError."""
        if path.is_dir():
            self._tried(path, OutputError, "written", lambda: self._empty(path))
            with ThreadPoolExecutor(AT_ONCE) as threads:
                list(threads.map(self.put, sorted(p for p in path.rglob("*") if p.is_file())))
            return
        self._tried(
            path,
            OutputError,
            "written",
            lambda: _copy(str(path), _local(), self.key(path), self._filesystem()),
        )
        info = self._tried(path, OutputError, "written", lambda: self._info(path))
        os.utime(path, ns=(info.mtime_ns, info.mtime_ns))  # marks it as that version

    def forget(self, path: Path) -> None:
        """Delete an object, if it is there. Raises OutputError."""
        self._tried(path, OutputError, "written", lambda: self._delete(path))

    def _delete(self, path: Path) -> None:
        if self._info(path).is_file:
            self._filesystem().delete_file(self.key(path))

    def _empty(self, path: Path) -> None:
        self._filesystem().delete_dir_contents(self.key(path), missing_dir_ok=True)

    def push(self) -> None:
        """Put what the mirror holds and the store has not in that version. Raises OutputError."""
        paths = sorted(p for p in self.mirror.rglob("*") if p.is_file() and not _is_partial(p))
        keys = [self.key(path) for path in paths]
        infos = self._tried(
            self.mirror,
            OutputError,
            "written",
            lambda: self._filesystem().get_file_info(keys) if keys else [],
        )
        for path, info in zip(paths, infos, strict=True):
            if not (info.is_file and _is_current(path, info)):
                self.put(path)

    def _tried(
        self, path: Path, kind: type[FileError], done: str, action: Callable[[], Result]
    ) -> Result:
        """`action()`, again after errors of the network; others in one line with the object."""
        try:
            return self.retries.call(action, _may_pass, self.shown(path))
        except (OSError, ValueError) as e:  # pyarrow's ArrowInvalid is a ValueError
            code = e.errno if isinstance(e, OSError) else None
            if code not in {None, errno.ENOENT}:  # of this machine; stores give no number
                local = OSError(code, os.strerror(code or 0))
                raise output_error(path, local) from local
            reason = one_line(e, 160)
            problem = f"cannot be {done} in the store ({reason})"
            remedy = "check the bucket, the credentials and AWS_ENDPOINT_URL"
            # by its number another worker's try is known to be worth while
            cause = OSError(errno.EIO, reason) if _may_pass(e) else e
            raise kind(self.shown(path), problem, remedy) from cause


_ACTIVE: ContextVar[tuple[Store, ...]] = ContextVar("stores", default=())


def active() -> tuple[Store, ...]:
    """The stores whose mirrors the running command works in; jobs take them along."""
    return _ACTIVE.get()


@contextmanager
def mirrored(options: dict[str, Any], names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Options in which the URLs among `names` are folders that mirror them while the block runs."""
    replaced, stores = dict(options), list[Store]()
    for name in names:
        given = options.get(name, "")
        if _OTHER_URL.match(str(given)) and not is_url(given):
            problem = "no folder, and no object store that is written to"
            raise InputError(str(given), problem, "give a folder, s3://bucket/prefix or gs://…")
        if is_url(given):
            store = Store.of(given)
            if store not in stores:
                if not store.pull() and name == "input_path":
                    shown = store.shown(store.mirror)
                    raise InputError(shown, "no object below it", "check the bucket and the prefix")
                stores.append(store)
            replaced[name] = type(options[name])(store.mirror)
    token = _ACTIVE.set(tuple(stores))
    with ExitStack() as stack:
        stack.callback(_ACTIVE.reset, token)
        try:
            yield replaced
        except BuiltupError as e:
            raise e.reworded(with_urls) from e
        for store in stores:
            store.push()


def with_urls(text: str) -> str:
    """A message in which what lies in a mirror is named as the user knows it, by its URL."""
    for store in active():
        for mirror in (store.mirror.absolute(), store.mirror):
            text = text.replace(str(mirror), store.shown(store.mirror))
    return text


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


def s3_endpoint() -> tuple[str, str] | None:
    """(protocol, host) as the variables of AWS's own tools say; None for Amazon's own store.

    These are AWS_ENDPOINT_URL_S3 and AWS_ENDPOINT_URL, the first before the second.
    """
    url = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not url:
        return None
    protocol, _, host = url.rpartition("://")
    return protocol or "https", host.rstrip("/")


def _may_pass(e: Exception) -> bool:
    """Whether a store, or the way to it, may say something else a moment later."""
    of_this_machine = isinstance(e, OSError) and e.errno is not None
    return not of_this_machine and _TRANSIENT.search(str(e)) is not None


def _is_current(path: Path, info: Any) -> bool:
    try:
        stat = path.stat()
    except OSError:
        return False
    here, there = stat.st_mtime_ns, info.mtime_ns
    if not (here % _SECOND and there % _SECOND):
        # some stores (MinIO) give fractions where they list, and none where they are asked of one
        here, there = here // _SECOND, there // _SECOND
    return bool(stat.st_size == info.size and here == there)


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
    if protocol not in {"http", "https"}:
        shown = f"AWS_ENDPOINT_URL={protocol}://{host}"
        raise BuiltupError(f"{shown}: no address of a store; give https://host or http://host:port")
    return fs.S3FileSystem(endpoint_override=host, scheme=protocol)


@functools.cache
def _local() -> Any:
    from pyarrow import fs

    return fs.LocalFileSystem()


def _copy(source: str, origin: Any, target: str, destination: Any) -> None:
    from pyarrow import fs

    fs.copy_files(source, target, source_filesystem=origin, destination_filesystem=destination)
