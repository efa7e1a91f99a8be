"""Folders of scenes: their rasters, and those that a step of the chain wrote."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from builtup.errors import InputError
from builtup.sensors.radar.names import SceneName, city_key, city_name

__all__ = [
    "SIMULATED",
    "SceneFile",
    "find_rasters",
    "is_simulated",
    "list_rasters",
    "require_folder",
]

#: Stands in every city's folder that the simulator wrote.
SIMULATED = "simulation.json"
#: Folders between a scene's file and its city's: the product, the tile, and what may come.
_DEPTH = 4


@dataclass(frozen=True)
class SceneFile:
    """One raster of a scene (of several bands, or a mask) in its city's folder.

    `scene_id` holds braces for the kind; `city` is the key `<TILE>_<City>`.
    """

    path: Path
    scene_id: str
    city: str
    date: str

    def output_name(self, kind: str) -> str:
        """The file name of a raster made of this one: the id with the kind for the braces."""
        return f"{self.scene_id.replace('{}', kind)}.tif"


def require_folder(path: Path) -> Path:
    """Return `path`, or raise InputError where it is not a folder."""
    if path.is_dir():
        return path
    if path.parts[:1] == ("..",):
        remedy = (
            "paths are relative to the folder of the MLproject; `../input` works with "
            "`mlflow run experiments/` only, `input/…` with both"
        )
    else:
        remedy = "check the path, or link the data there (ln -s /data/unosat/train input/train)"
    raise InputError(path, "no such folder", remedy)


def is_simulated(path: Path) -> bool:
    """Whether a file lies in a city's folder that the simulator wrote."""
    return any((folder / SIMULATED).is_file() for folder in list(path.parents)[:_DEPTH])


def list_rasters(root: Path) -> list[Path]:
    """All TIFF files below `root`, links followed, in a fixed order, our partial files left out."""
    found = []
    for folder, _, names in os.walk(root, followlinks=True):  # Path.walk comes with 3.12
        for name in names:
            if name.lower().endswith((".tif", ".tiff")) and not name.startswith("."):
                found.append(Path(folder, name))
    return sorted(found)


def find_rasters(root: Path, kind: str) -> tuple[SceneFile, ...]:
    """The files of one kind (`3b`, `mask`) that a step wrote below `root`, by city and scene.

    Raises InputError where two hold the same scene.
    """
    files: dict[str, tuple[str, SceneFile]] = {}
    for path in list_rasters(require_folder(root)):
        name = SceneName.parse(path)
        if name is None or name.kind != kind or path.parent == root:
            continue
        folder = path.relative_to(root).parts[0]
        city = city_key(name.tile, city_name(folder))
        if name.scene_id in files:
            raise InputError(
                path,
                f"the scene {name.scene_id} stands twice, "
                f"here and in {files[name.scene_id][1].path}",
                "remove one of them",
            )
        files[name.scene_id] = (folder, SceneFile(path, name.scene_id, city, name.date))
    return tuple(file for _, file in sorted(files.values(), key=lambda f: (f[0], f[1].scene_id)))
