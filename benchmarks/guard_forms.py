"""Every file that a run of the chain leaves, as text that does not depend on when and where it ran.

Run ids become `<run-01>` in the order in which the runs began, the folders `<work>` and `<code>`;
times, seconds and commits get fixed words, and the sha256 of a file is its name, as the file itself
is listed. Everything else stays: pixels, profiles, tags, rows, fields, numbers to their last digit.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pyogrio.raw
import rasterio
import shapely
import torch
from PIL import Image

__all__ = ["Names", "forms", "raw_sha256", "runs"]

#: Keys of JSON whose values vary by their nature.
VARYING = {"mtime", "git_commit", "seconds", "fold_key"}
#: In texts: what varies, and what stands for it.
TIMES = (
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC"), "<time>"),
    (re.compile(r"\bcommit (unknown|[0-9a-f]{10,40})\+?"), "commit <commit>"),
    (re.compile(r"\d+(\.\d+)? Mpx/s"), "<rate> Mpx/s"),
    (re.compile(r"\b\d+(\.\d+)? s\b"), "<seconds> s"),
)
_SHA256 = re.compile(r"\b[0-9a-f]{64}\b")
_MODEL_ID = re.compile(r"\bm-[0-9a-f]{32}\b")
_LEVELS = ("INFO: ", "WARNING: ", "ERROR: ", "error: ", "Error: ")
_CLOCK = re.compile(r"^\d\d:\d\d:\d\d (?=[A-Z]+: )")  # of log lines; earlier commits had none
_CLOCKS = {"last_change", "timestamp", "update_time"}
_UNSTABLE_KEYS = ("mlflow.source.", "mlflow.user", "git_commit", "fold_key", "system/")


@dataclass
class Names:
    """What stands for the folders, runs and digests of one run of the chain."""

    folders: dict[str, str] = field(default_factory=dict)
    run_ids: list[str] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)

    def text(self, text: str) -> str:
        """The text without what varies."""
        for number, run_id in enumerate(self.run_ids, 1):
            for shown in (run_id, run_id[:12]):
                text = text.replace(shown, f"<run-{number:02}>")
        text = _MODEL_ID.sub("<model>", text)
        for folder in sorted(self.folders, key=len, reverse=True):
            text = text.replace(folder, self.folders[folder])
        for pattern, word in TIMES:
            text = pattern.sub(word, text)
        return _SHA256.sub(self._named, text)

    def _named(self, match: re.Match[str]) -> str:
        name = self.digests.get(match.group())
        return match.group() if name is None else f"<sha256 of {name}>"

    def content(self, content: bytes) -> bytes:
        """The bytes of a file with the run ids replaced by numbers of the same length."""
        for number, run_id in enumerate(self.run_ids, 1):
            content = content.replace(run_id.encode(), f"{number:032x}".encode())
        return content


def raw_sha256(path: Path) -> str:
    """The sha256 of a file as it lies there."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def runs(database: Path) -> list[str]:
    """The run ids of a tracking database, in the order in which the runs began."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT run_uuid FROM runs ORDER BY start_time, rowid")
        return [row[0] for row in rows]


def forms(path: Path, names: Names) -> Iterator[tuple[str, str]]:
    """(ending, text) of a file: usually one with the ending "", none where it says nothing."""
    maker = _MAKERS.get(path.suffix) or _MAKERS.get(path.name)
    if maker is not None:
        yield from maker(path, names)


Forms = Iterator[tuple[str, str]]


# --- rasters and pictures ---------------------------------------------------------------------


def _raster(path: Path, names: Names) -> Forms:
    with rasterio.open(path) as dataset:
        profile = {key: str(value) for key, value in sorted(dataset.profile.items())}
        profile["transform"] = str(tuple(dataset.transform)[:6])
        said = {
            "profile": profile,
            "descriptions": dataset.descriptions,
            "units": dataset.units,
            "scales": dataset.scales,
            "offsets": dataset.offsets,
            "tags": _tags(dataset, 0, names),
            "bands": [
                {
                    "tags": _tags(dataset, band, names),
                    "overviews": dataset.overviews(band),
                    "interpretation": dataset.colorinterp[band - 1].name,
                    "pixels": _digest_of(dataset.read(band)),
                }
                for band in dataset.indexes
            ],
        }
    yield "", names.text(json.dumps(said, indent=1, ensure_ascii=False))
    yield " (bytes)", hashlib.sha256(names.content(path.read_bytes())).hexdigest()


def _tags(dataset: Any, band: int, names: Names) -> dict[str, Any]:
    spaces = {*dataset.tag_namespaces(band)} - {"DERIVED_SUBDATASETS"}  # names of the file
    own = {key: names.text(value) for key, value in sorted(dataset.tags(band).items())}
    return {"": own, **{space: dataset.tags(band, ns=space) for space in sorted(spaces)}}


def _digest_of(array: Any) -> str:
    plain = np.ascontiguousarray(array)
    head = f"{plain.dtype.str} {plain.shape} ".encode()
    return hashlib.sha256(head + plain.tobytes()).hexdigest()


def _picture(path: Path, names: Names) -> Forms:
    with Image.open(path) as picture:
        yield "", f"{picture.mode} {picture.size} {_digest_of(np.asarray(picture))}"


# --- vectors ----------------------------------------------------------------------------------


def _bytes(path: Path, names: Names) -> Forms:
    yield "", hashlib.sha256(names.content(path.read_bytes())).hexdigest()


def _geopackage(path: Path, names: Names) -> Forms:
    """Attributes and geometries of the layers apart, then all that stands beside them."""
    attributes, geometries, beside = [], [], []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        ask = connection.execute
        layers = dict(ask("SELECT table_name, column_name FROM gpkg_geometry_columns"))
        for (table,) in ask("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"):
            if table.startswith(("rtree_", "sqlite_")):
                continue
            fields = [row[1:3] for row in ask(f'PRAGMA table_info("{table}")')]
            target = attributes if table in layers else beside
            target.append(f"{table} {fields}")
            kept = [name for name, _ in fields if name not in {layers.get(table), *_CLOCKS}]
            chosen = ", ".join(f'"{name}"' for name in kept)
            target += [repr(row) for row in ask(f'SELECT {chosen} FROM "{table}"')]
            if table in layers:
                shapes = ask(f'SELECT "{layers[table]}" FROM "{table}"')
                geometries += [f"{table} {_wkt_of(blob)}" for (blob,) in shapes]
    yield " (attributes)", names.text("\n".join(attributes))
    yield " (geometries)", "\n".join(geometries)
    yield " (metadata)", names.text("\n".join(beside))


def _wkt_of(blob: bytes | None) -> str:
    """The text of a GeoPackage's geometry, which stands behind a header with its extent."""
    if blob is None:
        return "none"
    envelope = (0, 32, 48, 48, 64)[(blob[3] >> 1) & 7]
    return _plain(blob[8 + envelope :])


