"""Weights of scales: written, read, told apart, and refused where they make no sense."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from builtup.errors import BuiltupError, ConfigError, InputError
from builtup.runs.scale_weights import ScaleWeights

WEIGHTS = ScaleWeights(
    scales=(0.5, 1.0),
    classes=("background", "building"),
    weights=((0.25, 0.5), (0.75, 1.0)),
    network="ab12",
    tuned_on=("38SLF_Mosul",),
    pixels=1000,
    miou=0.4,
    plain_miou=0.35,
)


def test_what_is_written_is_read_from_the_folder_and_the_file(tmp_path: Path) -> None:
    WEIGHTS.write(tmp_path)
    assert ScaleWeights.named(str(tmp_path)) == WEIGHTS
    assert ScaleWeights.named(str(tmp_path / "scale_weights.json")) == WEIGHTS


def test_other_weights_have_another_digest() -> None:
    assert len(WEIGHTS.digest) == 12
    assert WEIGHTS.digest == replace(WEIGHTS, miou=0.5).digest
    others = [replace(WEIGHTS, scales=(0.25, 1.0)), replace(WEIGHTS, weights=((0.25, 0.5),) * 2)]
    assert len({WEIGHTS.digest, *(other.digest for other in others)}) == 3


def test_rows_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    WEIGHTS.write(tmp_path)
    path = tmp_path / "scale_weights.json"
    known = json.loads(path.read_text())
    path.write_text(json.dumps({**known, "weights": [[1, 2]]}))
    with pytest.raises(ConfigError, match="1 rows of weights for 2 scales and 2 classes; run casc"):
        ScaleWeights.named(str(tmp_path))
    path.write_text(json.dumps({**known, "weights": [["one"], [2]]}))
    with pytest.raises(InputError, match="malformed"):
        ScaleWeights.named(str(tmp_path))


def test_a_place_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no scale_weights\.json in it; fit its scales"):
        ScaleWeights.named(str(tmp_path))
    other = tmp_path / "other.json"
    other.write_text("{}")
    with pytest.raises(ConfigError, match=r"no scale_weights\.json"):
        ScaleWeights.named(str(other))
    with pytest.raises(BuiltupError):
        ScaleWeights.named("0123456789abcdef0123456789abcdef")
