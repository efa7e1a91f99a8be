"""Which inference is gone on with, and what must be the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from builtup.errors import ConfigError, RunError
from builtup.prediction.earlier_run import find_earlier, require_same, require_same_data
from builtup.runs.manifest import DataManifest
from builtup.runs.records import InferenceRecord
from builtup.tiles.tile import read_tiles
from tile_data import add_scene, tile_all


def config(**settings: Any) -> Any:
    return SimpleNamespace(path=Path("test_x.py"), **settings)


def record() -> InferenceRecord:
    return InferenceRecord(training_run="r", weights="w", classes=("a", "b"), tta="none")


def test_nothing_is_gone_on_with_where_nothing_is_named() -> None:
    assert find_earlier(config(resume_from="")) is None


def test_a_folder_without_a_record_is_no_inference(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no inference\.json can be read in .*give an inference"):
        find_earlier(config(resume_from=str(tmp_path)))
    record().write(tmp_path)
    found = find_earlier(config(resume_from=str(tmp_path)))
    assert found is not None and found.record == record() and found.folder == tmp_path


def test_other_pixels_are_refused_by_what_differs() -> None:
    require_same(config(resume_from="r1"), record(), record())
    other = replace(record(), tta="d4")
    with pytest.raises(ConfigError, match=r"resume_from=r1 was predicted with tta='none', not"):
        require_same(config(resume_from="r1"), record(), other)


def test_data_that_changed_since_are_refused_by_name(tmp_path: Path) -> None:
    add_scene(tmp_path)
    folder = tile_all(tmp_path) / "images"
    tiles = read_tiles(folder / "tiles.csv")
    own = config(resume_from="r1", data_path=str(folder))
    require_same_data(own, tmp_path, tiles)  # there is no manifest to compare with
    DataManifest.of(folder, tiles).write(tmp_path)
    require_same_data(own, tmp_path, tiles)
    add_scene(tmp_path, shape=(71, 90))
    tile_all(tmp_path)
    with pytest.raises(ConfigError, match="predicted from other contents of"):
        require_same_data(own, tmp_path, read_tiles(folder / "tiles.csv"))
