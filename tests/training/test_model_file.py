"""A training's network as one file, and read from it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from builtup.errors import ConfigError, InputError
from builtup.runs.manifest import DataManifest
from builtup.runs.model_file import SHIPPED_FILE
from builtup.training.checkpoints import load_state, load_trained, weights_digest
from builtup.training.model_file import write_model_file
from tiny_model import SMALL_UNET, write_trained


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    folder = write_trained(tmp_path / "trained", SMALL_UNET)
    DataManifest(folder="nowhere", simulated=True).write(folder)
    return folder


def test_the_file_predicts_what_the_training_does(trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    said = write_model_file(trained, path, trained_on="a town")
    own, run = load_trained(path), load_trained(trained)
    power = torch.rand(1, 2, 40, 50)
    with torch.no_grad():
        assert torch.equal(own.model(power), run.model(power))
    assert own.description == said
    assert (own.threshold, own.run_id, own.simulated) == (0.4, str(path), True)
    assert own.classes.names == ("background", "building")
    assert said.weights == weights_digest(run.model.state_dict())
    assert "data_path" not in said.settings and said.settings["num_classes"] == 2
    first = path.read_bytes()
    write_model_file(trained, path, trained_on="a town")
    assert path.read_bytes() == first


def test_damaged_weights_are_refused(trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    write_model_file(trained, path, trained_on="a town")
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="its weights are damaged; copy it again"):
        load_trained(path)
    path.write_bytes(content[:-100])
    with pytest.raises(InputError, match="is no safetensors file"):
        load_trained(path)
    with pytest.raises(InputError, match="cannot be read as weights"):
        load_state(path)


def test_it_holds_one_set_of_weights(trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    write_model_file(trained, path, trained_on="a town")
    with pytest.raises(ConfigError, match=r"weights=last: .* holds one set of weights"):
        load_trained(path, "last")


def test_a_network_that_has_seen_real_ground_is_refused(trained: Path, tmp_path: Path) -> None:
    (trained / DataManifest.NAME).unlink()
    with pytest.raises(ConfigError, match="other than simulated ground"):
        write_model_file(trained, tmp_path / "own.safetensors", trained_on="a town")
    assert not (tmp_path / "own.safetensors").exists()


def test_a_network_of_a_config_is_refused(tmp_path: Path) -> None:
    folder = write_trained(tmp_path / "other")
    with pytest.raises(ConfigError, match="Conv2d: cannot be described without its config"):
        write_model_file(folder, tmp_path / "own.safetensors", trained_on="a town")


def test_the_one_that_comes_along_is_small_and_whole() -> None:
    assert SHIPPED_FILE.stat().st_size <= 4_000_000
    trained = load_trained("shipped")
    said = trained.description
    assert said is not None and said.name == SHIPPED_FILE.stem
    assert trained.run_id == "shipped:radar_simulated"
    assert trained.simulated and 0 < trained.threshold < 1
    assert said.git_commit and said.seed is not None and "simulated" in said.trained_on
    assert weights_digest(trained.model.state_dict()) == said.weights
