"""Scene names, and the discovery of VV–VH pairs in a folder of the UNOSAT layout.

`<split>/<City>_<year>/**/s1a_<TILE>_{vv|vh}[_{ASC|DES}]_<YYYYMMDD>[t<HHMMSS|xxxxxx>][_N].tif`,
and S1Tiling's later names, with the relative orbit before the date (`…_DES_007_20200108txxxxxx`)
and the calibration after it (`…_NormLim`, `…_GammaNaughtRTC`).
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from builtup.errors import BuiltupError, InputError

__all__ = [
    "Discovery",
    "SceneFile",
    "SceneName",
    "ScenePair",
    "city_key",
    "discover_pairs",
    "find_rasters",
    "list_rasters",
    "require_folder",
    "require_pairs",
]

POLARISATIONS = ("vv", "vh")
#: What may stand where the polarisation stood, in files that we write.
KINDS = ("3b", "mask", "prob", "std", "count")

_NAME = re.compile(
    r"(?P<satellite>s1[a-d])_(?P<tile>\d{2}[A-Za-z]{3})_(?P<kind>vv|vh|3b|mask|prob|std|count)"
    r"(?:_(?P<orbit>asc|des))?(?:_(?P<track>\d{3}))?_(?P<date>\d{8})(?P<time>t(?:\d{6}|x{6}))?"
    r"(?:_(?P<calibration>NormLim|GammaNaughtRTC))?(?:_(?P<number>\d+))?",
    re.IGNORECASE,
)
_CITY_FOLDER = re.compile(r"(?P<name>.+?)_(?P<year>\d{4})")


@dataclass(frozen=True)
class SceneName:
    """A scene's file name, taken apart. `stem` is the file's stem as it stands."""

    stem: str
    kind: str
    tile: str
    date: str
    orbit: str = ""

    @classmethod
    def parse(cls, path: Path | str) -> SceneName | None:
        """Take a file name apart; None where it is not a scene's (a BorderMask, for one)."""
        p = Path(path)
        match = _NAME.fullmatch(p.stem)
        if match is None or p.suffix.lower() not in {".tif", ".tiff"}:
            return None
        return cls(
            p.stem,
            match["kind"].lower(),
            match["tile"].upper(),
            match["date"],
            (match["orbit"] or "").upper(),
        )

    @cached_property
    def _parts(self) -> tuple[str, str]:
        match = _NAME.fullmatch(self.stem)
        assert match is not None  # parse() made it
        return self.stem[: match.start("kind")], self.stem[match.end("kind") :]

    @property
    def scene_id(self) -> str:
        """The stem with braces for the polarisation: `s1a_38SLF_{}_ASC_20151005_1`."""
        return "{}".join(self._parts)

    @property
    def plain_id(self) -> str:
        """The scene id without braces, for names of tiles: `s1a_38SLF_ASC_20151005_1`."""
        return plain_id(self.scene_id)

    def as_kind(self, kind: str) -> str:
        """The stem of the file of another kind: `s1a_38SLF_3b_ASC_20151005_1`."""
        return self.scene_id.replace("{}", kind)


def plain_id(scene_id: str) -> str:
    """A scene id without its braces: `s1a_38SLF_{}_20150426` gives `s1a_38SLF_20150426`."""
    return scene_id.replace("_{}", "")


def city_key(tile: str, city_folder: str) -> str:
    """The key of a city, `<TILE>_<City>`, from the tile and the folder `<City>_<year>`."""
    match = _CITY_FOLDER.fullmatch(city_folder)
    return f"{tile}_{match['name'] if match else city_folder}"


@dataclass(frozen=True)
class SceneFile:
    """One raster of a scene (a polarisation, a 3-band file, a mask) in its city's folder."""

    path: Path
    name: SceneName
    city_folder: str

    @property
    def scene_id(self) -> str:
        """The scene id, with braces."""
        return self.name.scene_id

    @property
    def city(self) -> str:
        """The city's key, `<TILE>_<City>`."""
        return city_key(self.name.tile, self.city_folder)


@dataclass(frozen=True)
class ScenePair:
    """The VV and VH files of one scene."""

    vv: Path
    vh: Path
    name: SceneName
    city_folder: str

    @property
    def scene_id(self) -> str:
        """The scene id, with braces."""
        return self.name.scene_id

    @property
    def city(self) -> str:
        """The city's key, `<TILE>_<City>`."""
        return city_key(self.name.tile, self.city_folder)

    def output(self, folder: Path, kind: str) -> Path:
        """Where a raster derived from this scene stands: `<folder>/<City>_<year>/….tif`."""
        return folder / self.city_folder / f"{self.name.as_kind(kind)}.tif"


