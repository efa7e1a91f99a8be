"""A Dask cluster of worker processes on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
