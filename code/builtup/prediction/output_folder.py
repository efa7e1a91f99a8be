"""What earlier calls left in the folder, before the dates of a city are averaged.

All scene rasters of a city in raw/ go into its map. So a raster that is no output of this call is
refused: it would be averaged with ours without a word.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from builtup.errors import InputError
from builtup.jobs.steps import MANIFESTS, Job
from builtup.prediction.record import Run
from builtup.prediction.scene import STEP
from builtup.runs.results import RAW, Results, read_tags, scene_rasters

__all__ = ["check_earlier"]

log = logging.getLogger(__name__)

#: Settings that are a scene's own, and differ between those of one prediction.
_OWN = {"scene", "city", "elsewhere", "sampled"}


def check_earlier(run: Run, jobs: Sequence[Job], *, skipping: bool) -> None:
    """Refuse a folder with scenes that would be averaged with those of `jobs`, and are none.

    Another city's may stay where they are of the same prediction. `skipping` says that scenes of
    this call were skipped: what was predicted of them before, in the same way, stays in the mean,
    with a warning. Raises InputError.
    """
    if not jobs or not os.path.isdir(run.folder / RAW):  # noqa: PTH112, a name may be too long
        return
    ours, cities = {job.outputs[0] for job in jobs}, {job.settings["city"] for job in jobs}
    shared = {key: value for key, value in jobs[0].settings.items() if key not in _OWN}
    stay = []
    for path in scene_rasters(Results(run.folder)):
        if path in ours:
            continue
        tags = read_tags(path)
        beside = tags.city not in cities
        wanted = run.record.settings() if beside else {**shared, "version": STEP.version}
        how = f"run {tags.run_id or 'unknown'}" if not run.same else _difference(path, wanted)
        if how:
            raise InputError(
                run.folder,
                f"holds scenes that were predicted otherwise ({path.name}, {how})",
                "choose another output_path, or remove them",
            )
        if not beside:
            stay.append(path.name)
    if stay and not skipping:
        raise InputError(
            run.folder,
            f"holds scenes that are not in input_path, and would be in the mean ({_some(stay)})",
            "add them to input_path, choose another output_path, or remove them",
        )
    if stay:
        log.warning("%s: predicted before, stay in the mean: %s", run.folder, _some(stay))


def _difference(path: Path, wanted: Mapping[str, Any]) -> str:
    """`another area, units`: the settings in which a raster's manifest differs; "" for none."""
    try:
        manifest = json.loads((path.parent / MANIFESTS / f"{path.name}.json").read_text("utf-8"))
        known = {**manifest["settings"], "version": manifest["version"]}
        ours = manifest["step"] == STEP.name
    except (OSError, ValueError, KeyError, TypeError):
        return "without a manifest that says how"
    if not ours:
        return f"by {manifest['step']}"
    different = [key for key, value in wanted.items() if known.get(key) != value]
    return f"another {', '.join(different)}" if different else ""


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
