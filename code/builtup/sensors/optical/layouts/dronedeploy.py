"""The layout of the DroneDeploy segmentation data set.

`images/<scene>-ortho.tif` (RGB or RGBA), `elevations/<scene>-elev.tif` (metres), `labels/
<scene>-label.png` (colours), `index.csv` (separated by spaces, the second field a scene's name),
and, where there are, `train.txt`, `valid.txt`, `test.txt`: a scene's name a line.
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
    names=("building", "clutter", "vegetation", "water", "ground", "car"),
    colours=(
        (230, 25, 75),
        (145, 30, 180),
        (60, 180, 75),
        (245, 130, 48),
        (255, 255, 255),
        (0, 130, 200),
    ),
    mapped="building",
    ignored=((255, 0, 255),),
)
_ENDS = {"images": "-ortho", "elevations": "-elev", "labels": "-label"}
_SUFFIXES = (".tif", ".tiff", ".png")


def find(root: Path) -> Found:
    """The scenes of a folder, by name; each is a site of its own.

    Raises InputError where there are none. Scenes of index.csv without a picture are problems.
    """
    found = Found()
    of_kind = {kind: _by_name(root / kind, end, found) for kind, end in _ENDS.items()}
    for name, image in sorted(of_kind["images"].items()):
        try:
            plain_name(image, name)
        except InputError as e:
            found.problems.append(e)
            continue
        labels, elevation = (of_kind[kind].get(name) for kind in ("labels", "elevations"))
        found.scenes.append(RawScene(name, name, image, labels=labels, elevation=elevation))
        for kind, path in (("labels", labels), ("elevation", elevation)):
            if path is None:
                found.remarks.append(Remark(name, f"no {kind}", doubtful=False))
    if not found.scenes and not found.problems:
        raise InputError(
            root, "no images/<scene>-ortho.tif in it", "give the data set's folder, or its layout"
        )
    for kind in ("labels", "elevations"):
        for name in sorted(of_kind[kind].keys() - of_kind["images"].keys()):
            what = "passed over, of no picture"
            found.remarks.append(Remark(f"{kind}/{of_kind[kind][name].name}", what))
    _check_index(root / "index.csv", found, set(of_kind["images"]))
    with_splits(root, found)
    return found


def _by_name(folder: Path, end: str, found: Found) -> dict[str, Path]:
    """The files `<scene><end>.tif` of a folder by scene; others are passed over, and named."""
    files: dict[str, Path] = {}
    for path in files_below(folder, _SUFFIXES, found):
        name = path.stem.removesuffix(end)
        if name == path.stem:
            what = f"passed over, no name of the form <scene>{end}"
            found.remarks.append(Remark(f"{folder.name}/{path.name}", what))
        elif name in files:
            problem = f"the scene {name} stands twice, here and in {files[name]}"
            found.problems.append(InputError(path, problem, "remove one of them"))
        else:
            files[name] = path
    return files


def _check_index(path: Path, found: Found, images: set[str]) -> None:
    """Hold the scenes against the index, where there is one."""
    if not path.is_file():
        return
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(path, "cannot be read as text", "copy it again, or remove it") from e
    listed = [fields[1] for fields in map(str.split, lines) if len(fields) > 1]
    listed = listed[1:] if listed[:1] == ["scene"] else listed  # a head, as some have
    for name in dict.fromkeys(listed):
        if name not in images:
            problem = f"the scene {name} has no picture images/{name}-ortho.tif"
            found.problems.append(InputError(path, problem, "add it, or take the line out"))
    for name in sorted(images - set(listed)):
        found.remarks.append(Remark(name, "not in index.csv, and taken all the same"))


LAYOUT = Layout(lambda root, _: find(root), CLASSES, metres=0.1)
