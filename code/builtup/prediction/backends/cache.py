"""Converted networks in the user's cache folder, by the digest of what they were made from.

`builtup/openvino/<digest>/` holds model.xml and model.bin and what else belongs to them. Folders
appear whole; any may be deleted at any time, and is made again.
"""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from torch import nn

from builtup.jobs.files import user_cache
from builtup.prediction.backends.probabilities import Probabilities
from builtup.training.checkpoints import weights_digest

__all__ = ["cache_folder", "network_digest"]

#: Raised when a conversion gives something else from the same network.
VERSION = 1


def cache_folder() -> Path:
    """Where converted networks stand."""
    return user_cache() / "openvino"


def network_digest(network: Probabilities, window: int, **more: Any) -> str:
    """What a conversion depends on: modules, weights, window, versions and `more` (JSON values)."""
    parts = {
        "version": VERSION,
        "openvino": _version("openvino"),
        "torch": version("torch"),
        "modules": _described(network),
        "weights": weights_digest(network.state_dict()),
        "window": window,
        **more,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _version(package: str) -> str:
    """A package's version; nothing where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _described(network: nn.Module) -> str:
    """Modules by their full names, and as they print themselves."""
    types = sorted({f"{type(m).__module__}.{type(m).__qualname__}" for m in network.modules()})
    return f"{network!r} {' '.join(types)}"
