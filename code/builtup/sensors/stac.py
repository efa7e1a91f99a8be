"""STAC documents (JSON): reading one, the items in it, and those of a static catalogue.

A document is written by others: its links are followed within a folder of the user's only, but for
what `Allow` adds.
"""

from __future__ import annotations

import http.client
import json
import logging
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builtup.errors import InputError
from builtup.geo.locations import Allow, asset_location, is_url
from builtup.jobs.retries import Retries

__all__ = [
    "REMEDY",
    "RETRIES",
    "Catalogue",
    "CatalogueItem",
    "items_of",
    "objects",
    "read_catalogue",
    "read_document",
]

log = logging.getLogger(__name__)

#: Largest document that is read.
MOST_BYTES = 64_000_000
#: Between tries at a document elsewhere.
RETRIES = Retries((1.0, 2.0, 4.0))
REMEDY = "give a STAC item or item collection"
#: Versions of catalogues that are read: the first, and the one from which on nothing is known.
VERSIONS = ((0, 8, 1), (1, 2, 0))
#: Catalogues within catalogues.
DEEPEST = 30


@dataclass(frozen=True)
class CatalogueItem:
    """An item of a catalogue: its content, its file, and the ids of what it lies in, topmost
    first."""

    content: Mapping[str, Any]
    path: Path
    parents: tuple[str, ...]

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.content["id"])

    @property
    def properties(self) -> Mapping[str, Any]:
        """Its properties; nothing where they are no object."""
        found = self.content.get("properties")
        return found if isinstance(found, dict) else {}

    def linked(self, relation: str) -> list[str]:
        """Where its links of a relation (`source`) lead to, as they stand there."""
        found = objects(self.content.get("links"))
        return [str(link.get("href") or "") for link in found if link.get("rel") == relation]


@dataclass
class Catalogue:
    """The items of a static catalogue in the order of its links, and what is refused."""

    path: Path
    items: list[CatalogueItem] = field(default_factory=list)
    problems: list[InputError] = field(default_factory=list)


def read_document(document: str, allow: Allow, retries: Retries = RETRIES) -> Any:
    """The content of a document (path or https URL); InputError where it is no JSON."""
    text = _download(document, allow, retries) if is_url(document) else _read(Path(document))
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as e:
        shown = document.partition("?")[0]
        raise InputError(shown, f"no JSON ({str(e)[:100]})", REMEDY) from e


def items_of(content: Any, shown: str) -> list[Mapping[str, Any]]:
    """The items of a document, `shown` in messages; InputError where it is none, and holds none."""
    kind = content.get("type") if isinstance(content, dict) else None
    if kind == "Feature":
        return [content]
    if kind != "FeatureCollection":
        raise InputError(shown, f"its type is {kind!r}", REMEDY)
    features = content.get("features")
    if not isinstance(features, list) or not features:
        raise InputError(shown, "a collection without items", REMEDY)
    links = content.get("links")
    if any(link.get("rel") == "next" for link in objects(links)):
        log.warning("%s: one page of a longer answer; its items are read, no others", shown)
    return [item if isinstance(item, dict) else {} for item in features]


def objects(value: Any) -> list[Mapping[str, Any]]:
    """The objects of a list; nothing of what is no list."""
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def read_catalogue(path: Path, root: Path, allow: Allow) -> Catalogue:
    """The items of the catalogue or collection at `path`, its links followed within `root`.

    A link that is dead, leads back to where it comes from, or out of `root` (but for what `allow`
    covers) is a problem, and so is a document of another version than 0.8.1 to 1.1.
    """
    catalogue = Catalogue(path)
    _Walk(catalogue, root, allow).enter(path, (), ())
    return catalogue


