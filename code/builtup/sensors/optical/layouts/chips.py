"""Plain folders of pairs: `images/` and `labels/` or `masks/` with the same names.

Folders within `images/` are sites, each held out as one. Labels are pictures in the classes'
colours, or of one band of class numbers; `elevations/` may hold elevations of the same names.
"""

from __future__ import annotations

from pathlib import Path

from builtup.errors import InputError
from builtup.sensors.optical.raw_scenes import (
    Found,
    Layout,
    RawScene,
    files_below,
    plain_name,
    with_splits,
)
from builtup.sensors.remarks import Remark

__all__ = ["LAYOUT", "find"]

_PICTURES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
_RASTERS = (".tif", ".tiff", ".png")


def find(root: Path) -> Found:
    """The pairs of a folder, by name. Raises InputError where there are none, or two kinds of
    labels; pictures without labels are said."""
    labels_folders = [root / name for name in ("labels", "masks") if (root / name).is_dir()]
    if len(labels_folders) > 1:
        raise InputError(root, "has both labels/ and masks/", "take one of them away")
    found = Found()
    images = _by_stem(root / "images", _PICTURES, found)
    labels = _by_stem(labels_folders[0], _RASTERS, found) if labels_folders else {}
    elevations = _by_stem(root / "elevations", _RASTERS, found)
    for stem, image in sorted(images.items()):
        try:
            name = plain_name(image, "_".join(stem))
        except InputError as e:
            found.problems.append(e)
            continue
        site = "_".join(stem[:-1]) or root.resolve().name
        found.scenes.append(
            RawScene(name, site, image, labels=labels.get(stem), elevation=elevations.get(stem))
        )
        if stem not in labels:
            found.remarks.append(Remark(image.name, "no labels", doubtful=bool(labels)))
    if not found.scenes and not found.problems:
        raise InputError(root, "no pictures in images/", "give a folder with images/ and labels/")
    for files in (labels, elevations):
        for stem in sorted(files.keys() - images.keys()):
            path = files[stem].relative_to(root)
            found.remarks.append(Remark(str(path), "passed over, of no picture"))
    with_splits(root, found)
    return found


def _by_stem(folder: Path, suffixes: tuple[str, ...], found: Found) -> dict[tuple[str, ...], Path]:
    """The files below a folder by their folders and stem."""
    files: dict[tuple[str, ...], Path] = {}
    for path in files_below(folder, suffixes, found):
        stem = (*path.relative_to(folder).parts[:-1], path.stem)
        if stem in files:
            problem = f"the same name as {files[stem].name}"
            found.problems.append(InputError(path, problem, "remove one of them"))
        else:
            files[stem] = path
    return files


LAYOUT = Layout(find)
