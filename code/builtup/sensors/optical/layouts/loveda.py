"""The layout of LoveDA: pictures of 0.3 m of towns and countryside, with masks of numbers.

`<split>/<domain>/images_png/<n>.png` with `<split>/<domain>/masks_png/<n>.png` of the same name
(Train, Val, Test; Rural, Urban), or `images/` with `labels/` or `masks/`. Masks hold 1 to 7, and 0
where there is no data.
"""

from __future__ import annotations

from pathlib import Path

from builtup.errors import InputError
from builtup.sensors.classes import Classes
from builtup.sensors.optical.raw_scenes import (
    Found,
    Layout,
    RawScene,
    files_below,
    plain_name,
    with_splits,
)
from builtup.sensors.remarks import Remark

__all__ = ["CLASSES", "LAYOUT", "find"]

CLASSES = Classes(
    names=("background", "building", "road", "water", "barren", "forest", "agriculture"),
    colours=(
        (255, 255, 255),
        (255, 0, 0),
        (255, 255, 0),
        (0, 0, 255),
        (159, 129, 183),
        (0, 255, 0),
        (255, 195, 128),
    ),
    mapped="building",
)
_PICTURES, _LABELS = ("images_png", "images"), ("masks_png", "labels", "masks")
_SPLITS = {"train": "train", "val": "valid", "valid": "valid", "test": "test"}
_SUFFIXES = (".png", ".tif", ".tiff")


def find(root: Path) -> Found:
    """The scenes of a folder, by name: `<split>_<domain>_<n>`, as far as it has these folders.

    A domain is a site, the root where there is none. Raises InputError where there is no picture.
    """
    found = Found()
    labels: dict[tuple[Path, str], Path] = {}
    pictures: list[Path] = []
    for path in files_below(root, _SUFFIXES, found):
        folder = path.parent.name.lower()
        if folder in _PICTURES:
            pictures.append(path)
        elif folder not in _LABELS:
            found.remarks.append(
                Remark(
                    str(path.relative_to(root)), "passed over, in no folder of pictures or masks"
                )
            )
        elif (key := (path.parent.parent, path.stem)) in labels:
            problem = f"labels of the same picture as {labels[key]}"
            found.problems.append(InputError(path, problem, "remove one of them"))
        else:
            labels[key] = path
    for path in pictures:
        own = labels.pop((path.parent.parent, path.stem), None)
        _take(root, path, own, found)
    if not found.scenes and not found.problems:
        problem = f"no folder of pictures ({' or '.join(_PICTURES)}) in it"
        raise InputError(root, problem, "give the data set's folder, or its layout")
    for path in labels.values():
        found.remarks.append(Remark(str(path.relative_to(root)), "passed over, of no picture"))
    if not any(scene.split for scene in found.scenes):
        with_splits(root, found)
    return found


def _take(root: Path, image: Path, labels: Path | None, found: Found) -> None:
    above = image.relative_to(root).parts[:-2]
    split = next((_SPLITS[part.lower()] for part in above if part.lower() in _SPLITS), "")
    try:
        name = plain_name(image, "_".join((*above, image.stem)))
    except InputError as e:
        found.problems.append(e)
        return
    site = "_".join(above) or root.resolve().name
    found.scenes.append(RawScene(name, site, image, split, labels=labels))
    if labels is None:
        found.remarks.append(Remark(name, "no labels", doubtful=split != "test"))


LAYOUT = Layout(lambda root, _: find(root), CLASSES, first=1, metres=0.3)