@dataclass(frozen=True)
class Discovery:
    """What a folder holds: pairs to work on, what is refused, and rasters that are no scenes."""

    pairs: tuple[ScenePair, ...]
    problems: tuple[BuiltupError, ...] = ()
    ignored: tuple[Path, ...] = field(default=())

    @property
    def empty(self) -> bool:
        """Whether nothing of a scene was found, not even something to refuse."""
        return not self.pairs and not self.problems


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


def list_rasters(root: Path) -> list[Path]:
    """All TIFF files below `root`, links followed, in a fixed order, our partial files left out."""
    found = []
    for folder, _, names in os.walk(root, followlinks=True):  # Path.walk comes with 3.12
        for name in names:
            if name.lower().endswith((".tif", ".tiff")) and not name.startswith("."):
                found.append(Path(folder, name))
    return sorted(found)


def discover_pairs(root: Path) -> Discovery:
    """Find the VV–VH pairs below `root` (one split), sorted by city and scene id.

    Opens no file. Lone polarisations, scene ids that stand twice and scenes outside a city's
    folder are problems, one InputError each; BorderMasks and other rasters are `ignored`.
    """
    require_folder(root)
    by_scene: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    names: dict[str, SceneName] = {}
    problems: list[BuiltupError] = []
    ignored: list[Path] = []
    for path in list_rasters(root):
        name = SceneName.parse(path)
        if name is None or name.kind not in POLARISATIONS:
            ignored.append(path)
        elif path.parent == root:
            problems.append(
                InputError(path, "outside a city's folder", "put it into <City>_<year>/")
            )
        else:
            by_scene[name.scene_id][name.kind].append(path)
            names[name.scene_id] = name
    pairs = []
    for scene_id, files in by_scene.items():
        problem = _pair_problem(scene_id, files) or _city_problem(root, files)
        if problem is not None:
            problems.append(problem)
            continue
        vv, vh = files["vv"][0], files["vh"][0]
        pairs.append(ScenePair(vv, vh, names[scene_id], vv.relative_to(root).parts[0]))
    pairs.sort(key=lambda p: (p.city_folder, p.scene_id))
    return Discovery(tuple(pairs), tuple(problems), tuple(ignored))


def require_pairs(root: Path) -> Discovery:
    """As `discover_pairs`; raise InputError where nothing below `root` is of a scene."""
    discovery = discover_pairs(root)
    if discovery.empty:
        raise InputError(
            root,
            "no VV–VH scene below it",
            "see docs/data.md for the names, and run inspect on the folder above",
        )
    return discovery


def _pair_problem(scene_id: str, files: dict[str, list[Path]]) -> InputError | None:
    for polarisation in POLARISATIONS:
        found = files.get(polarisation, [])
        if len(found) > 1:
            return InputError(
                found[0],
                f"the scene {scene_id} stands twice, here and in {found[1]}",
                "remove or rename one of them (…_1.tif)",
            )
    for polarisation, other in (("vv", "vh"), ("vh", "vv")):
        if polarisation not in files:
            lone = files[other][0]
            return InputError(
                lone,
                f"{other.upper()} without {polarisation.upper()}",
                f"add {scene_id.format(polarisation)}.tif to the same city",
            )
    return None


def _city_problem(root: Path, files: dict[str, list[Path]]) -> InputError | None:
    vv, vh = files["vv"][0], files["vh"][0]
    folder = vv.relative_to(root).parts[0]
    if folder != vh.relative_to(root).parts[0]:
        return InputError(vv, f"its VH is in another city: {vh}", "put both into one city's folder")
    if ";" in folder or "\\" in folder:
        return InputError(
            root / folder, "a city's name with ; or \\, which GDAL misreads", "rename the folder"
        )
    return None


def find_rasters(root: Path, kind: str) -> tuple[SceneFile, ...]:
    """The files of one kind (`3b`, `mask`) that a step wrote below `root`, sorted.

    Raises InputError where two hold the same scene.
    """
    require_folder(root)
    files: dict[str, SceneFile] = {}
    for path in list_rasters(root):
        name = SceneName.parse(path)
        if name is None or name.kind != kind or path.parent == root:
            continue
        file = SceneFile(path, name, path.relative_to(root).parts[0])
        if file.scene_id in files:
            raise InputError(
                path,
                f"the scene {file.scene_id} stands twice, here and in {files[file.scene_id].path}",
                "remove one of them",
            )
        files[file.scene_id] = file
    return tuple(sorted(files.values(), key=lambda f: (f.city_folder, f.scene_id)))
