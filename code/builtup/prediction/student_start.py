"""Where a student begins: at the very network that made its labels.

A teacher that was adapted to the scenes maps them by statistics of its normalisation that are not
those of its weights' file. A student that began without them would have to learn them first, and
in batches of crops it would learn others: so it takes the mean of those of all scenes, and keeps
them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from builtup.models.batch_statistics import Moments, norm_layers, with_statistics
from builtup.prediction.adapt import Adapted

__all__ = ["student_start"]


def student_start(network: nn.Module, adapted: str = "") -> nn.Module:
    """The network with the statistics that it was adapted by, which training leaves as they are.

    `adapted` is the folder of that name below a prediction's; without one, or where no scene was
    adapted to, the network keeps its own. A network without batch normalisation is given back as it
    is. Raises InputError where a file of the folder cannot be read.
    """
    joined: dict[str, Moments] = {}
    for path in sorted(Path(adapted).glob("*.safetensors")) if adapted else ():
        for name, moments in Adapted.read(path).moments.items():
            joined[name] = joined[name].joined(moments) if name in joined else moments
    if joined:
        network = with_statistics(network, joined)
    if norm_layers(network):
        network.register_forward_pre_hook(_hold)
    return network


def _hold(network: nn.Module, inputs: Any) -> None:
    """Let the layers normalise by what they hold, whatever mode the network is in."""
    for layer in norm_layers(network).values():
        if layer.training:  # an exported program is of a network that is not
            layer.eval()
