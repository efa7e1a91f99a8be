"""Going on with an earlier inference (`resume_from`): what it predicted, and whether that is the
same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ignite.distributed as idist

from builtup.config.load import Config
from builtup.errors import ConfigError, InputError, RunError
from builtup.runs import tracking
from builtup.runs.manifest import DataManifest
from builtup.runs.records import InferenceRecord
from builtup.runs.results import local_copy
from builtup.tiles.tile import Tile

__all__ = ["Earlier", "find_earlier", "require_same", "require_same_data"]


@dataclass(frozen=True)
class Earlier:
    """An inference to go on with: its folder, and what its pixels depend on."""

    folder: Path
    record: InferenceRecord


def find_earlier(config: Config) -> Earlier | None:
    """The run that `resume_from` names, or None where it is empty."""
    if not config.resume_from:
        return None
    given = Path(config.resume_from)
    folder = given if given.is_dir() else _existing(config.resume_from)
    try:
        return Earlier(folder, InferenceRecord.read(folder))
    except InputError as e:
        raise RunError(
            f"resume_from={config.resume_from}: no {InferenceRecord.NAME} can be read in {folder}; "
            "give an inference run"
        ) from e


def _existing(run_id: str) -> Path:
    """An earlier run's predictions; a killed one has a copy here that its store lacks."""
    folder = tracking.artifact_folder(tracking.find_run(run_id))
    return folder or local_copy(run_id, InferenceRecord.NAME)


def require_same(config: Config, before: InferenceRecord, record: InferenceRecord) -> None:
    """ConfigError where the run to go on with predicted otherwise."""
    for key, (was, value) in before.differences(record).items():
        raise ConfigError(
            f"{config.path}: resume_from={config.resume_from} was predicted with "
            f"{key}={was!r}, not {value!r}; leave resume_from out, or set {key} so"
        )


def require_same_data(config: Config, folder: Path, tiles: Sequence[Tile]) -> None:
    """ConfigError where what the run in `folder` read has other contents now (asked by rank 0)."""
    before = DataManifest.find(folder) if idist.get_rank() == 0 else None
    if before is None:
        return
    changed = DataManifest.of(Path(config.data_path), tiles).changed_since(before)
    if changed:
        raise ConfigError(
            f"{config.path}: resume_from={config.resume_from} was predicted from other contents of "
            f"{changed[0]} ({len(changed)} changed in {config.data_path}); leave resume_from out"
        )
