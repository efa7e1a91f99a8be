"""What a run was made from: its config, the code's commit, the data."""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from builtup.jobs.files import write_text_atomically
from builtup.jobs.steps import MANIFESTS, describe_input
from builtup.runs.recorder import UsedData
from builtup.runs.records import Part, Record
from builtup.sensors.scene_files import is_simulated
from builtup.tiles.table import TrainTile
from builtup.tiles.tile import Tile

if TYPE_CHECKING:
    from builtup.config.load import Config

__all__ = [
    "DataFile",
    "DataManifest",
    "DataPlace",
    "LoggedConfig",
    "all_simulated",
    "git_commit",
    "used_data",
    "write_config",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DataFile(Part):
    """A file that was read: size in bytes, mtime in ns, sha256, and the files it was made from."""

    name: str
    path: str = ""
    size: int | None = None
    mtime: int | None = None
    sha256: str = ""
    made_from: tuple[DataFile, ...] | None = None

    @classmethod
    def _parsed(cls, key: str, value: Any) -> Any:
        return _files(value) if key == "made_from" else super()._parsed(key, value)

    def firsts(self) -> Iterator[DataFile]:
        """The files that it goes back to: itself, where it is known to be made from none."""
        if not self.made_from:
            yield self
        for file in self.made_from or ():
            yield from file.firsts()

    def digests(self) -> Iterator[str]:
        """Its sha256, then those of what it was made from."""
        yield self.sha256
        for file in self.made_from or ():
            yield from file.digests()


def _files(values: Iterable[Mapping[str, Any]]) -> tuple[DataFile, ...]:
    return tuple(DataFile.from_json(value) for value in values)


@dataclass(frozen=True, kw_only=True)
class DataPlace(Part):
    """A scene, or the folder of its tiles: what the manifest of the step that made it says.

    Where there is none, `files` are those found there.
    """

    path: str
    step: str | None = None
    version: int | None = None
    settings: Mapping[str, Any] | None = None
    inputs: tuple[DataFile, ...] | None = None
    outputs: tuple[Mapping[str, Any], ...] | None = None
    files: tuple[DataFile, ...] | None = None

    @classmethod
    def _parsed(cls, key: str, value: Any) -> Any:
        return _files(value) if key in {"inputs", "files"} else super()._parsed(key, value)

    @property
    def read(self) -> tuple[DataFile, ...]:
        """The files that it was made from, or that it is."""
        return (*(self.inputs or ()), *(self.files or ()))

    @classmethod
    def of(cls, place: Path) -> Self:
        """Describe a scene's file, or the folder of its tiles, as it is now."""
        made = cls.made(place)
        if made is not None:
            return made
        files = sorted(place.iterdir()) if place.is_dir() else [place]
        return cls(path=str(place), files=_files(describe_input(path) for path in files))

    @classmethod
    def made(cls, place: Path) -> Self | None:
        """What the manifest beside a file or folder says, with that of its inputs in turn."""
        record = place.parent / MANIFESTS / f"{place.name}.json"
        try:
            known = json.loads(record.read_text(encoding="utf-8"))
            files = _files(known.get("inputs", ()))
        except (OSError, ValueError, TypeError, AttributeError):
            return None
        inputs = tuple(map(_with_origin, files))
        kept = {key: known[key] for key in ("step", "version", "settings") if key in known}
        outputs = tuple(known["outputs"]) if "outputs" in known else None
        return cls(path=str(place), **kept, inputs=inputs, outputs=outputs)


def _with_origin(file: DataFile) -> DataFile:
    """An input with what it was made from, where its own manifest still describes that file."""
    path = Path(file.path)
    made = DataPlace.made(path) if file.path else None
    if made is None:
        return file
    sizes = {output["name"]: output.get("size") for output in made.outputs or ()}
    return replace(file, made_from=made.inputs) if sizes.get(path.name) == file.size else file


@dataclass(frozen=True, kw_only=True)
class DataManifest(Record):
    """Paths, sizes and hashes of the data below `folder` that a run read.

    `lists` are the lists of tiles and their statistics, `images_and_masks` the places of scenes;
    `simulated` says that all of them were made by the simulator.
    """

    NAME: ClassVar[str] = "data_manifest.json"
    REMEDY: ClassVar[str] = "copy the run again"

    folder: str
    lists: tuple[DataFile, ...] = ()
    images_and_masks: tuple[DataPlace, ...] = ()
    simulated: bool | None = None

    @classmethod
    def _parsed(cls, key: str, value: Any) -> Any:
        if key == "images_and_masks":
            return tuple(DataPlace.from_json(place) for place in value)
        return _files(value) if key == "lists" else super()._parsed(key, value)

    @classmethod
    def of(cls, folder: Path, tiles: Iterable[Tile | TrainTile]) -> Self:
        """Describe the data of `tiles`, as the data steps recorded them.

        A scene's tiles (or the scene itself) are described by the manifest of the step that made
        them: number and size of its files, and size and sha256 of what these were made from, back
        to the first files. Where there is none, the files are hashed.
        """
        lists = [path for path in sorted(folder.glob("*")) if path.suffix in {".csv", ".json"}]
        places = tuple(
            map(DataPlace.of, sorted({path for tile in tiles for path in _places(tile)}))
        )
        return cls(
            folder=str(folder),
            lists=_files(describe_input(path) for path in lists),
            images_and_masks=places,
            simulated=all_simulated(places),
        )

    def digests(self) -> Iterator[str]:
        """The sha256 of all files behind the scenes, back to the first."""
        for place in self.images_and_masks:
            for file in place.read:
                yield from file.digests()

    def changed_since(self, before: DataManifest) -> list[str]:
        """The scenes (or folders of their tiles) whose contents were others `before`.

        Those of one only are left out, and so is where they lie.
        """
        old, new = (
            {
                Path(place.path).name: sorted(file.sha256 for file in place.read)
                for place in of.images_and_masks
            }
            for of in (before, self)
        )
        return [name for name in sorted(old.keys() & new.keys()) if old[name] != new[name]]


def all_simulated(places: Sequence[DataPlace]) -> bool | None:
    """Whether all first files behind the places are the simulator's; None where any is not."""
    files = [first for place in places for file in place.read for first in file.firsts()]
    return True if files and all(is_simulated(Path(file.path)) for file in files) else None


def _places(tile: Tile | TrainTile) -> list[Path]:
    """The folder of a scene's tile files, or the scene that a tile points into."""
    parts = (tile.tile, tile.mask) if isinstance(tile, TrainTile) else (tile,)
    return [
        part.path.parent if part.path.parent.name.endswith("_tiles") else part.path
        for part in parts
    ]


def used_data(tiles: Sequence[Tile | TrainTile], manifest: DataManifest, context: str) -> UsedData:
    """What MLflow shows of the tiles that a run reads; `manifest` is that of a folder with them.

    The digest is that of the tiles' names and of the sha256 of the files that they come from.
    """
    plain = [tile.tile if isinstance(tile, TrainTile) else tile for tile in tiles]
    places = {str(place) for tile in tiles for place in _places(tile)}
    used = [place for place in manifest.images_and_masks if place.path in places]
    hashes = sorted(file.sha256 for place in used for file in place.read)
    digest = hashlib.sha256()
    for text in (*sorted(tile.tile_id for tile in plain), *hashes):
        digest.update(f"{text}\n".encode())
    cities = sorted({tile.city for tile in plain})
    return UsedData(
        name=", ".join(cities),
        digest=digest.hexdigest()[:16],
        source=manifest.folder,
        context=context,
        profile={
            "tiles": len(plain),
            "cities": cities,
            "scenes": sorted({tile.scene for tile in plain}),
        },
    )


@dataclass(frozen=True, kw_only=True)
class LoggedConfig(Part):
    """The config of a run as its artifacts hold it: file names, settings, overrides.

    `config.load.load_logged` builds from it.
    """

    files: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()

    @staticmethod
    def path(folder: Path) -> Path:
        """Where it stands in a run's artifacts, beside the files that it names."""
        return folder / "config" / "settings.json"

    @classmethod
    def read(cls, folder: Path) -> Self:
        """That of a run's artifacts; an empty one where there is none, or a damaged one."""
        path = cls.path(folder)
        if not path.is_file():
            return cls()
        try:
            return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, AttributeError) as e:
            log.warning("%s: not read (%s)", path, e)
            return cls()


def write_config(config: Config, folder: Path) -> None:
    """Write the config files, the modules beside them and settings.json, from which
    `config.load_logged` rebuilds."""
    names: list[str] = []
    for number, (path, source) in enumerate(zip(config.chain, config.sources, strict=True)):
        name = path.name if path.name not in names else f"{number}_{path.name}"
        names.append(name)
        write_text_atomically(folder / name, source)
    for name, text in config.modules.texts:
        write_text_atomically(folder / name, text)
    logged = LoggedConfig(
        files=tuple(names), settings=config.settings, overrides=tuple(config.overrides)
    )
    write_text_atomically(folder / "settings.json", json.dumps(logged.to_json(), indent=1) + "\n")


def git_commit() -> str:
    """The commit that the code is at, with `+` where files differ from it; else `unknown`."""
    here = Path(__file__).parent
    commit = _git("rev-parse", "HEAD", folder=here)
    changed = _git("status", "--porcelain", "--untracked-files=no", folder=here)
    return f"{commit}{'+' if changed else ''}" if commit else "unknown"


def _git(*arguments: str, folder: Path) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
