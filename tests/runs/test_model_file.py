"""What a model that is one file says of itself, read from its header alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from builtup.errors import InputError
from builtup.runs.model_file import (
    SHIPPED_FILE,
    ModelDescription,
    find_model_file,
    model_file_name,
)

SAID = ModelDescription(
    name="small",
    channels={"set": "db_3b"},
    network={"name": "SmallUNet", "widths": [4, 8]},
    classes=("background", "building"),
    threshold=0.4,
    weights="0" * 64,
    trained_on="three towns",
    simulated=True,
    settings={"lr": 3e-3, "widths": [4, 8]},
)


def written(path: Path, header: dict[str, str]) -> Path:
    save_file({"w": np.zeros(2, np.float32)}, path, header)
    return path


def changed(**values: object) -> dict[str, str]:
    """A header in which values of the description were changed by hand."""
    header = json.loads(SAID.header()["builtup"])
    header["model"].update(values)
    return {"builtup": json.dumps(header)}


def test_what_was_said_is_read(tmp_path: Path) -> None:
    assert ModelDescription.read(written(tmp_path / "a.safetensors", SAID.header())) == SAID


def test_what_a_later_version_says_beyond_is_kept(tmp_path: Path) -> None:
    later = replace(SAID, extra={"looks": 3})
    assert ModelDescription.read(written(tmp_path / "a.safetensors", later.header())) == later


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ({}, "does not describe its model"),
        ({"builtup": "{"}, "its description is damaged"),
        ({"builtup": "[]"}, "its description is damaged"),
        ({"builtup": '{"version": 2, "model": {}}'}, "of version 2, where 1 is the latest"),
        (changed(threshold=0.41), "sha256 differs"),
        (replace(SAID, threshold=1.5).header(), "threshold or weights make no sense"),
        (replace(SAID, weights="abc").header(), "threshold or weights make no sense"),
        (replace(SAID, simulated=False).header(), "learnt from ground that it does not name"),
    ],
)
def test_what_is_damaged_is_one_line(tmp_path: Path, header: dict[str, str], problem: str) -> None:
    path = written(tmp_path / "a.safetensors", header)
    with pytest.raises(InputError, match=problem) as caught:
        ModelDescription.read(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no such thing", b"\xff" * 40])
def test_another_file_is_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is no safetensors file"):
        ModelDescription.read(path)
    with pytest.raises(InputError, match="does not exist"):
        ModelDescription.read(tmp_path / "b.safetensors")


def test_a_model_s_name_stands_for_a_file() -> None:
    for name in ("", "shipped", "shipped:radar_simulated", str(SHIPPED_FILE)):
        assert find_model_file(name) == SHIPPED_FILE
    assert model_file_name(SHIPPED_FILE) == "shipped:radar_simulated"
    own = Path("models/own.safetensors")
    assert find_model_file(own) == own
    assert find_model_file(model_file_name(own)) == own
    for name in ("0123abcd", "models:/a@champion", "runs/shipped", "weights/best.pt"):
        assert find_model_file(name) is None
    with pytest.raises(InputError, match="shipped:older: this version of builtup comes with"):
        find_model_file("shipped:older")
