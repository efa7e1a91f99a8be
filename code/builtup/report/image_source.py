"""Where the radar images of a report come from: scenes, or the tiles that were predicted."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from builtup.errors import BuiltupError, InputError
from builtup.maps.ensemble import member_runs
from builtup.report.quicklook import predicted_scenes, stored_scenes
from builtup.runs.results import Results
from builtup.sensors.radar.headers import Survey
from builtup.sensors.radar.names import SceneName, find_rasters, require_folder
from builtup.tiles.table import TILE_STATS_CSV
from builtup.tiles.tile import TILES_CSV, parse_tile, read_rows

__all__ = ["SceneImage", "find_images"]

log = logging.getLogger(__name__)

#: Lists of tiles, and the column in which each names a tile's file.
_LISTS = {TILES_CSV: "path", TILE_STATS_CSV: "image_path"}


@dataclass(frozen=True)
class SceneImage:
    """A scene's power: a 3-band file, those of its tiles, or VV and VH as they are stored.

    `date` is YYYYMMDD.
    """

    scene: str
    date: str
    paths: tuple[Path, ...] = ()
    stored: Survey | None = None


def find_images(results: Results, images_path: str = "") -> Mapping[str, tuple[SceneImage, ...]]:
    """The scenes of each city, by date: those below `images_path`, else those predicted.

    `images_path` holds 3-band scenes, a list of tiles, or scenes of VV and VH as `predict` takes
    them. The run's own list is named by the config that lies beside the predictions, the scenes of
    `predict` by its run, those of an ensemble by its members' runs. Where nothing is known there
    are none, and a warning; raises InputError where `images_path` was given and holds none.
    """
    if images_path:
        return _scenes_below(require_folder(Path(images_path)))
    runs = dict.fromkeys(member_runs(results.folder))
    members = [Results(results.folder, run_id) for run_id in runs]
    return _joined([_predicted(one) for one in members or [results]])


def _joined(
    parts: Iterable[Mapping[str, tuple[SceneImage, ...]]],
) -> Mapping[str, tuple[SceneImage, ...]]:
    """Each scene once, by city and date."""
    found: dict[str, dict[tuple[str, str], SceneImage]] = defaultdict(dict)
    for part in parts:
        for city, scenes in part.items():
            for scene in scenes:
                found[city].setdefault((scene.date, scene.scene), scene)
    return {city: tuple(scenes[key] for key in sorted(scenes)) for city, scenes in found.items()}


def _predicted(results: Results) -> Mapping[str, tuple[SceneImage, ...]]:
    """The scenes that one inference predicted; none, and a warning, where they are not known."""
    try:
        folder = _predicted_from(results)
        if folder is not None:
            return _scenes_below(folder)
        stored = predicted_scenes(results)
        if stored is not None:
            return _as_stored(stored)
    except BuiltupError as e:
        log.warning("the report has no radar images: %s", e)
        return {}
    log.warning("the report has no radar images: nothing says where they are; give images_path")
    return {}


def _predicted_from(results: Results) -> Path | None:
    """The data_path of the inference, from its config or from its run; None where neither is."""
    path = results.folder / "config" / "settings.json"
    if path.is_file():
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))["settings"]
            return require_folder(Path(settings["data_path"]))
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise InputError(path, f"names no data_path ({e})", "give images_path") from e
    if not results.run_id:
        return None
    from builtup.runs import tracking

    logged = tracking.find_run(results.run_id).data.params.get("cfg/data_path")
    return require_folder(Path(logged)) if logged else None


def _scenes_below(folder: Path) -> Mapping[str, tuple[SceneImage, ...]]:
    for name, column in _LISTS.items():
        if (folder / name).is_file():
            return _from_list(folder / name, column)
    scenes = find_rasters(folder, "3b")
    if not scenes:
        return _stored_below(folder)
    return _by_city((s.city, s.scene_id, s.name.date, s.path) for s in scenes)


def _stored_below(folder: Path) -> Mapping[str, tuple[SceneImage, ...]]:
    try:
        return _as_stored(stored_scenes(str(folder)))
    except InputError as e:
        names = " and no ".join(_LISTS)
        problem = f"no 3-band scenes and no {names}; as scenes of VV and VH: {e.problem}"
        raise InputError(folder, problem, "give the folder of one") from e


def _as_stored(
    cities: Mapping[str, tuple[Survey, ...]],
) -> Mapping[str, tuple[SceneImage, ...]]:
    return {
        city: tuple(
            SceneImage(found.scene.scene_id, found.scene.date, stored=found)
            for found in sorted(surveys, key=lambda s: (s.scene.date, s.scene.scene_id))
        )
        for city, surveys in cities.items()
    }


def _from_list(path: Path, column: str) -> Mapping[str, tuple[SceneImage, ...]]:
    home = path.parent.resolve()
    tiles = [parse_tile(path, home, row, column) for row in read_rows(path)]
    there = [tile for tile in tiles if tile.path.is_file()]
    if not there:
        raise InputError(path, "none of its tiles is there any more", "give images_path")
    return _by_city((t.city, t.scene, t.date, t.path) for t in there)


def _by_city(
    files: Iterable[tuple[str, str, str, Path]],
) -> Mapping[str, tuple[SceneImage, ...]]:
    found: dict[str, dict[tuple[str, str], list[Path]]] = defaultdict(lambda: defaultdict(list))
    for city, scene, date, path in files:
        paths = found[city][date, scene]
        if path not in paths:  # tiles that point into one scene name it many times
            paths.append(path)
    return {
        city: tuple(
            SceneImage(scene, date, tuple(paths)) for (date, scene), paths in sorted(scenes.items())
        )
        for city, scenes in found.items()
    }


def scene_title(scene: str) -> str:
    """A scene id for people: `S1A ASC 2015-10-05`."""
    name = SceneName.parse(f"{scene.replace('{}', '3b')}.tif")
    if name is None:
        return scene
    date = f"{name.date[:4]}-{name.date[4:6]}-{name.date[6:]}"
    return " ".join(filter(None, [name.stem[:3].upper(), name.orbit, date]))
