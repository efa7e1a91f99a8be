"""What a run was made from: its config, the code's commit, the data."""

from __future__ import annotations

import json
import logging
import subprocess
from pathlib import Path
from typing import Any

import ignite.distributed as idist

from builtup.config import Config
from builtup.files import write_text_atomically
from builtup.steps import MANIFESTS, describe_input
from builtup.tracking import Recorder
from builtup.training.build import Data
from builtup.training.learner import Learner

__all__ = ["TRAINING_VERSION", "data_manifest", "facts", "git_commit", "log_run", "write_config"]

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
            "city": ", ".join(data.val_cities),
            "threshold_tuned_on": ", ".join(data.val_cities) or "nothing",
        }
    )
    tiles = getattr(data.train, "tiles", None)
    if tiles is not None:
        manifest = data_manifest(Path(config.data_path), tiles)
        path = recorder.folder / "data_manifest.json"
        write_text_atomically(path, json.dumps(manifest, indent=1) + "\n")


def facts(config: Config, data: Data) -> dict[str, Any]:
    """What summary.json says of the run besides its scores."""
    return {
        "config": config.path.name,
        "val_fold": data.held_out or None,
        "val_cities": data.val_cities,
        "num_classes": config.num_classes,
        "class_names": list(config.class_names),
        "seed": config.seed,
        "git_commit": git_commit(),
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

    A scene's tiles (or the scene itself) are described by the manifest of the step that made
    them: number and size of its files, and size and sha256 of what these were made from. Where
    there is none, the files are hashed.
    """
    lists = [path for path in sorted(folder.glob("*")) if path.suffix in {".csv", ".json"}]
    places = sorted({path for tile in tiles for path in _places(tile)})
    return {
        "folder": str(folder),
        "lists": [describe_input(path) for path in lists],
        "images_and_masks": [_described(place) for place in places],
    }


def _places(tile: Any) -> list[Path]:
    """The folder of a scene's tile files, or the scene that a tile points into."""
    return [
        path.parent if path.parent.name.endswith("_tiles") else path
        for path in (tile.tile.path, tile.mask.path)
    ]


def _described(place: Path) -> dict[str, Any]:
    record = place.parent / MANIFESTS / f"{place.name}.json"
    if record.is_file():
        made = json.loads(record.read_text(encoding="utf-8"))
        keys = ("step", "version", "settings", "inputs", "outputs")
        return {"path": str(place), **{key: made[key] for key in keys if key in made}}
    if place.is_dir():
        return {"path": str(place), "files": [describe_input(p) for p in sorted(place.iterdir())]}
    return {"path": str(place), "files": [describe_input(place)]}
