"""Where rasters lie: names for GDAL, and which of them a STAC document may point to.

A STAC document is written by others. What it names is opened only where it is a GeoTIFF on object
storage, on an https server or in the document's own folder (of a catalogue's documents: in the
folder of the whole); VRTs (which name further files), GDAL's /vsi… names, other schemes and other
folders need the user's `allow`.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from builtup.errors import BuiltupError, InputError

__all__ = ["Allow", "Location", "asset_location", "is_url", "user_location"]

#: How GDAL reads what lies elsewhere.
REMOTE = {"s3": "/vsis3/", "gs": "/vsigs/", "https": "/vsicurl/https://"}
_ASK = "add it to allow, if you trust it"


@dataclass(frozen=True)
class Location:
    """A raster: `name` as GDAL opens it, `any_format` where more than GeoTIFF may be opened."""

    name: str
    any_format: bool = False

    @property
    def remote(self) -> bool:
        """Whether it is read over the network, or otherwise not as a plain file."""
        return self.name.startswith("/vsi")

    @property
    def path(self) -> Path:
        """The plain file."""
        return Path(self.name)

    @property
    def shown(self) -> str:
        """For messages and records: without a query, which may hold a signature."""
        if not self.remote:
            return self.name
        for scheme, prefix in REMOTE.items():
            if self.name.startswith(prefix):
                return f"{scheme}://{self.name.removeprefix(prefix).partition('?')[0]}"
        return self.name.removeprefix("/vsicurl/").partition("?")[0]

    @property
    def stem(self) -> str:
        """The file's name without its suffix."""
        return Path(self.shown).stem


@dataclass(frozen=True)
class Allow:
    """Prefixes of paths, URLs and /vsi… names that the user trusts."""

    prefixes: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Allow:
        """Read the list, separated by `;`."""
        return cls(tuple(part.strip() for part in text.split(";") if part.strip()))

    def covers(self, name: str) -> bool:
        """Whether `name` begins with one of the prefixes, whole names of folders only."""
        if ".." in unquote(name).replace("\\", "/").split("/"):
            return False
        return any(_below(name, prefix) for prefix in self.prefixes)


def _below(name: str, prefix: str) -> bool:
    if "://" not in prefix and not prefix.startswith("/vsi"):
        path = Path(name)
        return path.is_absolute() and path.is_relative_to(Path(prefix).resolve())
    rest = name.removeprefix(prefix)
    return name.startswith(prefix) and (prefix.endswith("/") or rest[:1] in {"", "/", "?"})


def is_url(text: str) -> bool:
    """Whether a text is `<scheme>://…`."""
    return "://" in text


def user_location(text: str, allow: Allow) -> Location:
    """The raster that the user names: a path, or s3://, gs:// or https://.

    Other schemes and /vsi… names need `allow`. Raises InputError.
    """
    allowed = allow.covers(text)
    if text.startswith("/vsi"):
        return _gdal_location(text, allowed, text)
    with _well_formed(text, text):
        if is_url(text):
            return _url_location(text, allowed, text)
        resolved = Path(text).resolve()
    return Location(text, any_format=allow.covers(str(resolved)))


def asset_location(href: str, document: str, allow: Allow, within: Path | None = None) -> Location:
    """The raster that a STAC document names, `document` being its path or URL.

    Files may lie in the folder `within`, which is the document's own by default. Raises InputError,
    naming the document, for what it may not point to.
    """
    least = 33 if is_url(href) or is_url(document) else 32  # a path may hold a space
    odd = any(ord(c) < least or "\ud800" <= c <= "\udfff" for c in href)  # the latter: no UTF-8
    if not href or odd or href != href.strip():
        raise InputError(document, f"an asset's href is {href!r}", "give a path or a URL")
    with _well_formed(document, href):
        return _asset(href, document, allow, within)


def _asset(href: str, document: str, allow: Allow, within: Path | None) -> Location:
    if href.startswith("/vsi"):
        return _gdal_location(href, allow.covers(href), document)
    if is_url(document) and not href.startswith("file:"):
        href = urljoin(document, href)
    if is_url(href) and not href.startswith("file://"):
        return _url_location(href, allow.covers(href), document)
    if ":" in href.partition("/")[0] and not href.startswith("file://"):
        raise InputError(document, f"points to {href}: no scheme that is read", _schemes())
    if is_url(document):
        raise InputError(document, f"points to the local file {href}", "download the document")
    return _local_asset(href, Path(document), allow, within)


@contextmanager
def _well_formed(origin: str, name: str) -> Iterator[None]:
    """InputError for a URL or path that cannot be parsed: `https://[::1/x.tif`."""
    try:
        yield
    except ValueError as e:
        problem = f"{_points(origin, name)}no address ({e})"
        raise InputError(origin, problem, "give a well-formed path or URL") from e


def _local_asset(href: str, document: Path, allow: Allow, within: Path | None) -> Location:
    folder = document.resolve().parent
    decoded = unquote(urlsplit(href).path) if href.startswith("file://") else unquote(href)
    path = (folder / decoded).resolve()  # links followed
    plain = folder / href
    if not href.startswith("file://") and os.path.exists(plain):  # noqa: PTH110, as long as it may be
        path = plain.resolve()
    allowed = allow.covers(str(path))
    inside = folder if within is None else within.resolve()
    if not allowed and not path.is_relative_to(inside):
        place = "its folder" if within is None else str(within)
        raise InputError(document, f"points to {path}, outside {place}", _ASK)
    _refuse_vrt(path.name, allowed, str(document), href)
    return Location(str(path), allowed)


def _gdal_location(name: str, allowed: bool, origin: str) -> Location:
    if not allowed:
        raise InputError(origin, f"{_points(origin, name)}a name of GDAL's own file systems", _ASK)
    return Location(name, any_format=True)


def _url_location(url: str, allowed: bool, origin: str) -> Location:
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    name = posixpath.basename(parts.path)
    if scheme not in REMOTE and not (allowed and scheme == "http"):
        remedy = _ASK if scheme == "http" else _schemes()
        raise InputError(origin, f"{_points(origin, url)}the scheme {scheme} is not read", remedy)
    _refuse_vrt(name, allowed, origin, url)
    if not parts.netloc or not name:
        raise InputError(origin, f"{_points(origin, url)}names no file", "give the file's address")
    rest = url.split("://", 1)[1]
    prefix = REMOTE.get(scheme, "/vsicurl/http://")
    return Location(prefix + rest, any_format=allowed)


def _refuse_vrt(name: str, allowed: bool, origin: str, href: str) -> None:
    if name.lower().endswith(".vrt") and not allowed:
        raise InputError(origin, f"{_points(origin, href)}a VRT, which names other files", _ASK)


def _points(origin: str, name: str) -> str:
    return "" if origin == name else f"points to {name.partition('?')[0]}: "


def _schemes() -> str:
    return f"use a path or {', '.join(f'{scheme}://' for scheme in REMOTE)}"


def check_allow(allow: Allow) -> None:
    """Refuse a prefix that would allow everything."""
    for prefix in allow.prefixes:
        if prefix in {"/", "/vsi", "https://", "http://"}:
            raise BuiltupError(f"allow={prefix}: allows everything; name a folder or a server")
