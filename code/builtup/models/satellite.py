"""Encoders pretrained on satellite radar: weights by name, into segmentation_models_pytorch's.

The files are those that TorchGeo (https://github.com/torchgeo/torchgeo) publishes, fetched by
huggingface_hub at a fixed revision and read as tensors only. TorchGeo itself is not needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from builtup.errors import BuiltupError, ConfigError
from builtup.jobs.digests import sha256_of
from builtup.models.weights import fetch

__all__ = ["SATELLITE_WEIGHTS", "SatelliteWeights", "load_encoder", "satellite_weights"]


@dataclass(frozen=True)
class SatelliteWeights:
    """A file of an encoder's weights, and the channels that it was trained on.

    `sha256` is how the file's digest begins.
    """

    repository: str
    file: str
    revision: str
    sha256: str
    encoder: str
    channel_set: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


#: Wang et al., SSL4EO-S12, IEEE GRSM 2023 (arXiv:2211.07044): Sentinel-1 GRD, MoCo v2. CC-BY-4.0.
SATELLITE_WEIGHTS = {
    "ssl4eo-s12-moco": SatelliteWeights(
        repository="torchgeo/resnet50_sentinel1_all_moco",
        file="resnet50_sentinel1_all_moco-906e4356.pth",
        revision="e79862c667853c10a709bdd77ea8ffbad0e0f1cf",
        sha256="906e4356",
        encoder="resnet50",
        channel_set="db_2b",
        mean=(-12.59, -20.26),
        std=(5.26, 5.91),
    )
}


def satellite_weights(name: str, encoder: str, in_channels: int) -> SatelliteWeights:
    """The entry of that name; ConfigError where it is unknown or of another encoder or input."""
    known = SATELLITE_WEIGHTS.get(name)
    if known is None:
        raise ConfigError(
            f"pretrained = {name!r}: unknown; use true (ImageNet), false or one of "
            f"{', '.join(SATELLITE_WEIGHTS)}"
        )
    if encoder != known.encoder or in_channels != len(known.mean):
        raise ConfigError(
            f"pretrained = {name!r}: weights of {known.encoder} with {len(known.mean)} channels, "
            f"not of {encoder} with {in_channels}; set encoder = {known.encoder!r} and "
            f"channel_set = {known.channel_set!r}"
        )
    return known


def load_encoder(encoder: nn.Module, weights: SatelliteWeights) -> None:
    """Fetch the file (or take it from the cache) and put it into an encoder.

    Raises BuiltupError, in one line, where it cannot be fetched or does not fit.
    """
    state = fetch(weights.file, lambda: _read(_download(weights), weights))
    set_encoder(encoder, state, weights.file)


def set_encoder(encoder: nn.Module, state: Mapping[str, Any], name: str) -> None:
    """Load a classifier's weights but its head; BuiltupError where anything else does not fit."""
    body = {key: value for key, value in state.items() if not key.startswith("fc.")}
    own = encoder.state_dict()
    # older files lack the counters of batches
    body |= {k: v for k, v in own.items() if k.endswith("num_batches_tracked") and k not in body}
    wrong = [
        key
        for key in sorted(own.keys() | body.keys())
        if key not in own or key not in body or body[key].shape != own[key].shape
    ]
    if wrong:
        raise BuiltupError(
            f"pretrained weights {name}: do not fit the encoder ({len(wrong)} of {len(own)} "
            f"tensors, first {wrong[0]}); set pretrained = False in the config"
        )
    nn.Module.load_state_dict(encoder, body)


def _download(weights: SatelliteWeights) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(
        hf_hub_download(weights.repository, filename=weights.file, revision=weights.revision)
    )


def _read(path: Path, weights: SatelliteWeights) -> dict[str, Tensor]:
    if not sha256_of(path).startswith(weights.sha256):
        raise ValueError(f"{path} is damaged: another sha256 than {weights.sha256}…")
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state