@dataclass
class _Walk:
    """A walk through a catalogue; each document is read once however many links lead to it."""

    catalogue: Catalogue
    root: Path
    allow: Allow
    seen: set[Path] = field(default_factory=set)

    def enter(self, path: Path, above: tuple[Path, ...], ids: tuple[str, ...]) -> None:
        """Take in a catalogue's document and what lies below it."""
        self.seen.add(path.resolve())
        try:
            content = _versioned(path)
        except InputError as e:
            self.catalogue.problems.append(e)
            return
        above, ids = (*above, path.resolve()), (*ids, str(content.get("id") or path.parent.name))
        for link in objects(content.get("links")):
            if link.get("rel") not in {"child", "item"}:
                continue
            try:
                target = self._target(str(link.get("href") or ""), path, above)
                if target in self.seen:
                    continue
                if link["rel"] == "child":
                    self.enter(target, above, ids)
                else:
                    self._take(target, ids)
            except InputError as e:
                self.catalogue.problems.append(e)

    def _target(self, href: str, path: Path, above: tuple[Path, ...]) -> Path:
        location = asset_location(href, str(path), self.allow, self.root)
        if location.remote:
            problem = f"its link {href.partition('?')[0]} leads out of {self.root}"
            raise InputError(path, problem, "download what it leads to, and link the copy")
        target = location.path.resolve()
        if target in above:
            problem = f"a cycle: its link {href} leads back to {target}"
            raise InputError(path, problem, "take the link out")
        if len(above) > DEEPEST:
            raise InputError(path, f"{DEEPEST} catalogues within each other", "give one of them")
        if not target.is_file():
            problem = f"a dead link: {href} is not there"
            raise InputError(path, problem, "add it, or take the link out")
        return target

    def _take(self, path: Path, ids: tuple[str, ...]) -> None:
        self.seen.add(path)
        content = read_document(str(path), self.allow)
        for item in items_of(content, str(path)):
            _check_version(item, path)
            if not isinstance(item.get("id"), str) or not isinstance(item.get("assets"), dict):
                raise InputError(path, "an item without id or assets", "correct it")
            self.catalogue.items.append(CatalogueItem(item, path, ids))


def _versioned(path: Path) -> Mapping[str, Any]:
    content = read_document(str(path), Allow())
    if not isinstance(content, dict) or not isinstance(content.get("links"), list):
        raise InputError(path, "no STAC catalogue: it has no links", "give its catalog.json")
    _check_version(content, path)
    return content


def _check_version(content: Mapping[str, Any], path: Path) -> None:
    said = content.get("stac_version")
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", str(said))
    number = tuple(int(part or 0) for part in found.groups()) if found else ()
    if not VERSIONS[0] <= number < VERSIONS[1]:
        problem = f"its STAC version is {said!r}, read are 0.8.1 to 1.1"
        raise InputError(path, problem, "write the catalogue in one of these (pystac migrates it)")


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(path, f"over {MOST_BYTES // 10**6} MB", "split the collection")
        return path.read_bytes()
    except OSError as e:
        raise InputError(path, f"cannot be read ({e.strerror})", "check the path") from e


def _download(url: str, allow: Allow, retries: Retries) -> bytes:
    scheme, shown = url.partition("://")[0], url.partition("?")[0]
    if scheme != "https" and not (scheme == "http" and allow.covers(url)):
        raise InputError(
            shown, f"a STAC document is not read by {scheme}", "give its https address, or a copy"
        )
    try:
        return retries.call(lambda: _fetch(url, shown), _may_pass, shown)
    except (ValueError, http.client.InvalidURL) as e:
        raise InputError(shown, f"no address ({e})", "check the address") from e
    except OSError as e:  # HTTP errors and time-outs are among them
        raise InputError(shown, f"cannot be read ({e})", "check the address") from e


def _fetch(url: str, shown: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        text: bytes = answer.read(MOST_BYTES + 1)
    if len(text) > MOST_BYTES:
        raise InputError(shown, f"over {MOST_BYTES // 10**6} MB", "split the collection")
    return text


def _may_pass(e: Exception) -> bool:
    final = isinstance(e, urllib.error.HTTPError) and e.code in {400, 401, 403, 404}
    return isinstance(e, OSError) and not final
