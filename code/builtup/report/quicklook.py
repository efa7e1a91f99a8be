"""Radar images from the scenes that `predict` read: VV and VH as they are stored."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from builtup.geo.grid import Grid
from builtup.geo.locations import Allow
from builtup.geo.target_grid import shared_ground
from builtup.geo.windows import aligned
from builtup.maps.city_keys import with_cities
from builtup.runs import tracking
from builtup.runs.results import Results
from builtup.sensors.radar.discovery import find_scenes
from builtup.sensors.radar.headers import Survey, measure, survey
from builtup.sensors.radar.reader import open_power
from builtup.training.tuning_ground import INFERENCE_JSON

__all__ = ["predicted_scenes", "read_parts", "stored_scenes"]

#: Rows and columns that are read at once: 17 MB.
_PART = (512, 4096)


def stored_scenes(input_path: str, units: str = "auto") -> Mapping[str, tuple[Survey, ...]]:
    """The scenes of each city below `input_path`, which is all that `predict` takes.

    What `predict` refuses unless it is allowed is refused here. Raises InputError where there are
    no scenes or one cannot be used.
    """
    found = find_scenes(input_path, Allow())
    if found.problems:
        raise found.problems[0]
    return with_cities([measure(survey(scene), units).survey for scene in found.scenes])


def predicted_scenes(results: Results) -> Mapping[str, tuple[Survey, ...]] | None:
    """The scenes of a folder that `predict` wrote, as its run names them; None for other folders.

    Raises RunError where the tracking database does not know the run, and as `stored_scenes`.
    """
    run_id = results.run_id or _named_run(results)
    if run_id is None:
        return None
    given = tracking.find_run(run_id).data.params
    if "cfg/input_path" not in given:
        return None
    return stored_scenes(given["cfg/input_path"], given.get("cfg/units", "auto"))


def _named_run(results: Results) -> str | None:
    try:
        text = (results.folder / INFERENCE_JSON).read_text(encoding="utf-8")
        return str(json.loads(text)["run_id"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_parts(found: Survey, ground: Grid) -> Iterator[tuple[NDArray[np.float32], Grid]]:
    """The power (2, h, w) of a scene and where it lies, part by part, of what meets `ground`."""
    with open_power(found) as reader:
        for window in aligned(found.grid.width, found.grid.height, _PART):
            place = found.grid.window(window.x, window.y, window.width, window.height)
            if shared_ground(place, ground) > 0:
                yield reader.read(window), place
