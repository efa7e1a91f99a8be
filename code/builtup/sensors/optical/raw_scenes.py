"""Scenes as a data set has them: what a layout's module finds, and what all layouts share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from builtup.errors import InputError
from builtup.sensors.classes import Classes
from builtup.sensors.remarks import Remark
from builtup.sensors.scene_files import list_files

__all__ = ["SPLITS", "Found", "Layout", "RawScene", "files_below", "plain_name", "with_splits"]

#: Lists of scenes, a name a line, beside a data set's folders.
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class RawScene:
    """The files of one scene: its picture, and labels and elevation where there are any.

    `name` is unique in the data set, `site` the ground that is held out as one. `labels` are a
    picture in the classes' colours, or of one band of numbers; `elevation` is on any grid.
    """

    name: str
    site: str
    image: Path
    split: str = ""
    date: str = ""
    labels: Path | None = None
    elevation: Path | None = None


@dataclass
class Found:
    """The scenes of a folder in a fixed order, what is refused, and what is said of them."""

    scenes: list[RawScene] = field(default_factory=list)
    problems: list[InputError] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)


@dataclass(frozen=True)
class Layout:
    """How a data set lies in its folder.

    `find` finds its scenes. `classes` are its own (None: the user says them), `first` is the number
    of class 0 in labels of numbers, `metres` the pixel of pictures that do not say theirs.
    """

    find: Callable[[Path], Found]
    classes: Classes | None = None
    first: int = 0
    metres: float | None = None


def files_below(folder: Path, suffixes: Iterable[str], found: Found) -> list[Path]:
    """The files of these suffixes (".tif") below a folder; what cannot be listed is a problem."""
    if not folder.is_dir():
        return []
    listing = list_files(folder)
    found.problems += listing.passed
    known = {suffix.lower() for suffix in suffixes}
    return [path for path in listing.files if path.suffix.lower() in known]


def plain_name(path: Path, name: str) -> str:
    """A scene's name, as files and lists can hold it; InputError for one that they cannot."""
    if not name or any(sign in name for sign in '{},;"/\\\n'):
        problem = 'its name has signs that names of scenes cannot have ({ } , ; ")'
        raise InputError(path, problem, "rename it")
    return name


def with_splits(root: Path, found: Found) -> None:
    """Give the scenes the split of whichever list of `SPLITS` names them, where there are lists.

    Raises InputError where a scene is in two; names without a scene are problems.
    """
    split_of: dict[str, str] = {}
    for split in SPLITS:
        path = root / f"{split}.txt"
        if not path.is_file():
            continue
        for name in _names(path):
            if split_of.setdefault(name, split) != split:
                problem = f"the scene {name} is in {split_of[name]}.txt as well"
                raise InputError(path, problem, "take it out of one of them")
    if not split_of:
        return
    found.scenes = [replace(s, split=split_of.get(s.name, "")) for s in found.scenes]
    _say_strangers(root, found, split_of)


def _names(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(path, "cannot be read as text", "write a scene's name a line") from e
    return [line.strip() for line in lines if line.strip()]


def _say_strangers(root: Path, found: Found, split_of: Mapping[str, str]) -> None:
    known = {scene.name for scene in found.scenes}
    refused = {Path(problem.path).name for problem in found.problems}
    for name, split in split_of.items():
        if name not in known and not any(of.startswith(name) for of in refused):
            problem = f"the scene {name} is not there"
            found.problems.append(
                InputError(root / f"{split}.txt", problem, "add its picture, or take the line out")
            )
    for scene in found.scenes:
        if not scene.split:
            what = "in none of the lists of splits"
            found.remarks.append(Remark(scene.name, what, doubtful=True))