def _parquet(path: Path, names: Names) -> Forms:
    table = pyarrow.parquet.read_table(path)
    known = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    known.pop("ARROW:schema", None)
    lines = [json.dumps(known, indent=1, sort_keys=True)]
    for column in table.schema:
        lines.append(f"{column.name} {column.type} {column.nullable}")
        lines += [_plain(value) for value in table[column.name].to_pylist()]
    yield "", names.text("\n".join(lines))


def _flatgeobuf(path: Path, names: Names) -> Forms:
    meta, _, geometries, columns = pyogrio.raw.read(path)
    lines = [repr({key: str(value) for key, value in sorted(meta.items())})]
    lines += [_plain(value) for value in geometries]
    lines += [_plain(value) for column in columns for value in column]
    yield "", names.text("\n".join(lines))


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        return str(shapely.to_wkt(shapely.from_wkb(value), rounding_precision=-1))
    return repr(value)


# --- texts ------------------------------------------------------------------------------------


def _text(path: Path, names: Names) -> Forms:
    yield "", names.text(path.read_text(encoding="utf-8"))


def _log(path: Path, names: Names) -> Forms:
    """Our own lines, sorted: where several things are looked at at once their order is open."""
    lines = [_CLOCK.sub("", line) for line in path.read_text(encoding="utf-8").splitlines()]
    ours = [names.text(line) for line in lines if line.startswith(_LEVELS)]
    yield "", "\n".join(sorted(ours))


