"""Which backend runs a network: the one that was asked for, or the fastest that agrees."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from builtup.errors import BuiltupError, ConfigError
from builtup.files import write_text_atomically
from builtup.inference.backends import BACKENDS
from builtup.inference.backends.cache import cache_folder, network_digest
from builtup.inference.backends.openvino import (
    Compiled,
    check_power,
    compiled,
    read_network,
    require_openvino,
)
from builtup.inference.backends.probabilities import Probabilities

__all__ = ["resolve_backend", "runner"]

log = logging.getLogger(__name__)

Run = Callable[[Tensor], Tensor]
#: `auto` times the backends in turn, this often at least and at most, for about this long.
ROUNDS, MOST_ROUNDS, SECONDS = 2, 20, 1.0


def resolve_backend(backend: str, network: Probabilities, window: int, device: torch.device) -> str:
    """`torch`, `openvino` or `openvino-int8`: what `backend` means for this network, here.

    `auto` is settled once for a network, a window and a number of threads, and remembered: a run
    that goes on after it was killed takes the same. Raises ConfigError for an unknown name, and
    where OpenVINO is asked for on another device than the CPU or is not installed.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"backend = {backend!r}: unknown; use {', '.join(BACKENDS)}")
    if backend.startswith("openvino"):
        if device.type != "cpu":
            raise ConfigError(f"backend={backend}: runs on the CPU; set device=cpu")
        require_openvino()
    if backend != "auto":
        return backend
    if device.type != "cpu":
        log.info("backend=auto: torch (the device is %s)", device)
        return "torch"
    try:
        require_openvino()
    except ConfigError:
        log.info("backend=auto: torch (OpenVINO is not installed)")
        return "torch"
    return _fastest(network, window)


def runner(backend: str, network: Probabilities, window: int, quantised: Path | None) -> Run:
    """What maps power to probabilities with an OpenVINO backend (`resolve_backend`'s answer)."""
    if backend == "openvino":
        return compiled(network, window)
    if quantised is None:
        raise ConfigError(
            "backend=openvino-int8: no 8-bit network is given; it needs a training run and its "
            "tiles (see builtup.inference.quantised), or use backend=openvino"
        )
    found = read_network(quantised)
    if found is None or tuple(found.input(0).shape) != (1, 2, window, window):
        raise ConfigError(f"backend=openvino-int8: {quantised} holds no network for {window=}")
    return Compiled(found)


def _fastest(network: Probabilities, window: int) -> str:
    threads = torch.get_num_threads()
    memory = cache_folder() / f"auto-{network_digest(network, window, threads=threads)}.json"
    if memory.is_file():
        try:
            known = json.loads(memory.read_text(encoding="utf-8"))
            log.info("backend=auto: %s (%s)", known["backend"], known["why"])
            return str(known["backend"])
        except (OSError, ValueError, KeyError):
            log.warning("%s: cannot be read, made again", memory)
    try:
        backend, why = _race(network, compiled(network, window))
    except BuiltupError as e:
        backend, why = "torch", str(e)
    log.info("backend=auto: %s (%s)", backend, why)
    try:
        write_text_atomically(memory, json.dumps({"backend": backend, "why": why}) + "\n")
    except BuiltupError as e:
        log.warning("not remembered: %s", e)
    return backend


@torch.inference_mode()
def _race(network: Probabilities, other: Compiled) -> tuple[str, str]:
    """The faster of PyTorch and `other` on one window, and by how much."""
    power = check_power(other.window)
    best = {"torch": float("inf"), "openvino": float("inf")}
    begun = time.perf_counter()
    for done in range(MOST_ROUNDS):
        if done >= ROUNDS and time.perf_counter() - begun > SECONDS:
            break
        for name, run in (("torch", network), ("openvino", other)):
            started = time.perf_counter()
            run(power)
            best[name] = min(best[name], time.perf_counter() - started)
    winner, loser = sorted(best, key=lambda name: best[name])
    return winner, f"{best[loser] / best[winner]:.2f} times as fast as {loser} on one window"
