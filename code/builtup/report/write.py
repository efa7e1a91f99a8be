"""The step `report`: one HTML page on a set of predictions, in their folder and in their run."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from builtup.errors import InputError
from builtup.jobs.files import write_text_atomically
from builtup.maps.validate import MACRO, POOLED
from builtup.report.city_counts import PICTURE, CityCounts, measure_city
from builtup.report.images import find_images, images_of
from builtup.report.mapped import doubt_notes, mapped_rows
from builtup.report.page import Page, Row, render
from builtup.report.provenance import Provenance, find_provenance
from builtup.report.scores import ClassTable, ScoreRow, class_table, score_rows
from builtup.report.search_page import is_search, search_page
from builtup.report.taught import find_taught, taught_of
from builtup.report.view import CityView, sensor_of_map, view_city
from builtup.runs.records import EnsembleRecord
from builtup.runs.results import CityRasters, Results, city_rasters, read_tags, resolve_results
from builtup.scoring.blocks import BLOCK
from builtup.scoring.bootstrap import RESAMPLES
from builtup.scoring.scored_area import find_truths, read_scored_area
from builtup.sensors.radar.names import SceneName
from builtup.sensors.scene_files import require_folder

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["MOST_BYTES", "REPORT", "Extras", "report"]

log = logging.getLogger(__name__)

REPORT = "report.html"
#: The page is at most this long: pictures shrink where there are many cities.
MOST_BYTES = 24_000_000
#: Of one city, however few there are; and what text and charts take of it.
MOST_CITY_BYTES, TEXT_BYTES = 4_000_000, 60_000
#: More cities than this have scores, but no maps.
MOST_MAPS = 100


@dataclass(frozen=True)
class Extras:
    """What the demo adds: a summary, seconds by step, other maps of the same cities by name."""

    summary: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    others: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class _Truth:
    """The ground truth of the cities that have any; `path` is the split, None without one."""

    path: Path | None
    files: Mapping[str, Path]


def report(
    *,
    input_path: str = "",
    run_id: str = "",
    gt_path: str = "",
    images_path: str = "",
    labels_path: str = "",
    extras: Extras | None = None,
) -> Path:
    """Write report.html into the predictions' folder and log it to their run; return its path.

    `gt_path` is a split as `validate` takes it; empty: the one that `validate` used, or none.
    `images_path` holds scenes or a list of tiles; empty: what was predicted. `labels_path` are
    folders of `weaken` and `pseudo_labels`, separated by `;`, whose tags and labels are shown
    beside the maps. The page is the same whenever the same is asked of the same files. A `run_id`
    of a search gets the page of that. Raises InputError where there are no city maps, or where a
    file cannot be read.
    """
    if run_id and not input_path and is_search(run_id):
        return search_page(run_id)
    extras = extras or Extras()
    results = resolve_results(input_path, run_id)
    store = _store(results)
    cities = city_rasters(results)
    results = _with_run(results, cities)
    truth = _find_truth(results, cities, gt_path)
    views, counts, thresholds = _look(results, cities, truth, images_path, labels_path)
    follow = any(read_tags(rasters.mask).share is not None for rasters in cities)
    provenance = find_provenance(results, list(thresholds.values()), follow=follow)
    rows = score_rows(counts, results)
    classes = class_table(results, read_tags(cities[0].mask).class_set)
    page = Page(
        title=provenance.title,
        summary=extras.summary or _summary(results, cities, truth, thresholds, classes),
        notes=(
            *doubt_notes(cities),
            *_notes(provenance, results, cities, truth, views, _seen(rows, provenance), classes),
        ),
        head=rows[-2] if len(rows) > 1 else (rows[0] if rows else None),
        rows=(*_rows(rows, provenance), *_other_rows(extras.others, truth)),
        how=_how(rows),
        mapped=mapped_rows(results.folder, cities),
        classes=classes,
        views=tuple(views),
        marks={city.city: provenance.marks(city.city) for city in cities},
        facts=_facts(provenance, results, truth, images_path, labels_path),
        seconds=tuple(extras.seconds.items()),
    )
    path = results.folder / REPORT
    write_text_atomically(path, render(page))
    if store is not None and store.folder != path.parent.resolve():
        store.client.log_artifact(store.run_id, str(path))
    return path


@dataclass(frozen=True)
class _Store:
    """The run that the page is logged to, and where its artifacts lie if that is here."""

    client: MlflowClient
    run_id: str
    folder: Path | None


def _store(results: Results) -> _Store | None:
    """None where nobody has said which run it is; RunError where there is no such run."""
    if not results.run_id:
        return None
    from builtup.runs import tracking

    folder = tracking.artifact_folder(tracking.find_run(results.run_id))
    return _Store(tracking.client(), results.run_id, folder.resolve() if folder else None)


def _with_run(results: Results, cities: Sequence[CityRasters]) -> Results:
    """The results with the run that their rasters name, where nobody has said it.

    The rasters of an ensemble name several, which ensemble.json tells apart.
    """
    if results.run_id or (results.folder / EnsembleRecord.NAME).is_file():
        return results
    return Results(results.folder, read_tags(cities[0].mask).run_id or None, results.remote)


def _find_truth(results: Results, cities: Sequence[CityRasters], gt_path: str) -> _Truth:
    if gt_path:
        path = require_folder(Path(gt_path))
    else:
        known = _validated_with(results)
        if known is None or not known.is_dir():
            return _Truth(None, {})
        path = known
    found, _ = find_truths(cities, path)
    return _Truth(path, {rasters.city: file for rasters, file in found})


def _validated_with(results: Results) -> Path | None:
    """The ground truth that `validate` used, if it has run."""
    try:
        values = json.loads((results.folder / "validation.json").read_text(encoding="utf-8"))
        return Path(values["gt_path"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _look(
    results: Results,
    cities: Sequence[CityRasters],
    truth: _Truth,
    images_path: str,
    labels_path: str,
) -> tuple[list[CityView], list[tuple[str, CityCounts]], dict[str, float]]:
    """Go through the cities one by one: views, counts against truth, thresholds if any."""
    tags = read_tags(cities[0].mask)
    images = find_images(results, images_path, sensor_of_map(tags))
    taught = find_taught(labels_path, tags.class_set)
    scored_area = read_scored_area(results)
    share = MOST_BYTES // max(1, min(len(cities), MOST_MAPS))
    budget = min(MOST_CITY_BYTES, share) - TEXT_BYTES
    views: list[CityView] = []
    counts: list[tuple[str, CityCounts]] = []
    thresholds: dict[str, float] = {}
    for rasters in cities:
        measure = measure_city(rasters, truth.files.get(rasters.city), scored_area, PICTURE)
        if measure.tags.class_set.by_threshold:
            thresholds[rasters.city] = measure.tags.threshold
        if measure.counts is not None:
            counts.append((rasters.city, measure.counts))
        if len(views) < MOST_MAPS:
            own = images_of(images, rasters.city, measure.tags.year)
            lesson = taught_of(taught, rasters.city, measure.tags.year)
            views.append(view_city(measure, own, budget, lesson))
    if taught and not any(view.taught for view in views):
        remedy = "give labels_path the folders that were made of the mapped scenes"
        raise InputError(Path(labels_path), "tags and labels of no scene that is shown", remedy)
    return views, counts, thresholds


def _rows(rows: Sequence[ScoreRow], provenance: Provenance) -> list[Row]:
    names = {POOLED: "all pixels pooled", MACRO: "mean of the cities"}
    seen = _seen(rows, provenance)
    some = (f"with {len(seen)} not unseen",) if seen else ()
    return [
        Row(names[row.name], row, some, True)
        if row.name in names
        else Row(row.name, row, provenance.marks(row.name))
        for row in rows
    ]


def _seen(rows: Sequence[ScoreRow], provenance: Provenance) -> list[str]:
    """The scored cities that were tuned or trained on, with what was done there."""
    marks = {row.name: provenance.marks(row.name) for row in rows}
    return [f"{city} ({', '.join(of)})" for city, of in marks.items() if of]


def _other_rows(others: Mapping[str, Path], truth: _Truth) -> list[Row]:
    """Other maps of the same cities, each pooled, for comparison."""
    made = []
    for name, folder in others.items():
        results = resolve_results(str(folder))
        counts = []
        for rasters in city_rasters(results):
            if rasters.city in truth.files:
                measure = measure_city(rasters, truth.files[rasters.city], None, 1)
                if measure.counts is not None:
                    counts.append((rasters.city, measure.counts))
        rows = score_rows(counts, results)
        made += [Row(name, rows[-2] if len(rows) > 1 else rows[0])] if rows else []
    return made


def _summary(
    results: Results,
    cities: Sequence[CityRasters],
    truth: _Truth,
    thresholds: Mapping[str, float],
    classes: ClassTable | None,
) -> str:
    nouns = ("image", "images") if read_tags(cities[0].mask).sensor else ("city", "cities")
    number = f"{len(cities)} {nouns[len(cities) != 1]}"
    cut = ", ".join(f"{t:.3f}" for t in sorted(set(thresholds.values())))
    how = f"cut at {cut}"
    if not read_tags(cities[0].mask).class_set.by_threshold:
        how = "each pixel of its likeliest class"
    source = f"run {results.run_id}" if results.run_id else str(results.folder)
    path = truth.path or (classes and classes.gt_path)
    against = f"scored against {path}" if path else "without ground truth"
    return f"Maps of {number} from {source}, {how}, {against}."


def _notes(
    provenance: Provenance,
    results: Results,
    cities: Sequence[CityRasters],
    truth: _Truth,
    views: Sequence[CityView],
    seen: Sequence[str],
    classes: ClassTable | None,
) -> tuple[str, ...]:
    notes = []
    if seen:
        notes.append(f"Not scores of unseen cities: {'; '.join(seen)}.")
    if any(view.simulated for view in views):
        notes.append(
            "Simulated data: these scores say how the chain works, not how it does on real scenes."
        )
    unknown = [city.city for city in cities if city.city not in truth.files]
    if truth.path is None and classes is None:
        notes.append("No ground truth was given: there are maps, but no scores.")
    elif unknown and truth.path is not None:
        notes.append(f"No ground truth in {truth.path}: {', '.join(unknown)}.")
    area = read_scored_area(results)
    if area is not None:
        notes.append(f"Scores count pixels inside {area.path.name} only.")
    if len(cities) > len(views):
        notes.append(f"Maps of the first {len(views)} cities; the table holds all.")
    notes += [f"{doubt[0].upper()}{doubt[1:]}." for doubt in provenance.doubts]
    return tuple(notes)


def _how(rows: Sequence[ScoreRow]) -> str:
    blocks = rows[-1].blocks if rows else 0
    return (
        "Building F1 and IoU of all pixels that count. Intervals: 95 %, from "
        f"{RESAMPLES:,} resamples of n = {blocks:,} blocks of {BLOCK} × {BLOCK} pixels, each city "
        "within itself; they say how much depends on which ground of these cities was mapped, not "
        "how another city would do. “Tuned on”: pixels of this city chose what is named; with "
        "nothing named, a training behind these maps learnt or chose from them. Brier and "
        "calibration error: 0 is perfect."
    )


def _facts(
    provenance: Provenance,
    results: Results,
    truth: _Truth,
    images_path: str,
    labels_path: str,
) -> tuple[tuple[str, str], ...]:
    names = [SceneName.parse(path) for path in sorted(results.raw.glob("*.tif"))]
    scenes = [name.scene_id for name in names if name is not None and name.kind == "prob"]
    own = [("scenes", ", ".join(scenes))] if scenes else []
    own += [("ground truth", str(truth.path))] if truth.path else []
    own += [("images", images_path)] if images_path else []
    own += [("tags and labels", labels_path)] if labels_path else []
    return (*provenance.facts, *own)
