"""The run of a prediction in MLflow, which a resumed one goes on with, and what it leaves.

`<output_path>/inference.json` holds the run's id and what the pixels depend on. A prediction that
was killed goes on under the same run: its rasters name it, and are the same to the byte.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from builtup.errors import InputError, NoSuchRunError
from builtup.jobs.files import atomic_path
from builtup.jobs.steps import Job, Summary
from builtup.prediction.recipe import Loaded
from builtup.prediction.scene import SceneWork
from builtup.runs import tracking
from builtup.runs.manifest import DataFile, DataManifest, DataPlace, git_commit
from builtup.runs.records import InferenceRecord
from builtup.runs.results import PREDICTIONS_TAG, RAW
from builtup.runs.tracking import Recorder, UsedData

__all__ = ["Run", "begin", "describe", "finish", "known_backend"]

#: Products up to this size are copied into the run's artifacts.
SMALL_BYTES = 20_000_000
_SMALL = (".gpkg", ".png", ".json", ".qml")


@dataclass(frozen=True)
class Run:
    """A prediction's folder, its record, and the run that began it (empty: none yet).

    `same` says that the folder's own record is this one, `finished` that its run had ended.
    """

    folder: Path
    record: InferenceRecord
    run_id: str = ""
    same: bool = False
    finished: bool = False


def describe(folder: Path, loaded: Loaded) -> Run:
    """The run to go on with where the folder was predicted like this before, else a new one."""
    before = _read(folder)
    if before is None or before.settings() != loaded.record.settings():
        return Run(folder, loaded.record)
    run_id = before.run_id or ""
    try:
        known = tracking.find_run(run_id)
    except NoSuchRunError:  # another tracking database: a new run
        return Run(folder, loaded.record, same=True)
    return Run(folder, loaded.record, run_id, True, known.info.status == "FINISHED")


def known_backend(folder: Path) -> str:
    """What `backend=auto` chose before in this folder, else auto."""
    before = _read(folder)
    return "auto" if before is None else before.backend


def _read(folder: Path) -> InferenceRecord | None:
    try:
        return InferenceRecord.find(folder)
    except InputError:  # damaged, or of a later version: predicted otherwise
        return None


def begin(run: Run, recorder: Recorder, loaded: Loaded, settings: dict[str, Any]) -> Run:
    """Say what is predicted, with what; the run with its id. A silent recorder is not spoken to."""
    tracking.link(inference_run=run.run_id, training_run=loaded.trained.run_id)
    if not recorder.run_id:
        return run
    began = replace(run, run_id=recorder.run_id)
    for folder in {began.folder.resolve(), recorder.folder.resolve()}:
        replace(run.record, run_id=began.run_id).write(folder)
    if not run.run_id:  # parameters cannot be said twice
        recorder.params({**loaded.record.settings(), **settings, "device": loaded.device})
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


def finish(run: Run, recorder: Recorder, jobs: Sequence[Job], predicted: Summary) -> None:
    """Say what was done; leave the manifest of the data, and small products with the run."""
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
    return DataManifest(folder=str(folder), images_and_masks=tuple(places))


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