def _json(path: Path, names: Names) -> Forms:
    content = json.loads(path.read_text(encoding="utf-8"))
    yield "", json.dumps(_settled(content, names), indent=1, sort_keys=True, ensure_ascii=False)


def _settled(value: Any, names: Names) -> Any:
    if isinstance(value, dict):
        return {
            names.text(key): f"<{key}>" if key in VARYING else _settled(item, names)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_settled(item, names) for item in value]
    return names.text(value) if isinstance(value, str) else value


def _table(path: Path, names: Names) -> Forms:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    yield "", "\n".join(repr([names.text(cell) for cell in row]) for row in rows)


def _config(path: Path, names: Names) -> Forms:
    """A config as a run logged it, without its imports: modules may move."""
    lines = path.read_text(encoding="utf-8").splitlines()
    yield "", "\n".join(line for line in lines if not line.startswith(("import ", "from ")))


class _Page(HTMLParser):
    """The words of a page, and its pictures, charts among them."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.pictures: list[str] = []
        self._inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.pictures += [value for _, value in attrs if value and value.startswith("data:")]
        if tag in {"svg", "style", "script"}:
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if not self._inside and data.strip():
            self.words.append(" ".join(data.split()))


def _page(path: Path, names: Names) -> Forms:
    whole = path.read_text(encoding="utf-8")
    page = _Page()
    page.feed(whole)
    yield "", names.text(whole)
    yield " (words)", names.text("\n".join(page.words))
    yield " (pictures)", "\n".join(hashlib.sha256(p.encode()).hexdigest() for p in page.pictures)


# --- weights and runs ---------------------------------------------------------------------------


def _weights(path: Path, names: Names) -> Forms:
    state = torch.load(path, map_location="cpu", weights_only=True)
    yield "", names.text("\n".join(_lines(state, "")))


def _lines(value: Any, place: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _lines(item, f"{place}/{key}")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _lines(item, f"{place}/{number}")
    elif isinstance(value, torch.Tensor):
        yield f"{place} {_digest_of(value.detach().cpu().numpy())}"
    else:
        yield f"{place} {value!r}"


def _database(path: Path, names: Names) -> Forms:
    """What the tracking database holds of the runs, and of the registry."""
    asked = [(query, [run_id]) for run_id in names.run_ids for query in _OF_A_RUN]
    asked += [(query, []) for query in _OF_THE_REGISTRY]
    lines = []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        for query, values in asked:
            rows = connection.execute(query, values)
            lines += sorted(repr(row) for row in rows if _stable(str(row[0])))
    yield "", names.text("\n".join(lines))


def _stable(key: str) -> bool:
    return not key.startswith(_UNSTABLE_KEYS) and not key.endswith(("seconds", "per_second"))


_OF_A_RUN = (
    "SELECT name, status, experiment_id FROM runs WHERE run_uuid = ?",
    "SELECT key, value FROM params WHERE run_uuid = ?",
    "SELECT key, value FROM tags WHERE run_uuid = ?",
    "SELECT key, step, value, is_nan FROM metrics WHERE run_uuid = ?",
    "SELECT d.name, d.digest, d.dataset_source, d.dataset_profile, t.value FROM inputs i "
    "JOIN datasets d ON d.dataset_uuid = i.source_id LEFT JOIN input_tags t USING (input_uuid) "
    "WHERE i.destination_id = ?",
)
_OF_THE_REGISTRY = (
    "SELECT name, version, source, run_id FROM model_versions",
    "SELECT name, version, key, value FROM model_version_tags",
    "SELECT name, alias, version FROM registered_model_aliases",
    "SELECT tag_key, tag_value FROM logged_model_tags",
)


_MAKERS: dict[str, Callable[[Path, Names], Forms]] = {
    ".tif": _raster,
    ".png": _picture,
    ".gpkg": _geopackage,
    ".parquet": _parquet,
    ".fgb": _flatgeobuf,
    **dict.fromkeys((".shp", ".shx", ".dbf", ".prj", ".cpg"), _bytes),
    **dict.fromkeys((".qml", ".md", ".txt", ".out"), _text),
    ".log": _log,
    ".json": _json,
    ".csv": _table,
    ".py": _config,
    ".html": _page,
    ".pt": _weights,
    "mlflow.db": _database,
}
