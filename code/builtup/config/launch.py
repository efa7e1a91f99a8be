"""Running a script with a config in one or several processes, through ignite.distributed.

On one machine the processes are started here. Over several, each node starts its own, and finds the
others by MASTER_ADDR, MASTER_PORT and NODE_RANK; or torchrun starts them all, and says to each in
further variables (RANK, WORLD_SIZE, …) which it is.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import pickle
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import ignite.distributed as idist
import torch
from torch.multiprocessing.spawn import ProcessException

from builtup import logs
from builtup.config.device import pick_device
from builtup.config.load import Config, load
from builtup.config.shipped import found
from builtup.errors import BuiltupError, ConfigError, InputError
from builtup.jobs.allocator import keep_freed_memory

__all__ = ["is_started_by_torchrun", "load_script", "run_script"]

log = logging.getLogger(__name__)

Run = Callable[[Config], None]


@dataclass(frozen=True)
class _Node:
    """Which of `count` machines this is, and where the first one listens."""

    count: int
    rank: int
    address: str
    port: int


def run_script(
    script_path: Path, config_path: Path, num_gpus: int = 1, overrides: str = "", nodes: int = 1
) -> None:
    """Run a script's `run(config)` in `num_gpus` processes (on a CPU too) on each of `nodes`.

    Of several processes each loads the config for itself. With several nodes the same call is made
    on each, with MASTER_ADDR, MASTER_PORT and NODE_RANK set. A process that torchrun started joins
    the others instead. A BuiltupError of any process of this node is raised here as itself; the
    others are ended.
    """
    config = load(config_path, overrides)
    script_path = found(script_path)
    run = load_script(script_path)
    if is_started_by_torchrun():
        _join(run, config, num_gpus * nodes)
        return
    node = _this_node(nodes)
    config.num_processes = num_gpus * nodes
    device = pick_device(config.get("device", "auto"), config.path)
    if config.num_processes == 1:
        run(config)
        return
    if device.type == "cuda" and num_gpus > torch.cuda.device_count():
        raise ConfigError(
            f"num_gpus={num_gpus}: this machine has {torch.cuda.device_count()}; "
            "ask for fewer, or set device=cpu"
        )
    with TemporaryDirectory(prefix="builtup_") as folder:
        try:
            idist.spawn(
                "nccl" if device.type == "cuda" else "gloo",
                _worker,
                (str(script_path), str(config_path), overrides, config.num_processes, folder),
                nproc_per_node=num_gpus,
                nnodes=node.count,
                node_rank=node.rank,
                master_addr=node.address,
                master_port=node.port,
            )
        except ProcessException as e:
            error = _first_error(Path(folder))
            if error is None:
                raise
            raise error from e


def is_started_by_torchrun() -> bool:
    """Whether the environment names this process's place among others."""
    return {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()


def _this_node(nodes: int) -> _Node:
    """This machine's place; ConfigError where the environment does not tell it."""
    if nodes == 1:
        return _Node(1, 0, "127.0.0.1", _free_port())
    known = {name: os.environ.get(name, "") for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")}
    missing = [name for name, value in known.items() if not value]
    if missing:
        raise ConfigError(
            f"nodes={nodes}: {', '.join(missing)} not set; export MASTER_ADDR and MASTER_PORT "
            "(of the first node) and NODE_RANK (0 on the first node) on each, or use torchrun"
        )
    if not (known["MASTER_PORT"].isdigit() and known["NODE_RANK"].isdigit()):
        raise ConfigError(
            f"MASTER_PORT={known['MASTER_PORT']} NODE_RANK={known['NODE_RANK']}: give numbers"
        )
    if int(known["NODE_RANK"]) >= nodes:
        raise ConfigError(
            f"NODE_RANK={known['NODE_RANK']}: of {nodes} nodes the first is 0, "
            f"the last {nodes - 1}; correct it or nodes"
        )
    return _Node(nodes, int(known["NODE_RANK"]), known["MASTER_ADDR"], int(known["MASTER_PORT"]))


def _join(run: Run, config: Config, num_processes: int) -> None:
    world, local = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_RANK"])
    if num_processes not in {1, world}:
        raise ConfigError(
            f"num_gpus times nodes is {num_processes}: torchrun has started {world} processes; "
            "leave both out, and choose by --nproc_per_node and --nnodes"
        )
    config.num_processes = world
    device = pick_device(config.get("device", "auto"), config.path)
    if device.type == "cuda" and local >= torch.cuda.device_count():
        raise ConfigError(
            f"nproc_per_node: this machine has {torch.cuda.device_count()} GPUs for "
            f"{os.environ.get('LOCAL_WORLD_SIZE', world)} processes; ask for fewer, "
            "or set device=cpu"
        )
    if int(os.environ["RANK"]) > 0:
        logs.set_up(logging.ERROR)
    idist.initialize("nccl" if device.type == "cuda" else "gloo")
    run(config)
    idist.finalize()  # after an error the others could not answer


def load_script(path: Path) -> Run:
    """The `run` function of a Python file; InputError where there is none."""
    if not path.is_file():
        raise InputError(path, "no such script", "check script_path")
    spec = importlib.util.spec_from_file_location(f"builtup_script_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(path, "is not Python", "give a .py file as script_path")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickling look their module up
    spec.loader.exec_module(module)
    run = getattr(module, "run", None)
    if run is None:
        raise InputError(path, "has no function run(config)", "define it, or check script_path")
    return run


def _worker(
    rank: int, script: str, config_path: str, overrides: str, num_processes: int, folder: str
) -> None:
    logs.set_up(logging.INFO if idist.get_rank() == 0 else logging.ERROR)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // idist.get_nproc_per_node()))
    keep_freed_memory()
    try:
        config = load(Path(config_path), overrides)
        config.num_processes = num_processes
        load_script(Path(script))(config)
    except BuiltupError as e:
        Path(folder, f"{rank}.error").write_bytes(pickle.dumps(e))
        raise


def _first_error(folder: Path) -> BuiltupError | None:
    """The error that ended one of the processes first, by rank (files that we wrote ourselves)."""
    for file in sorted(folder.glob("*.error")):
        error = pickle.loads(file.read_bytes())
        if isinstance(error, BuiltupError):
            return error
    return None


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
