"""OpenVINO on the CPU: a network converted once, kept in a cache, compared with PyTorch at start.

The converted graph holds everything from power to probabilities: channel transform, network and
softmax. Its input is one window of fixed size, so that memory does not follow the batch; the
windows of a batch go through one after the other, or side by side where there are many cores.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import logging
import os
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from builtup.errors import BuiltupError, ConfigError, OutputError, one_line
from builtup.jobs.files import atomic_directory, user_cache
from builtup.models.segmenter import Segmenter
from builtup.prediction.backends.probabilities import Probabilities
from builtup.sensors.radar.bands import NODATA_POWER
from builtup.training.checkpoints import weights_digest
from builtup.training.export import example_bands

__all__ = [
    "Compiled",
    "cache_folder",
    "check_power",
    "compiled",
    "convert",
    "network_digest",
    "one_core",
    "openvino_model",
    "read_network",
    "require_openvino",
    "save_network",
]

log = logging.getLogger(__name__)

#: Raised when a conversion gives something else from the same network.
VERSION = 1
#: Threads that one window can keep busy.
THREADS_OF_WINDOW = 4
#: Probabilities may differ from PyTorch's by half of an 8-bit unit.
AGREEMENT = 0.5 / 254
MODEL = "model.xml"


def require_openvino() -> Any:
    """The module openvino; ConfigError where it is not installed."""
    # it reports its use over the network unless told not to; this tool's user has not been asked
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as e:
        raise ConfigError(
            "backend=openvino: OpenVINO is not installed; pip install '.[openvino]' "
            "(or: pip install openvino nncf), or use backend=torch"
        ) from e
    return openvino


@contextlib.contextmanager
def one_core() -> Iterator[Any]:
    """The core of this process, which whoever asks openvino for one gets meanwhile as well.

    On CPUs with AMX a core gives its thread another stack for signals, and puts the earlier one
    back when it goes. Where two go in the order in which they came, that earlier one is freed
    memory, and the next signal (a child that ends, SIGTERM) is a segmentation fault.
    """
    openvino = require_openvino()
    kind, core = openvino.Core, _core(os.getpid())
    openvino.Core = lambda *_: core
    try:
        yield core
    finally:
        openvino.Core = kind


@cache
def _core(process: int) -> Any:
    """The core of `process`: a forked one has none of its parent's threads."""
    return require_openvino().Core()


class Compiled:
    """Probabilities from power, as `Probabilities` gives them, by a network of OpenVINO's."""

    def __init__(self, network: Any, threads: int | None = None) -> None:
        ov = require_openvino()
        threads = torch.get_num_threads() if threads is None else threads
        self.streams = max(1, threads // THREADS_OF_WINDOW)
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",  # some CPUs would take bfloat16
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": self.streams,
        }
        self.window = int(network.input(0).shape[-1])
        self._shape = tuple(network.output(0).shape)[1:]
        self._tensor = ov.Tensor
        with one_core() as core:
            self._requests = ov.AsyncInferQueue(core.compile_model(network, "CPU", settings))

    def __call__(self, power: Tensor) -> Tensor:
        """Probabilities (B, bands, window, window) of power (B, inputs, window, window)."""
        # comparisons with NaN are PyTorch's own; any value that means no-data does the same
        marked = torch.nan_to_num(power, NODATA_POWER, NODATA_POWER, NODATA_POWER)
        windows = marked.contiguous().numpy()  # lent to the requests, so it must outlive them
        probabilities = np.empty((len(windows), *self._shape), np.float32)

        def keep(request: Any, index: int) -> None:
            probabilities[index] = request.get_output_tensor(0).data[0]

        self._requests.set_callback(keep)
        for i in range(len(windows)):
            lent = self._tensor(windows[i : i + 1], shared_memory=True)
            self._requests.start_async({0: lent}, i)
        self._requests.wait_all()
        return torch.from_numpy(probabilities)


def compiled(network: Probabilities, window: int) -> Compiled:
    """The network in float32, from the cache where it is known; compared with PyTorch.

    Raises ConfigError where it cannot be converted, BuiltupError where it does not agree.
    """
    result = Compiled(openvino_model(network, window))
    difference = _largest_difference(network, result)
    if not difference <= AGREEMENT:
        raise BuiltupError(
            f"backend=openvino: probabilities differ from PyTorch's by {difference:.2g} "
            f"(at most {AGREEMENT:.2g}); use backend=torch"
        )
    log.info("openvino: agrees with torch, largest difference %.1e", difference)
    return result


@torch.inference_mode()
def _largest_difference(network: Probabilities, other: Compiled) -> float:
    """Of probabilities on `check_power`, absolute; infinite where one is NaN."""
    power = check_power(other.window, network)
    largest = (other(power) - network(power)).abs().max()
    return float(largest) if torch.isfinite(largest) else float("inf")


def check_power(window: int, network: Probabilities) -> Tensor:
    """Values (1, inputs, window, window) to compare on, as its sensor has them: speckle, a town,
    both kinds of gap."""
    power = example_bands(1, network.inputs, window, window, network.sensor)
    power[..., window - window // 16 :, :] = torch.nan
    return power


def openvino_model(network: Probabilities, window: int) -> Any:
    """The converted network in float32, from the cache or put there."""
    require_openvino()
    folder = cache_folder() / network_digest(network, window)
    model = read_network(folder)
    if model is None:
        log.info("openvino: converting the network, kept in %s", folder)
        model = convert(network, window)
        save_network(model, folder)
    return model


def convert(network: Probabilities, window: int) -> Any:
    """Convert for input (1, inputs, window, window); ConfigError where that cannot be done."""
    ov = require_openvino()
    if not isinstance(network.model, Segmenter):
        raise ConfigError(
            f"backend=openvino: {type(network.model).__name__} is no Segmenter; use backend=torch"
        )
    own = copy.deepcopy(network).cpu().float().eval()
    try:
        with torch.no_grad():
            program = torch.export.export(own, (check_power(window, network),))
        model = ov.convert_model(program)
        model.reshape([1, network.inputs, window, window])
    except Exception as e:  # torch.export and OpenVINO raise what they like; all mean the same
        raise ConfigError(
            f"backend=openvino: {type(network.model.network).__name__} cannot be converted "
            f"({one_line(e, 200)}); use backend=torch"
        ) from e
    return model


# --- the cache ------------------------------------------------------------------------------------
# `builtup/openvino/<digest>/` in the user's cache holds model.xml and model.bin and what else
# belongs to them. Folders appear whole; any may be deleted at any time, and is made again.


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


def read_network(folder: Path) -> Any | None:
    """The network that a folder of the cache holds; None where there is none, or it is broken."""
    file = folder / MODEL
    if not file.is_file():
        return None
    try:
        with one_core() as core:
            return core.read_model(file)
    except RuntimeError as e:
        log.warning("%s: cannot be read (%s), made again", file, one_line(e, 100))
        return None


def save_network(network: Any, folder: Path, **texts: str) -> None:
    """Put a network into the cache, with text files beside it; a full disk is only a warning."""
    ov = require_openvino()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with atomic_directory(folder) as draft:
            ov.save_model(network, draft / MODEL, compress_to_fp16=False)
            for name, text in texts.items():
                (draft / f"{name}.json").write_text(text, encoding="utf-8")
    except (OSError, OutputError, RuntimeError) as e:
        log.warning("%s: not kept for the next time (%s)", folder, e)
