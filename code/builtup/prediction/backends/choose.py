"""Which backend runs a network: the one that was asked for, or the fastest that agrees."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from builtup.errors import BuiltupError, ConfigError
from builtup.jobs.files import write_text_atomically
from builtup.prediction.backends import BACKENDS
from builtup.prediction.backends.openvino import (
    Compiled,
    cache_folder,
    check_power,
    compiled,
    network_digest,
    read_network,
    require_openvino,
)
from builtup.prediction.backends.probabilities import ByTorch, Probabilities

__all__ = ["Task", "choose_backend"]

log = logging.getLogger(__name__)

Run = Callable[[Tensor], Tensor]
#: `auto` times the backends in turn, this often at least and at most, for about this long.
ROUNDS, MOST_ROUNDS, SECONDS = 2, 20, 1.0


@dataclass(frozen=True)
class Task:
    """A network to be run by windows; `half`: in half precision, on CUDA.

    `quantised` is the folder of its 8-bit version (see `builtup.prediction.backends.int8`).
    """

    network: Probabilities
    window: int
    device: torch.device
    half: bool = False
    quantised: Path | None = None

    @property
    def by_torch(self) -> ByTorch:
        """PyTorch as it is."""
        return ByTorch(self.network, self.device, self.half)


def choose_backend(backend: str, task: Task) -> tuple[str, Run]:
    """What `backend` means for this network, here, and what maps power to probabilities by it.

    `auto` is settled once for a network, a window and a number of threads, and remembered: a run
    that goes on after it was killed takes the same. Raises ConfigError for an unknown name, where
    OpenVINO is asked for on another device than the CPU or is not installed, and where the network
    cannot be converted; BuiltupError where it does not agree.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"backend = {backend!r}: unknown; use {', '.join(BACKENDS)}")
    if backend.startswith("openvino"):
        if task.device.type != "cpu":
            raise ConfigError(f"backend={backend}: runs on the CPU; set device=cpu")
        require_openvino()
    if backend == "auto":
        backend = _settled(task)
    return backend, _runner(backend, task)


def _settled(task: Task) -> str:
    """What `auto` means: the faster of PyTorch and, on a CPU, OpenVINO."""
    if task.device.type != "cpu":
        log.info("backend=auto: torch (the device is %s)", task.device)
        return "torch"
    try:
        require_openvino()
    except ConfigError:
        log.info("backend=auto: torch (OpenVINO is not installed)")
        return "torch"
    return _fastest(task, "openvino", {"threads": torch.get_num_threads()})


def _runner(backend: str, task: Task) -> Run:
    if backend == "torch":
        return task.by_torch
    if backend == "openvino":
        return compiled(task.network, task.window)
    if task.quantised is None:
        raise ConfigError(
            "backend=openvino-int8: no 8-bit network is given; it needs a training run and its "
            "tiles (see builtup.prediction.backends.int8), or use backend=openvino"
        )
    network, window = read_network(task.quantised), task.window
    shape = (1, task.network.inputs, window, window)
    if network is None or tuple(network.input(0).shape) != shape:
        raise ConfigError(f"backend=openvino-int8: {task.quantised} holds no network for {window=}")
    return Compiled(network)


def _fastest(task: Task, other: str, depends: dict[str, Any]) -> str:
    """`torch` or `other`, as it was found before or by a race; `torch` where `other` fails."""
    digest = network_digest(task.network, task.window, **depends)
    memory = cache_folder() / f"auto-{digest}.json"
    if memory.is_file():
        try:
            known = json.loads(memory.read_text(encoding="utf-8"))
            log.info("backend=auto: %s (%s)", known["backend"], known["why"])
            return str(known["backend"])
        except (OSError, ValueError, KeyError):
            log.warning("%s: cannot be read, made again", memory)
    try:
        backend, why = _race(task, other, _runner(other, task))
    except BuiltupError as e:
        backend, why = "torch", str(e)
    log.info("backend=auto: %s (%s)", backend, why)
    try:
        write_text_atomically(memory, json.dumps({"backend": backend, "why": why}) + "\n")
    except BuiltupError as e:
        log.warning("not remembered: %s", e)
    return backend


@torch.inference_mode()
def _race(task: Task, name: str, run: Run) -> tuple[str, str]:
    """The faster of PyTorch and the other on one window, and by how much."""
    power = check_power(task.window, task.network).to(task.device)
    best = {"torch": float("inf"), name: float("inf")}
    begun = time.perf_counter()
    for done in range(MOST_ROUNDS):
        if done >= ROUNDS and time.perf_counter() - begun > SECONDS:
            break
        for side, call in (("torch", task.by_torch), (name, run)):
            started = time.perf_counter()
            call(power)
            best[side] = min(best[side], time.perf_counter() - started)
    winner, loser = sorted(best, key=lambda side: best[side])
    times = best[loser] / best[winner]
    return winner, f"{times:.2f} times as fast as {loser} on one window"
