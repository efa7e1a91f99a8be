"""The folder that `predict` writes: its record and its run, and what stands in it already.

`<output_path>/inference.json` holds the run's id and what the pixels depend on. A prediction that
was killed goes on under the same run: its rasters name it, and are the same to the byte. All scene
rasters of a city in raw/ go into its map. So what earlier calls left there is looked at first: it
would be averaged with ours without a word.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from builtup.errors import InputError, NoSuchRunError
from builtup.jobs.files import atomic_path
from builtup.jobs.steps import MANIFESTS, Job, Summary
from builtup.prediction.backends import BACKENDS
from builtup.prediction.recipe import Loaded
from builtup.prediction.scene import STEP, SceneWork
from builtup.runs import tracking
from builtup.runs.manifest import DataFile, DataManifest, DataPlace, all_simulated, git_commit
from builtup.runs.recorder import Recorder, UsedData
from builtup.runs.records import InferenceRecord
from builtup.runs.results import (
    PREDICTIONS_TAG,
    RAW,
    PredictionTags,
    Results,
    kind_of,
    read_tags,
    scene_rasters,
)

__all__ = ["OutputRun", "backend_before", "begin", "check_folder", "find_run", "finish"]

log = logging.getLogger(__name__)

#: Products up to this size are copied into the run's artifacts.
SMALL_BYTES = 20_000_000
_SMALL = (".gpkg", ".png", ".json", ".qml")
#: Settings that are a scene's own, and differ between those of one prediction.
_OWN = {"scene", "city", "year", "elsewhere", "sampled"}


@dataclass(frozen=True)
class OutputRun:
    """A prediction's folder, its record, and the run that began it (empty: none yet).

    `same` says that the folder's own record is this one, `finished` that its run had ended.
    """

    folder: Path
    record: InferenceRecord
    run_id: str = ""
    same: bool = False
    finished: bool = False


def find_run(folder: Path, loaded: Loaded, *, simulated: bool = False) -> OutputRun:
    """The run to go on with where the folder was predicted like this before, else a new one.

    `simulated`: all scenes that are predicted are.
    """
    record = loaded.record(simulated=simulated)
    before = _read(folder)
    if before is None or before.settings() != record.settings():
        return OutputRun(folder, record)
    run_id = before.run_id or ""
    try:
        known = tracking.find_run(run_id)
    except NoSuchRunError:  # another tracking database: a new run
        return OutputRun(folder, record, same=True)
    if known.info.lifecycle_stage == "deleted":
        log.warning("run %s of %s was deleted: a new one takes its place", run_id, folder)
        return OutputRun(folder, record, same=True)
    return OutputRun(folder, record, run_id, True, known.info.status == "FINISHED")


def backend_before(folder: Path) -> str:
    """What `backend=auto` chose before in this folder, else auto."""
    before = _read(folder)
    return before.backend if before is not None and before.backend in BACKENDS else "auto"


def _read(folder: Path) -> InferenceRecord | None:
    try:
        return InferenceRecord.find(folder)
    except InputError:  # damaged, or of a later version: predicted otherwise
        return None


def begin(
    run: OutputRun, recorder: Recorder, loaded: Loaded, settings: dict[str, Any]
) -> OutputRun:
    """Log what is predicted, with what, where the recorder has a run; the run with its id."""
    tracking.link(inference_run=run.run_id, training_run=loaded.trained.run_id)
    if not recorder.run_id:
        return run
    began = replace(run, run_id=recorder.run_id)
    for folder in {began.folder.resolve(), recorder.folder.resolve()}:
        replace(run.record, run_id=began.run_id).write(folder)
    if not run.run_id:  # parameters cannot be logged twice
        recorder.params({**run.record.settings(), **settings, "device": loaded.device})
    recorder.tags(
        {
            "training_run": loaded.trained.run_id,
            "config": "predict",
            "git_commit": git_commit(),
            "weights_sha256": loaded.weights,
            PREDICTIONS_TAG: str(began.folder.resolve()),
        }
    )
    return began


def finish(run: OutputRun, recorder: Recorder, jobs: Sequence[Job], predicted: Summary) -> None:
    """Log what was done; leave the manifest of the data, and small products with the run."""
    if not recorder.run_id:
        return
    manifest = _manifest(run.folder, jobs)
    for folder in {run.folder.resolve(), recorder.folder.resolve()}:
        manifest.write(folder)
    works: list[SceneWork] = [job.context for job in jobs]
    cities = sorted({work.tags.city for work in works})
    scenes = sorted(work.tags.scene for work in works)
    recorder.tags({"city": ", ".join(cities)})
    recorder.inputs([_used(manifest, cities, scenes)])
    figures = {**predicted.metrics(), "scenes": float(len(jobs)), "cities": float(len(cities))}
    if predicted.pixels:
        figures["mpx_per_second"] = predicted.pixels / 1e6 / max(predicted.seconds, 1e-9)
    recorder.metrics(figures, step=0)
    _copy_small(run.folder / RAW, recorder.folder)


def _manifest(folder: Path, jobs: Sequence[Job]) -> DataManifest:
    """The scenes with sizes and hashes of their files, as the manifests of their jobs say."""
    places = []
    for job in jobs:
        work: SceneWork = job.context
        known = DataPlace.made(job.outputs[0])
        if known is None:
            continue  # skipped
        sampled = str((known.settings or {}).get("sampled", ""))
        elsewhere = [
            DataFile(name=place.shown, path=place.shown, sha256=f"{sampled} (of sampled pixels)")
            for place in work.headers.scene.locations
            if place.remote
        ]
        scene = work.headers.scene  # as `<City>_<year>/<scene>`, by which trace knows its city
        path = f"{scene.city}_{scene.date[:4] or 'undated'}/{scene.scene_id}"
        places.append(DataPlace(path=path, inputs=(*(known.inputs or ()), *elsewhere)))
    simulated = all_simulated(places)
    return DataManifest(folder=str(folder), images_and_masks=tuple(places), simulated=simulated)


def _used(manifest: DataManifest, cities: Sequence[str], scenes: Sequence[str]) -> UsedData:
    digest = hashlib.sha256()
    for place in manifest.images_and_masks:
        for file in place.read:
            digest.update(f"{file.sha256}\n".encode())
    return UsedData(
        name=", ".join(cities) or "scenes",
        digest=digest.hexdigest()[:16],
        source=manifest.folder,
        context="inference",
        profile={"cities": list(cities), "scenes": list(scenes)},
    )


def _copy_small(raw: Path, artifacts: Path) -> None:
    """Polygons, styles and pictures go with the run, where its rasters lie elsewhere."""
    if raw.resolve().is_relative_to(artifacts.resolve()):
        return
    target = artifacts / "products"
    for path in sorted(raw.iterdir()):
        small = path.suffix in _SMALL and path.stat().st_size <= SMALL_BYTES
        if path.is_file() and small and not path.name.startswith("."):
            with atomic_path(target / path.name) as beside:
                shutil.copyfile(path, beside)


# --- what stands in it already ------------------------------------------------------------------


def check_folder(run: OutputRun, jobs: Sequence[Job], *, skipping: bool) -> None:
    """Refuse a folder with rasters of scenes that may not be beside those of `jobs`.

    Of a raster that no job writes:
    - predicted otherwise (another model, setting or area): refused;
    - else of a city that no job is of: left as it is;
    - else, where scenes of this call were skipped (`skipping`): it is what was predicted of them
      before, and stays in its city's mean, with a warning;
    - else it is not in input_path, and would be in its city's mean: refused.
    A map of an image is no mean: it may stay where it was predicted like those of `jobs`. Raises
    InputError.
    """
    if not jobs or not os.path.isdir(run.folder / RAW):  # noqa: PTH112, a name may be too long
        return
    cities = {job.settings["city"] for job in jobs}
    written = {path for job in jobs for path in job.outputs}
    in_mean = []
    for path in _rasters(Results(run.folder)):
        if path in written:
            continue
        tags = read_tags(path)
        ours = tags.city in cities and not tags.sensor
        difference = _difference(path, tags, run, jobs[0].settings if ours else {})
        if difference:
            raise InputError(
                run.folder,
                f"holds scenes that were predicted otherwise ({path.name}, {difference})",
                "choose another output_path, or remove them",
            )
        if ours:
            in_mean.append(path.name)
    if in_mean and not skipping:
        raise InputError(
            run.folder,
            f"holds scenes that are not in input_path, and would be in the mean ({_some(in_mean)})",
            "add them to input_path, choose another output_path, or remove them",
        )
    if in_mean:
        log.warning("%s: predicted before, stay in the mean: %s", run.folder, _some(in_mean))


def _rasters(results: Results) -> list[Path]:
    """The rasters of scenes, and the maps of images, which stand for theirs."""
    maps = [path for path in sorted(results.raw.glob("*.tif")) if kind_of(path) == "classes"]
    of_scenes = [path for path in scene_rasters(results) if not read_tags(path).sensor]
    return [*of_scenes, *(path for path in maps if read_tags(path).sensor)]


def _difference(
    path: Path, tags: PredictionTags, run: OutputRun, settings: Mapping[str, Any]
) -> str:
    """`another area, units`: in what a raster was predicted otherwise; "" for nothing.

    Where it shall be averaged with ours, `settings` are those of ours; else the record counts.
    """
    if not run.same:
        return f"run {tags.run_id or 'unknown'}"
    wanted = run.record.settings()
    if settings:
        shared = {key: value for key, value in settings.items() if key not in _OWN}
        wanted = {**shared, "version": STEP.version}
    try:
        manifest = json.loads((path.parent / MANIFESTS / f"{path.name}.json").read_text("utf-8"))
        known = {**manifest["settings"], "version": manifest["version"]}
        step = str(manifest["step"])
    except (OSError, ValueError, KeyError, TypeError):
        return "without a manifest that says how"
    if step != STEP.name:
        return f"by {step}"
    different = [key for key, value in wanted.items() if known.get(key) != value]
    return f"another {', '.join(different)}" if different else ""


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
