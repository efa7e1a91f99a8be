"""Writing a trained network and its description into one file (`builtup.runs.model_file`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from builtup.errors import ConfigError
from builtup.jobs.files import atomic_path
from builtup.models.described import build_described, describe_network
from builtup.models.segmenter import Segmenter
from builtup.runs.lineage import Training
from builtup.runs.model_file import ModelDescription
from builtup.training.checkpoints import load_trained, set_weights, weights_digest

__all__ = ["write_model_file"]

#: Settings of a training that say where and with what it ran, and nothing of what it learnt.
_OF_MACHINE = {"data_path", "device", "num_workers", "resume_from", "register"}


def write_model_file(
    run_id: str | Path,
    path: Path,
    *,
    trained_on: str,
    name: str = "",
    threshold_rule: str = "fixed",
    adapt: str = "auto",
) -> ModelDescription:
    """Write the best weights of a training to `path`, whole or not at all; what it says of them.

    `trained_on` says in words what the network learnt from; `name` is the file's by default. Raises
    ConfigError for a network that cannot be described without its config, and for one that has
    learnt from real ground: a file names no ground, and scores on it would not be marked. RunError
    or InputError as `load_trained`.
    """
    trained = load_trained(run_id)
    model = trained.model
    network = describe_network(model)
    if not trained.simulated or not isinstance(model, Segmenter):
        raise ConfigError(
            f"training run {trained.run_id}: has learnt from other than simulated ground, which "
            "a model file does not name; predict with the run itself"
        )
    summary = Training.named(str(run_id)).summary
    weights: dict[str, Tensor] = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    channels = model.channels.describe()
    set_weights(build_described(channels, network), weights, path)  # what is written can be read
    said = ModelDescription(
        name=name or path.stem,
        channels=channels,
        network=network,
        classes=trained.classes.names,
        threshold=trained.threshold,
        weights=weights_digest(weights),
        threshold_rule=threshold_rule,
        temperature=trained.temperature,
        adapt=adapt,
        trained_on=trained_on,
        simulated=trained.simulated,
        texture=trained.texture,
        share=trained.share,
        seed=None if summary is None else summary.seed,
        git_commit=("" if summary is None else summary.git_commit) or "",
        settings=_plain(trained.settings),
    )
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(weights, said.header()))
    return said


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as JSON values."""
    plain = {key: value for key, value in settings.items() if key not in _OF_MACHINE}
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in sorted(plain.items())
    }
