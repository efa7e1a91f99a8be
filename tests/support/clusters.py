"""A Dask cluster of worker processes on this machine."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
from distributed import Nanny, Scheduler, SpecCluster

SETTINGS = {
    "distributed.scheduler.allowed-failures": 1,  # workers that a job may lose, and be done again
    "distributed.deploy.lost-worker-timeout": "5 minutes",  # to be there again, on a busy machine
}


@contextmanager
def a_cluster(*workers: dict[str, Any]) -> Iterator[SpecCluster]:
    options = {"host": "127.0.0.1", "port": 0, "dashboard": False, "dashboard_address": ":0"}
    spec = {
        name: {"cls": Nanny, "options": {"host": "127.0.0.1", "nthreads": 1, **worker}}
        for name, worker in enumerate(workers)
    }
    scheduler = {"cls": Scheduler, "options": options}
    with (
        dask.config.set(SETTINGS),
        SpecCluster(spec, scheduler, silence_logs="CRITICAL") as cluster,
    ):
        yield cluster


@contextmanager
def a_writer_killed(folder: Path) -> Iterator[None]:
    """SIGKILL the first other process that is seen to write a raster below `folder`."""
    stop, killed = threading.Event(), list[int]()

    def hunt() -> None:
        while not killed and not stop.wait(0.002):
            for path in folder.rglob(".*.partial*.tif"):
                match = re.search(r"-(\d+)\.partial(\.draft)?\.tif$", path.name)
                if match and int(match[1]) != os.getpid():
                    os.kill(int(match[1]), signal.SIGKILL)
                    killed.append(int(match[1]))
                    return

    hunter = threading.Thread(target=hunt)
    hunter.start()
    try:
        yield
    finally:
        stop.set()
        hunter.join()
    assert killed, "no process was met while it wrote"
