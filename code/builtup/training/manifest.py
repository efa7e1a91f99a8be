"""What a run was made from: its config, the code's commit, the data."""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ignite.distributed as idist

from builtup.config.load import Config
from builtup.jobs.files import write_text_atomically
from builtup.jobs.steps import MANIFESTS, describe_input
from builtup.runs.results import DATA_MANIFEST
from builtup.runs.tracking import Recorder, UsedData
from builtup.training.build import Data
from builtup.training.learner import Learner

__all__ = [
    "DATA_MANIFEST",
    "TRAINING_VERSION",
    "changed_places",
    "data_manifest",
    "facts",
    "git_commit",
    "log_run",
    "read_manifest",
    "used_data",
    "write_config",
]

log = logging.getLogger(__name__)

#: Raise it when the same config and data give other weights: finished folds are then redone.
TRAINING_VERSION = 1


def log_run(config: Config, data: Data, learner: Learner, recorder: Recorder) -> None:
    """Log settings, loss, folds, commit and data manifest; write config/ into the artifacts."""
    if idist.get_rank() != 0:
        return
    write_config(config, recorder.folder / "config")
    recorder.params({**config.settings, **_derived(config, data, learner)})
    recorder.tags(
        {
            "git_commit": git_commit(),
            "config": config.name,
            "fold": data.held_out,
            "city": ", ".join(data.val_cities) or _city_of_fold(data),
            "threshold_tuned_on": ", ".join(data.val_cities) or "nothing",
        }
    )
    tiles = getattr(data.train, "tiles", None)
    if tiles is not None:
        folder = Path(config.data_path)
        manifest = data_manifest(folder, tiles)
        path = recorder.folder / DATA_MANIFEST
        write_text_atomically(path, json.dumps(manifest, indent=1) + "\n")
        recorder.inputs(
            used_data(loader.dataset.tiles, manifest, context)
            for loader, context in ((data.train, "training"), (data.val, "validation"))
            if loader is not None
        )


def _city_of_fold(data: Data) -> str:
    """The city of the fold that is held out, which need not be validated on."""
    fold, folds = getattr(data.train, "val_fold", None), getattr(data.train, "folds", None)
    return "" if fold is None or folds is None else str(folds.city_of(fold))


def facts(config: Config, data: Data) -> dict[str, Any]:
    """What summary.json says of the run besides its scores."""
    return {
        "config": config.path.name,
        "val_fold": data.held_out or None,
        "val_cities": data.val_cities,
        "trained_on": data.trained_on,
        "num_classes": config.num_classes,
        "class_names": list(config.class_names),
        "seed": config.seed,
        "git_commit": git_commit(),
        **({} if data.inherited is None else {"inherited_threshold": asdict(data.inherited)}),
    }


def _derived(config: Config, data: Data, learner: Learner) -> dict[str, Any]:
    parameters = sum(p.numel() for p in learner.model.parameters())
    return {
        "overrides": " ".join(config.overrides),
        "loss": str(learner.criterion),
        "parameters": parameters,
        "processes": idist.get_world_size(),
        "training_device": str(learner.device),
        "batches_per_epoch": data.length,
        "folds": ", ".join(getattr(getattr(data.train, "folds", None), "names", ())),
    }


def write_config(config: Config, folder: Path) -> None:
    """Write the config files and settings.json, from which `config.load_logged` rebuilds."""
    names = []
    for number, (path, source) in enumerate(zip(config.chain, config.sources, strict=True)):
        name = path.name if path.name not in names else f"{number}_{path.name}"
        names.append(name)
        write_text_atomically(folder / name, source)
    record = {"files": names, "settings": config.settings, "overrides": list(config.overrides)}
    write_text_atomically(folder / "settings.json", json.dumps(record, indent=1) + "\n")


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


