"""Going on with an earlier inference: what it predicted, and whether that is the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ignite.distributed as idist

from builtup.config.load import Config
from builtup.errors import ConfigError, RunError
from builtup.runs import tracking
from builtup.runs.results import DATA_MANIFEST, RECORD, local_copy
from builtup.tiles.tile import Tile
from builtup.training.manifest import changed_places, data_manifest, read_manifest

__all__ = ["Previous", "find_previous", "predictions_of", "require_same", "require_same_data"]


@dataclass(frozen=True)
class Previous:
    """An earlier inference to go on with: its folder, and what its pixels depend on."""

    folder: Path
    record: dict[str, Any]


def find_previous(config: Config) -> Previous | None:
    """The run that `resume_from` names, or None where it is empty."""
    if not config.resume_from:
        return None
    given = Path(config.resume_from)
    folder = given if given.is_dir() else _existing(config.resume_from)
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise RunError(
            f"resume_from={config.resume_from}: no {RECORD} can be read in {folder}; "
            "give an inference run"
        ) from e
    return Previous(folder, {"backend": "torch", **record})  # once there was no other


def require_same(config: Config, before: dict[str, Any], record: dict[str, Any]) -> None:
    """ConfigError where the run to go on with predicted otherwise."""
    for key, value in record.items():
        if before.get(key) != value:
            raise ConfigError(
                f"{config.path}: resume_from={config.resume_from} was predicted with "
                f"{key}={before.get(key)!r}, not {value!r}; leave resume_from out, or set {key} so"
            )


def require_same_data(config: Config, folder: Path, tiles: Sequence[Tile]) -> None:
    """ConfigError where what the run in `folder` read has other contents now (asked by rank 0)."""
    before = read_manifest(folder / DATA_MANIFEST)
    if before is None or idist.get_rank() > 0:
        return
    changed = changed_places(before, data_manifest(Path(config.data_path), tiles))
    if changed:
        raise ConfigError(
            f"{config.path}: resume_from={config.resume_from} was predicted from other contents of "
            f"{changed[0]} ({len(changed)} changed in {config.data_path}); leave resume_from out"
        )


def _existing(run_id: str) -> Path:
    """An earlier run's predictions; a killed one has a copy here that its store lacks."""
    return tracking.artifact_folder(tracking.find_run(run_id)) or local_copy(run_id, RECORD)


def predictions_of(run_id: str) -> Path:
    """Where an inference's predictions stand: its artifacts, or output/predictions/<run id>."""
    run = tracking.find_run(run_id)
    return tracking.artifact_folder(run) or Path("output") / "predictions" / run_id
