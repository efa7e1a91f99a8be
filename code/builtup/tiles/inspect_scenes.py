"""What a folder of scenes holds, and what the data steps would refuse or pass over of it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from builtup.errors import BuiltupError, FileError, InputError, alike
from builtup.geo.burn import Burner
from builtup.geo.grid import SAME_CITY_TOLERANCE, Grid
from builtup.geo.rasters import gdal_env
from builtup.geo.vectors import PolygonSet, read_polygons
from builtup.geo.windows import Window, aligned
from builtup.sensors.radar.discovery import Discovery, scenes_of_split
from builtup.sensors.radar.headers import SceneHeaders
from builtup.sensors.radar.reader import PowerReader, open_power
from builtup.sensors.radar.scenes import Scene
from builtup.sensors.radar.units import judge_each, spelled
from builtup.sensors.remarks import Remark, joined
from builtup.sensors.scene_files import require_folder
from builtup.text_table import counted, text_table
from builtup.tiles.labels import find_labels
from builtup.tiles.masks import burner_on

__all__ = ["SceneReport", "SplitReport", "inspect", "inspect_split"]

HEADINGS = (
    "split", "city", "date", "orbit", "size", "pixel/m", "CRS", "grid", "unit", "no-data",
    "built-up",
)  # fmt: skip
#: Of what is not read; the last column is as long as paths are.
NOT_READ = ("split", "not read", "files", "why", "what to do", "first of them")
#: Shares are taken from at most this many windows along each axis, evenly spread.
SAMPLES = 8
SAMPLE = 256
_CITY_YEAR = re.compile(r".+_\d{4}")


@dataclass(frozen=True)
class SceneReport:
    """One usable scene: the grid that its files are stored on, and that which it is read on.

    `unit` is that of its files. Shares are of sampled pixels; `built_up` is None without polygons.
    """

    scene: Scene
    stored: Grid
    grid: Grid
    unit: str
    nodata: float
    built_up: float | None


@dataclass
class SplitReport:
    """One split: its scenes, what would be refused or passed over, cities without polygons, notes.

    `ignored` are rasters that are no scenes and do not look like one.
    """

    name: str
    root: Path
    scenes: list[SceneReport] = field(default_factory=list)
    refused: list[BuiltupError] = field(default_factory=list)
    passed: list[FileError] = field(default_factory=list)
    unlabelled: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


def inspect(input_path: Path) -> str:
    """A table of a split, or of the splits in a folder, as text; bad scenes are listed, not raised.

    Raises InputError where `input_path` is no folder or holds no scene at all.
    """
    splits = _splits(require_folder(input_path))
    reports = [inspect_split(folder, name) for name, folder in splits.items()]
    passed = [problem for report in reports for problem in report.passed]
    reports = [report for report in reports if report.scenes or report.refused]
    if not reports:
        remedy = "give a folder of <City>_<year> folders, or the folder above"
        Discovery(passed=passed).said(InputError(input_path, "no radar scene below it", remedy))
    for report in reports:
        if report.root.parent not in {input_path, input_path.parent}:
            remedy = f"give it to prepare as input_path, or link its splits into {input_path}"
            report.notes.append(f"{report.root.parent}: a folder of splits; {remedy}")
    return _as_text(reports)


def inspect_split(root: Path, name: str = "") -> SplitReport:
    """Open every scene and every city's polygons of one split."""
    discovery = scenes_of_split(root)
    report = SplitReport(name or root.name, root, ignored=discovery.ignored)
    report.refused += discovery.problems
    report.passed += discovery.passed
    report.notes += [str(first.of_many(count)) for first, count in alike(discovery.notes)]
    labels: dict[str, _Labels | None] = {}
    with gdal_env():
        headers = judge_each(discovery.scenes, joint=True)
        for scene, found in zip(discovery.scenes, headers, strict=True):
            key = f"{scene.folder}/{scene.city_key}"
            if key not in labels:
                labels[key] = _labels(root, scene, report)
            try:
                report.scenes.append(_inspect_scene(found, labels[key], report))
            except BuiltupError as e:
                report.refused.append(e)
    return report