def data_manifest(folder: Path, tiles: Any) -> dict[str, Any]:
    """Paths, sizes and hashes of the data below `folder`, as the data steps recorded them.

    `tiles` are `Tile` or `TrainTile`. A scene's tiles (or the scene itself) are described by the
    manifest of the step that made them: number and size of its files, and size and sha256 of what
    these were made from, back to the first files (`made_from`). Where there is none, the files are
    hashed.
    """
    lists = [path for path in sorted(folder.glob("*")) if path.suffix in {".csv", ".json"}]
    places = sorted({path for tile in tiles for path in _places(tile)})
    return {
        "folder": str(folder),
        "lists": [describe_input(path) for path in lists],
        "images_and_masks": [_described(place) for place in places],
    }


def read_manifest(path: Path) -> dict[str, Any] | None:
    """What `data_manifest` gave, from a run's artifacts; None where there is none."""
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest


def used_data(tiles: Sequence[Any], manifest: dict[str, Any], context: str) -> UsedData:
    """What MLflow shows of the tiles that a run reads; `manifest` is that of a folder with them.

    The digest is that of the tiles' names and of the sha256 of the files that they come from.
    """
    plain = [getattr(tile, "tile", tile) for tile in tiles]
    places = {str(place) for tile in tiles for place in _places(tile)}
    used = [entry for entry in manifest["images_and_masks"] if entry["path"] in places]
    digest = hashlib.sha256()
    for text in (*sorted(tile.tile_id for tile in plain), *sorted(_hashes(used))):
        digest.update(f"{text}\n".encode())
    cities = sorted({tile.city for tile in plain})
    return UsedData(
        name=", ".join(cities),
        digest=digest.hexdigest()[:16],
        source=manifest["folder"],
        context=context,
        profile={
            "tiles": len(plain),
            "cities": cities,
            "scenes": sorted({tile.scene for tile in plain}),
        },
    )


def changed_places(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The scenes (or folders of their tiles) of two `data_manifest`s that differ in contents.

    Those of one only are left out, and so is where they lie.
    """
    old, new = (
        {Path(entry["path"]).name: sorted(_hashes([entry])) for entry in of["images_and_masks"]}
        for of in (before, now)
    )
    return [name for name in sorted(old.keys() & new.keys()) if old[name] != new[name]]


def _hashes(entries: Any) -> Iterator[str]:
    for entry in entries:
        if "sha256" in entry:
            yield entry["sha256"]
        for key in ("inputs", "files"):
            yield from _hashes(entry.get(key, ()))


def _places(tile: Any) -> list[Path]:
    """The folder of a scene's tile files, or the scene that a tile points into."""
    parts = (tile.tile, tile.mask) if hasattr(tile, "mask") else (tile,)
    return [
        part.path.parent if part.path.parent.name.endswith("_tiles") else part.path
        for part in parts
    ]


def _described(place: Path) -> dict[str, Any]:
    made = _made(place)
    if made is not None:
        return {"path": str(place), **made}
    if place.is_dir():
        return {"path": str(place), "files": [describe_input(p) for p in sorted(place.iterdir())]}
    return {"path": str(place), "files": [describe_input(place)]}


def _made(place: Path) -> dict[str, Any] | None:
    """What the manifest beside a file or folder says, with that of its inputs in turn."""
    record = place.parent / MANIFESTS / f"{place.name}.json"
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    keys = ("step", "version", "settings", "inputs", "outputs")
    made = {key: known[key] for key in keys if key in known}
    made["inputs"] = [_with_origin(entry) for entry in made.get("inputs", ())]
    return made


def _with_origin(entry: dict[str, Any]) -> dict[str, Any]:
    """An input with what it was made from, where its own manifest still describes that file."""
    path = Path(entry.get("path", ""))
    made = _made(path) if entry.get("path") else None
    if made is None:
        return entry
    sizes = {output["name"]: output.get("size") for output in made.get("outputs", ())}
    if sizes.get(path.name) != entry["size"]:
        return entry
    return {**entry, "made_from": made["inputs"]}
