"""The layouts of the ISPRS 2D semantic labelling benchmarks: Vaihingen and Potsdam.

Pictures and labels have the same names in folders of their own, anywhere below the root: what lies
in a folder named after labels (`labels`, `gts_for_participants`, `…_ground_truth_…`) is one, as is
what ends in `_noBoundary` (the same labels, 3 pixels along their edges black: eroded).

    vaihingen   top_mosaic_09cm_area<N>.tif   near infrared, red, green; 9 cm
    potsdam     top_potsdam_<r>_<c>_RGB.tif, …_IRRG.tif, with …_label.tif; 5 cm
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from builtup.errors import InputError
from builtup.sensors.classes import Classes
from builtup.sensors.optical.cameras import IRRG, RGB
from builtup.sensors.optical.raw_scenes import (
    Found,
    Layout,
    RawScene,
    files_below,
    with_splits,
)
from builtup.sensors.remarks import Remark
from builtup.sensors.sensor import Sensor

__all__ = ["CLASSES", "POTSDAM", "VAIHINGEN", "find"]

#: Of both. Black are the edges of eroded labels; clutter is predicted, and left out of means.
CLASSES = Classes(
    names=("impervious", "building", "low vegetation", "tree", "car", "clutter"),
    colours=(
        (255, 255, 255),
        (0, 0, 255),
        (0, 255, 255),
        (0, 255, 0),
        (255, 255, 0),
        (255, 0, 0),
    ),
    mapped="building",
    unscored=("clutter",),
    ignored=((0, 0, 0),),
)
_SUFFIXES = (".tif", ".tiff", ".png")
_LABEL_FOLDER = re.compile(r"label|mask|ground_?truth|(^|_)gts?(_|$)", re.IGNORECASE)
#: Labels in the order in which one is chosen, whole before eroded.
WHOLE, ERODED = "label", "label_noBoundary"


@dataclass(frozen=True)
class _Names:
    """How a benchmark's files are named: `scene`, and what they hold in the group `kind`, if any.

    `sensors` are those of its pictures by kind, the first that a scene has is taken.
    """

    pattern: re.Pattern[str]
    sensors: Mapping[str, Sensor]
    example: str

    def parsed(self, path: Path, root: Path) -> tuple[str, str] | None:
        """A file's scene and kind; None where it is named otherwise."""
        match = self.pattern.fullmatch(path.stem)
        if match is None:
            return None
        eroded = match["eroded"] is not None
        kind = match.groupdict().get("kind") or next(iter(self.sensors))
        of_labels = any(_LABEL_FOLDER.search(part) for part in path.relative_to(root).parts[:-1])
        if kind == WHOLE or eroded or of_labels:
            kind = ERODED if eroded else WHOLE
        return match["scene"], kind


_VAIHINGEN = _Names(
    re.compile(r"(?P<scene>top_mosaic_09cm_area\d+)(?P<eroded>_noBoundary)?"),
    {"IRRG": IRRG},
    "top_mosaic_09cm_area<N>.tif",
)
_POTSDAM = _Names(
    re.compile(
        r"(?P<scene>top_potsdam_\d+_\d+)_(?P<kind>RGBIR|RGB|IRRG|label)(?P<eroded>_noBoundary)?"
    ),
    {"RGB": RGB, "IRRG": IRRG},
    "top_potsdam_<row>_<column>_RGB.tif",
)


def find(root: Path, names: _Names = _VAIHINGEN) -> Found:
    """The scenes of a benchmark, by name; each is a site of its own.

    Labels that are whole are taken before eroded ones, pictures in natural colours before others;
    what is passed over is said. Raises InputError where there is no picture.
    """
    found = Found()
    files: dict[str, dict[str, Path]] = {}
    for path in files_below(root, _SUFFIXES, found):
        parsed = names.parsed(path, root)
        if parsed is None:
            what = f"passed over, not named like {names.example}"
            found.remarks.append(Remark(str(path.relative_to(root)), what, doubtful=False))
            continue
        scene, kind = parsed
        own = files.setdefault(scene, {})
        if kind in own:
            problem = f"the scene {scene} stands twice, here and in {own[kind]}"
            found.problems.append(InputError(path, problem, "remove one of them"))
        else:
            own[kind] = path
    for scene, own in sorted(files.items()):
        _take(root, scene, own, names, found)
    if not found.scenes and not found.problems:
        raise InputError(
            root, f"no pictures {names.example} in it", "give the data set's folder, or its layout"
        )
    with_splits(root, found)
    return found


def _take(root: Path, scene: str, files: Mapping[str, Path], names: _Names, found: Found) -> None:
    """Add a scene of its files by kind, and say which of them are passed over."""
    pictures = [kind for kind in names.sensors if kind in files]
    labels = [kind for kind in (WHOLE, ERODED) if kind in files]
    if not pictures:
        _say_passed(root, [files[kind] for kind in files], "passed over, of no picture", found)
        return
    further = [files[kind] for kind in files if kind not in {*pictures[:1], *labels[:1]}]
    taken = ", ".join(files[kind].name for kind in (*pictures[:1], *labels[:1]))
    _say_passed(root, further, "passed over, another of the scene is taken", found, taken)
    if not labels:
        found.remarks.append(Remark(scene, "no labels", doubtful=False))
    found.scenes.append(
        RawScene(
            *(scene, scene, files[pictures[0]]),
            labels=files[labels[0]] if labels else None,
            sensor=names.sensors[pictures[0]],
        )
    )


def _say_passed(
    root: Path, paths: Sequence[Path], what: str, found: Found, detail: str = ""
) -> None:
    for path in paths:
        remark = Remark(str(path.relative_to(root)), what, detail, doubtful=not detail)
        found.remarks.append(remark)


VAIHINGEN = Layout(lambda root, _: find(root, _VAIHINGEN), CLASSES, metres=0.09)
POTSDAM = Layout(lambda root, _: find(root, _POTSDAM), CLASSES, metres=0.05)