@dataclass(frozen=True)
class _Labels:
    polygons: PolygonSet
    area: PolygonSet | None


def _splits(root: Path) -> dict[str, Path]:
    """`root` itself where it holds cities, else the folders in it that do, and those in a folder of
    splits; each once, by name."""
    if _has_cities(root):
        return {root.name: root}
    found: dict[str, Path] = {}
    for folder in _folders(root):
        inner = [folder] if _has_cities(folder) else filter(_has_cities, _folders(folder))
        found |= {str(split.relative_to(root)): split for split in inner}
    once: dict[str, Path] = {}
    for split in sorted(found.values(), key=lambda path: (len(path.parts), path)):
        once.setdefault(os.path.realpath(split), split)
    return {name: split for name, split in found.items() if split in once.values()} or {
        root.name: root
    }


def _folders(root: Path) -> list[Path]:
    """The folders in one, links followed; none where it cannot be listed, which is said later."""
    try:
        paths = sorted(root.iterdir())
    except OSError:
        return []
    shown = (path for path in paths if not path.name.startswith("."))
    return [path for path in shown if os.path.isdir(path)]  # noqa: PTH112, raises nothing


def _has_cities(folder: Path) -> bool:
    return any(_CITY_YEAR.fullmatch(below.name) for below in _folders(folder))


def _labels(root: Path, scene: Scene, report: SplitReport) -> _Labels | None:
    """The polygons of a scene's city; what is wrong with them goes into the report."""
    try:
        files = find_labels(root / scene.folder, scene.city_key)
        if files is None:
            report.unlabelled.append(scene.city_key)
            return None
        area = None if files.labelled_area is None else read_polygons(files.labelled_area)
        found = _Labels(read_polygons(files.polygons), area)
    except BuiltupError as e:
        report.refused.append(e)
        return None
    if found.polygons.repaired:
        report.notes.append(
            f"{files.polygons}: {found.polygons.repaired} invalid geometries will be repaired"
        )
    return found


def _inspect_scene(
    headers: SceneHeaders | BuiltupError, labels: _Labels | None, report: SplitReport
) -> SceneReport:
    if isinstance(headers, BuiltupError):
        raise headers
    scene, grid = headers.scene, headers.grid
    with open_power(headers) as reader:
        burners = _burners(labels, scene, grid, report)
        pixels = invalid = known = built = 0
        for window in _sample(grid):
            bad = reader.invalid(window)
            pixels += bad.size
            invalid += int(np.count_nonzero(bad))
            if burners is not None:
                mask, inside = burners[0].burn(window), burners[1]
                good = ~bad if inside is None else ~bad & (inside.burn(window) == 1)
                known += int(np.count_nonzero(good))
                built += int(np.count_nonzero(mask[good]))
        if invalid == pixels and not _any_valid(reader):
            raise scene.all_invalid()
        share = built / known if known else None
        report.remarks += [remark for remark in headers.remarks if remark.doubtful]
        unit = _unit(headers)
        return SceneReport(scene, headers.stored, grid, unit, invalid / pixels, share)


def _unit(headers: SceneHeaders) -> str:
    """What both polarisations are stored as: `power`, `decibels x 0.01`, `decibels, power`."""
    units = [
        spelled(band.unit) + (f" x {band.scale:g}" if band.scale != 1 else "")
        for band in headers.bands
    ]
    return ", ".join(dict.fromkeys(units))


def _burners(
    labels: _Labels | None, scene: Scene, grid: Grid, report: SplitReport
) -> tuple[Burner, Burner | None] | None:
    """Polygons and labelled area on a scene; None where they cannot be brought to it."""
    if labels is None:
        return None
    try:
        burner, far = burner_on(labels.polygons, grid, scene, all_touched=True)
        inside, area_far = None, ""
        if labels.area is not None:
            inside, area_far = burner_on(labels.area, grid, scene, all_touched=False)
    except InputError as e:
        if str(e) not in map(str, report.refused):  # the same for each date
            report.refused.append(e)
        return None
    report.notes += [note for note in (far, area_far) if note]
    return burner, inside


