"""A recipe is made ready once for tiles and scenes: what is chosen, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from builtup.errors import BuiltupError, ConfigError
from builtup.jobs import executors
from builtup.prediction.recipe import Loaded, Recipe, load, load_for_jobs, ready
from builtup.training.checkpoints import load_trained
from tiny_model import SINGLE_PIXELS, write_trained


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_trained(tmp_path_factory.mktemp("recipe") / "trained", SINGLE_PIXELS)


def made(trained: Path, **settings: Any) -> Loaded:
    return load(Recipe(str(trained), window=32, overlap=8, device="cpu", **settings))


def test_the_threshold_is_the_model_s_own_unless_one_is_given(trained: Path) -> None:
    assert made(trained).threshold == made(trained).model_threshold == 0.4
    given = made(trained, threshold="0.25")
    assert (given.threshold, given.model_threshold) == (0.25, 0.4)


def test_a_stride_takes_the_place_of_the_overlap(trained: Path) -> None:
    stream = made(trained, stride=3, blend="gaussian").stream
    assert (stream.window, stream.overlap, stream.blend) == (32, 22, "gaussian")
    assert made(trained, stride=3).record().overlap == 22


def test_a_temperature_moves_the_model_s_threshold_and_not_one_that_is_given(
    trained: Path,
) -> None:
    tempered = made(trained, temperature="2", threshold="0.25")
    assert tempered.temperature == 2
    assert tempered.model_threshold == pytest.approx(1 / (1 + (0.6 / 0.4) ** 0.5))
    assert tempered.threshold == 0.25


def test_the_temperature_of_the_run_is_taken_by_name(trained: Path) -> None:
    summary = trained / "summary.json"
    text = summary.read_text()
    try:
        summary.write_text(json.dumps({"threshold": 0.4, "temperature": 1.5}))
        own = ready(Recipe("x", temperature="run", device="cpu"), load_trained(trained))
    finally:
        summary.write_text(text)
    assert own.temperature == 1.5
    with pytest.raises(ConfigError, match=r"temperature=run: the training run .* has none; take"):
        made(trained, temperature="run", tta="d4")


def test_the_record_says_what_the_pixels_depend_on(trained: Path) -> None:
    record = made(trained, tta="hflip", blend="mean").record("38SLF_Alpha")
    assert (record.tta, record.window, record.overlap, record.blend) == ("hflip", 32, 8, "mean")
    assert (record.held_out, record.backend, record.temperature) == ("38SLF_Alpha", "torch", None)
    assert record.classes == ("background", "building")
    assert len(record.weights) == 64


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": "warm"}, "temperature=warm: expected run or a number above 0"),
        ({"temperature": "inf"}, "temperature=inf"),
        ({"threshold": "0"}, "threshold=0: out of range"),
        ({"backend": "torch-compile"}, "unknown; use torch, openvino, openvino-int8, auto"),
        ({"decoders": -1}, "decoders=-1: must be at least 0"),
        ({"stride": 0}, "stride=0: windows of 32 pixels .* use a number from 1 to 32"),
        ({"stride": 33}, "stride=33"),
        ({"blend": "bell"}, "blend='bell': unknown; use one of ramp, mean, gaussian"),
    ],
)
def test_settings_without_sense_are_named(
    trained: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        made(trained, **settings)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("torch.nn.Conv2d(4, 2, 1)", "takes 4 bands, not VH and VV"),
        ("torch.nn.Conv2d(3, 1, 1)", "not logits of each class"),
        ("torch.nn.Conv2d(3, 5, 1)", r"gives 5 classes, and its run names 2 \(background, build"),
    ],
)
def test_a_network_of_other_bands_or_classes_is_refused(
    tmp_path: Path, network: str, message: str
) -> None:
    other = write_trained(tmp_path / "other", network)
    with pytest.raises(BuiltupError, match=message):
        made(other)


@pytest.mark.parametrize(
    ("layer", "settings", "follows"),
    [
        ("torch.nn.BatchNorm2d(3)", {}, True),
        ("torch.nn.BatchNorm2d(3)", {"adapt": "none"}, True),
        ("torch.nn.GroupNorm(1, 3)", {}, False),
        ("torch.nn.GroupNorm(1, 3)", {"adapt": "none"}, False),
    ],
)
def test_thresholds_follow_shares_only_where_far_ground_can_be_told(
    tmp_path: Path, layer: str, settings: dict[str, str], follows: bool
) -> None:
    network = f"torch.nn.Sequential({layer}, torch.nn.Conv2d(3, 2, 1))"
    folder = write_trained(tmp_path / "trained", network)
    summary = json.loads((folder / "summary.json").read_text()) | {"share": 0.2}
    (folder / "summary.json").write_text(json.dumps(summary))
    assert made(folder, **settings).share == (0.2 if follows else None)
    eight = replace(made(folder, **settings), recipe=Recipe(backend="openvino-int8", **settings))
    assert eight.share == (0.2 if follows and settings else None)


def test_by_default_networks_of_images_stay_as_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where they were tried, what their normalisation took from the scene cost them."""
    network = "torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.Conv2d(3, 2, 1))"
    images = write_trained(tmp_path / "images", network, channels="rgb")
    with caplog.at_level("INFO"):
        assert not made(images).adapt.is_on
    assert "adapt=auto: a network of images stays as it is" in caplog.text
    assert made(images, adapt="scene").adapt.mode == "scene"
    radar = write_trained(tmp_path / "radar", network)
    caplog.clear()
    assert made(radar).adapt.mode == "auto"
    assert "stays as it is" not in caplog.text
    as_file: Any = SimpleNamespace(adapt="none")  # what a file of weights says of its network
    with caplog.at_level("INFO"):
        ready(Recipe("x", device="cpu"), replace(load_trained(radar), description=as_file))
    assert "adapt=auto: the network, as its file says, stays as it is" in caplog.text


class Cluster:
    """Machines elsewhere."""

    remote = True


def test_workers_are_told_what_was_settled_here(trained: Path) -> None:
    recipe = Recipe(str(trained), window=32, overlap=8, backend="auto")
    with executors.using(Cluster()):  # type: ignore[arg-type]
        assert load_for_jobs(recipe).recipe.backend == "torch"
        assert load_for_jobs(recipe).device == "auto"
