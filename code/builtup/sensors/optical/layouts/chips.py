"""Plain folders of pairs: pictures with labels of the same names.

Labels are pictures in the classes' colours, or of one band of class numbers, in `labels/` or
`masks/` beside `images/`; or `<name>_mask.png` beside the picture `<name>.tif`: the probability of
a building, 0 to 255, hard or soft. `elevations/` may hold elevations of the same names. Folders
within `images/` (or the folder itself) are sites, each held out as one. `empty.txt` names scenes,
sites or splits, a name a line, whose pictures without a mask are known to show no building.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from builtup.errors import InputError
from builtup.geo.locations import Allow
from builtup.sensors.classes import BUILT_UP
from builtup.sensors.optical.raw_scenes import (
    EMPTY,
    PICTURE,
    SOFT,
    Found,
    Layout,
    RawScene,
    files_below,
    lines_of,
    plain_name,
    with_splits,
)
from builtup.sensors.remarks import Remark

__all__ = ["LAYOUT", "find"]

#: Names scenes, sites or splits whose pictures without a mask are known to be empty.
EMPTY_LIST = "empty.txt"
_PICTURES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
_RASTERS = (".tif", ".tiff", ".png")
_FOLDERS = ("labels", "masks", "elevations")
_MASK = "_mask"

Stems = dict[tuple[str, ...], Path]


def find(root: Path) -> Found:
    """The pairs of a folder, by name. Raises InputError where there are none, or two kinds of
    labels; pictures without labels are said."""
    labels_folders = [root / name for name in ("labels", "masks") if (root / name).is_dir()]
    if len(labels_folders) > 1:
        raise InputError(root, "has both labels/ and masks/", "take one of them away")
    found = Found(classes=None if labels_folders else BUILT_UP)
    pictures = root / "images" if (root / "images").is_dir() else root
    images, beside = _pictures(pictures, found)
    labels = _by_stem(labels_folders[0], _RASTERS, found) if labels_folders else {}
    elevations = _by_stem(root / "elevations", _RASTERS, found)
    for stem, image in sorted(images.items()):
        try:
            scene = _scene(root, stem, image, labels.get(stem), beside.get(stem))
        except InputError as e:
            found.problems.append(e)
            continue
        found.scenes.append(replace(scene, elevation=elevations.get(stem)))
    if not found.scenes and not found.problems:
        raise InputError(root, "no pictures in images/", "give a folder with images/ and labels/")
    for files in (labels, beside, elevations):
        for stem in sorted(files.keys() - images.keys()):
            path = files[stem].relative_to(root)
            found.remarks.append(Remark(str(path), "passed over, of no picture"))
    with_splits(root, found)
    _mark_empty(root / EMPTY_LIST, found)
    some = any(scene.labelled for scene in found.scenes) or bool(labels_folders)
    for scene in found.scenes:
        if not scene.labelled:
            found.remarks.append(Remark(scene.image.name, "no labels", doubtful=some))
    return found


def _scene(
    root: Path, stem: tuple[str, ...], image: Path, labels: Path | None, beside: Path | None
) -> RawScene:
    name = plain_name(image, "_".join(stem))
    site = "_".join(stem[:-1]) or root.resolve().name
    if labels is not None and beside is not None:
        raise InputError(image, f"has two labels, {labels} and {beside.name}", "remove one of them")
    mask = image.with_name(f"{image.stem}{_MASK}.png")
    if beside is None and mask.exists():
        raise InputError(mask, "no file, but of the name of a mask", "give the mask, or rename it")
    kind = PICTURE if beside is None else SOFT
    return RawScene(name, site, image, labels=labels or beside, labels_are=kind)


def _pictures(folder: Path, found: Found) -> tuple[Stems, Stems]:
    """The pictures below a folder, and the masks `<name>_mask.png` beside them, by the pictures'
    stems."""
    images: Stems = {}
    masks: Stems = {}
    for path in files_below(folder, _PICTURES, found):
        parts = path.relative_to(folder).parts[:-1]
        if parts[:1] and parts[0] in _FOLDERS:
            continue
        of_mask = path.suffix.lower() == ".png" and path.stem.endswith(_MASK)
        files, name = (masks, path.stem.removesuffix(_MASK)) if of_mask else (images, path.stem)
        _add(files, (*parts, name), path, found)
    return images, masks


def _by_stem(folder: Path, suffixes: tuple[str, ...], found: Found) -> Stems:
    """The files below a folder by their folders and stem."""
    files: Stems = {}
    for path in files_below(folder, suffixes, found):
        _add(files, (*path.relative_to(folder).parts[:-1], path.stem), path, found)
    return files


def _add(files: Stems, stem: tuple[str, ...], path: Path, found: Found) -> None:
    if stem in files:
        problem = f"the same name as {files[stem].name}"
        found.problems.append(InputError(path, problem, "remove one of them"))
    else:
        files[stem] = path


def _mark_empty(path: Path, found: Found) -> None:
    """Mark the scenes without a mask that the list names, by themselves, their site or split."""
    if not path.is_file():
        return
    for name in dict.fromkeys(lines_of(path)):
        own = [scene for scene in found.scenes if scene.name == name]
        named = own or [s for s in found.scenes if name in {s.site, s.split}]
        if not named:
            problem = f"{name} is no scene, site or split"
            found.problems.append(InputError(path, problem, "take the line out"))
        if own and own[0].labels is not None:
            problem = f"the scene {name} has a mask, and is listed as empty"
            found.problems.append(InputError(path, problem, "remove one of them"))
        empty = {scene.name for scene in named if scene.labels is None}
        found.scenes = [
            replace(scene, labels_are=EMPTY) if scene.name in empty else scene
            for scene in found.scenes
        ]


def _find(root: Path, _: Allow) -> Found:
    return find(root)


LAYOUT = Layout(_find)
