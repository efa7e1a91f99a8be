"""Scenes as a data set has them: what a layout's module finds, and what all layouts share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from builtup.errors import InputError
from builtup.geo.locations import Allow
from builtup.sensors.classes import Classes
from builtup.sensors.optical.cameras import RGB
from builtup.sensors.remarks import Remark
from builtup.sensors.scene_files import list_files
from builtup.sensors.sensor import Sensor

__all__ = [
    "EMPTY",
    "PICTURE",
    "PIXELS",
    "POLYGONS",
    "SOFT",
    "SPLITS",
    "Found",
    "Layout",
    "RawScene",
    "files_below",
    "lines_of",
    "plain_name",
    "refuse_twins",
    "with_splits",
]

#: Lists of scenes, a name a line, beside a data set's folders.
SPLITS = ("train", "valid", "test")
#: What labels are: a picture of classes, the mapped class's probability in 8 bits, its polygons (in
#: the CRS of their file, or in the picture's pixels), or nothing, because nothing of it is there.
PICTURE, SOFT, POLYGONS, PIXELS, EMPTY = "picture", "soft", "polygons", "pixels", "empty"


@dataclass(frozen=True)
class RawScene:
    """The files of one scene: its picture, and labels and elevation where there are any.

    `name` is unique in the data set, `site` the ground that is held out as one. `labels` are what
    `labels_are` says: a picture is in the classes' colours, or of one band of numbers. Where they
    are not `complete`, nothing is known of the ground that they leave out. `elevation` is on any
    grid. `sensor` is what its picture's three bands are of.
    """

    name: str
    site: str
    image: Path
    split: str = ""
    date: str = ""
    labels: Path | None = None
    elevation: Path | None = None
    labels_are: str = PICTURE
    complete: bool = True
    sensor: Sensor = RGB

    @property
    def labelled(self) -> bool:
        """Whether something is known of its ground."""
        return self.labels is not None or self.labels_are == EMPTY

    @property
    def role(self) -> str:
        """What it can teach: labelled, incomplete (its labels leave ground out), unlabelled."""
        if not self.labelled:
            return "unlabelled"
        return "labelled" if self.complete else "incomplete"


@dataclass
class Found:
    """The scenes of a folder in a fixed order, what is refused, and what is said of them.

    `classes` are those of its labels where the layout has none of its own and they need none.
    """

    scenes: list[RawScene] = field(default_factory=list)
    problems: list[InputError] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    classes: Classes | None = None


@dataclass(frozen=True)
class Layout:
    """How a data set lies in its folder.

    `find` finds its scenes, following links out of the folder where these are allowed. `classes`
    are its own (None: the user says them), `first` is the number of class 0 in labels of numbers,
    `metres` the pixel of pictures that do not say theirs.
    """

    find: Callable[[Path, Allow], Found]
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


def refuse_twins(found: Found) -> None:
    """Leave out scenes whose name another has already; each is a problem that names both."""
    kept: dict[str, RawScene] = {}
    for scene in found.scenes:
        first = kept.setdefault(scene.name, scene)
        if first is not scene:
            problem = f"the scene {scene.name} stands twice, here and in {first.image}"
            found.problems.append(InputError(scene.image, problem, "rename or remove one of them"))
    found.scenes = list(kept.values())


def with_splits(root: Path, found: Found) -> None:
    """Give the scenes the split of whichever list of `SPLITS` names them, where there are lists.

    Raises InputError where a scene is in two; names without a scene are problems.
    """
    split_of: dict[str, str] = {}
    for split in SPLITS:
        path = root / f"{split}.txt"
        if not path.is_file():
            continue
        for name in lines_of(path):
            if split_of.setdefault(name, split) != split:
                problem = f"the scene {name} is in {split_of[name]}.txt as well"
                raise InputError(path, problem, "take it out of one of them")
    if not split_of:
        return
    found.scenes = [replace(s, split=split_of.get(s.name, "")) for s in found.scenes]
    _say_strangers(root, found, split_of)


def lines_of(path: Path) -> list[str]:
    """The lines of a list of names, but for empty ones; InputError where it is no text."""
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