def _sample(grid: Grid) -> list[Window]:
    """All windows of a small scene, an even choice of those of a large one, the last included."""
    rows = _evenly(range(0, grid.height, SAMPLE))
    columns = _evenly(range(0, grid.width, SAMPLE))
    return [
        Window(y, x, min(SAMPLE, grid.height - y), min(SAMPLE, grid.width - x))
        for y in rows
        for x in columns
    ]


def _evenly(starts: range) -> list[int]:
    chosen = np.linspace(0, len(starts) - 1, min(SAMPLES, len(starts)))
    return [starts[int(i)] for i in chosen]


def _any_valid(reader: PowerReader) -> bool:
    windows = aligned(reader.grid.width, reader.grid.height, (SAMPLE, 8 * SAMPLE))
    return any(not reader.invalid(window).all() for window in windows)


def _as_text(reports: Sequence[SplitReport]) -> str:
    rows = [HEADINGS, *(row for report in reports for row in _rows(report))]
    lines = [text_table(rows, left=len(HEADINGS), ruled=True)] if rows[1:] else []
    not_read = [NOT_READ, *(row for report in reports for row in _not_read(report))]
    if not_read[1:]:
        lines.append("\n" + text_table(not_read, left=len(NOT_READ), ruled=True))
    for report in reports:
        cities = {(s.scene.folder, s.scene.city_key) for s in report.scenes}
        lines.append(
            f"\n{report.name}: {counted(len(cities), 'cities')}, "
            f"{counted(len(report.scenes), 'scenes')}, {len(report.refused)} refused, "
            f"{len(report.passed)} passed over, {len(report.ignored)} other rasters left alone"
        )
        if report.unlabelled:
            names = ", ".join(sorted(set(report.unlabelled)))
            lines.append(f"  without polygons (rasterize refuses these): {names}")
        lines += [f"  note: {note}" for note in report.notes]
        lines += [f"  note: {line}" for line, _ in joined(report.remarks)]
    return "\n".join(lines)


def _not_read(report: SplitReport) -> Iterator[tuple[str, ...]]:
    """A row for each kind of what is not read, paths below the split's folder."""
    refused = [
        e if isinstance(e, FileError) else FileError("-", str(e), "-") for e in report.refused
    ]
    kinds = [("refused", *kind) for kind in alike(refused)]
    kinds += [("passed over", *kind) for kind in alike(report.passed)]
    if report.ignored:
        layers = "by name no scenes: masks, angles, heights, pictures"
        first = FileError(report.ignored[0], layers, "nothing")
        kinds.append(("left alone", first, len(report.ignored)))
    for what, first, count in kinds:
        texts = (text.replace(f"{report.root}/", "") for text in (first.problem, first.remedy))
        yield report.name, what, str(count), *texts, first.path.replace(f"{report.root}/", "")


def _rows(report: SplitReport) -> Iterator[tuple[str, ...]]:
    grids: dict[str, list[Grid]] = {}
    for row in sorted(report.scenes, key=lambda r: (r.scene.folder, r.scene.date)):
        scene, grid = row.scene, row.stored
        known = grids.setdefault(scene.city_key, [])
        yield (
            report.name,
            scene.city_key,
            scene.date,
            scene.orbit or "?",
            f"{grid.width}x{grid.height}",
            "x".join(dict.fromkeys(f"{size:.3g}" for size in grid.metres_per_pixel)),
            grid.crs.to_string() if grid.crs.to_epsg() else "other",
            _grid_number(row.grid, known),
            row.unit,
            f"{row.nodata:.1%}",
            "-" if row.built_up is None else f"{row.built_up:.2%}",
        )


def _grid_number(grid: Grid, known: list[Grid]) -> str:
    """The same number for dates of a city that lie on one grid: 1, 2, …"""
    for number, other in enumerate(known, 1):
        if grid.matches(other, SAME_CITY_TOLERANCE):
            return str(number)
    known.append(grid)
    return str(len(known))
