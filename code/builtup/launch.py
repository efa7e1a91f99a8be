"""Running a script with a config in one or several processes, through ignite.distributed.

On one machine the processes are started here. Over several, torchrun starts them on each, and says
in environment variables (RANK, WORLD_SIZE, MASTER_ADDR, …) how they find each other.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import pickle
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import ignite.distributed as idist
import torch
from torch.multiprocessing.spawn import ProcessException

from builtup import config as configs
from builtup.config import Config
from builtup.errors import BuiltupError, ConfigError, InputError

__all__ = ["is_started_by_torchrun", "launch", "load_script", "pick_device"]

log = logging.getLogger(__name__)

Run = Callable[[Config], None]


def launch(script_path: Path, config: Config, num_processes: int, overrides: str = "") -> None:
    """Call the script's `run(config)`; of several processes each loads the config for itself.

    A process that torchrun started joins the others instead. A BuiltupError of any process is
    raised here as itself; the others are ended.
    """
    run = load_script(script_path)
    if is_started_by_torchrun():
        _join(run, config, num_processes)
        return
    config.num_processes = num_processes
    device = pick_device(config)
    if num_processes == 1:
        run(config)
        return
    if device.type == "cuda" and num_processes > torch.cuda.device_count():
        raise ConfigError(
            f"num_gpus={num_processes}: this machine has {torch.cuda.device_count()}; "
            "ask for fewer, or set device=cpu"
        )
    with TemporaryDirectory(prefix="builtup_") as folder:
        try:
            idist.spawn(
                "nccl" if device.type == "cuda" else "gloo",
                _worker,
                (str(script_path), str(config.path), overrides, num_processes, folder),
                nproc_per_node=num_processes,
                master_port=_free_port(),
            )
        except ProcessException as e:
            error = _first_error(Path(folder))
            if error is None:
                raise
            raise error from e


def is_started_by_torchrun() -> bool:
    """Whether the environment names this process's place among others."""
    return {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()


def _join(run: Run, config: Config, num_processes: int) -> None:
    world, local = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_RANK"])
    if num_processes not in {1, world}:
        raise ConfigError(
            f"num_gpus={num_processes}: torchrun has started {world} processes; "
            "leave num_gpus out, and choose by --nnodes and --nproc_per_node"
        )
    config.num_processes = world
    device = pick_device(config)
    if device.type == "cuda" and local >= torch.cuda.device_count():
        raise ConfigError(
            f"nproc_per_node: this machine has {torch.cuda.device_count()} GPUs for "
            f"{os.environ.get('LOCAL_WORLD_SIZE', world)} processes; ask for fewer, "
            "or set device=cpu"
        )
    if int(os.environ["RANK"]) > 0:
        logging.getLogger().setLevel(logging.ERROR)
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


def pick_device(config: Config) -> torch.device:
    """The device that the setting `device` names, for this process."""
    name = str(config.get("device", "auto"))
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as e:
        raise ConfigError(
            f"{config.path}: device = {name!r}: no such device; use auto, cpu or cuda"
        ) from e
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"{config.path}: device = {name!r}: no CUDA here; use auto or cpu")
    if device.type == "cuda" and idist.get_world_size() > 1:
        return torch.device("cuda", idist.get_local_rank())
    return device


def _worker(
    rank: int, script: str, config_path: str, overrides: str, num_processes: int, folder: str
) -> None:
    level = logging.INFO if rank == 0 else logging.ERROR
    logging.basicConfig(format="%(levelname)s: %(message)s", level=level, stream=sys.stderr)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // num_processes))
    try:
        config = configs.load(Path(config_path), overrides)
        config.num_processes = num_processes
        load_script(Path(script))(config)
    except BuiltupError as e:
        Path(folder, f"{rank}.error").write_bytes(pickle.dumps(e))
        raise


def _first_error(folder: Path) -> BuiltupError | None:
    """What the processes said before they ended (files that we wrote ourselves)."""
    for file in sorted(folder.glob("*.error")):
        error = pickle.loads(file.read_bytes())
        if isinstance(error, BuiltupError):
            return error
    return None


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
