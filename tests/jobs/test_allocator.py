from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from builtup.jobs.allocator import _glibc, keep_freed_memory
from builtup.jobs.executors import worker_pool

pytestmark = pytest.mark.skipif(_glibc() is None, reason="the C library is not glibc")
SCRIPT = """
import resource
import numpy as np
from builtup.jobs.allocator import give_back, keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])

def work():
    for _ in range(5):
        np.ones(20_000_000)

work()
before = faults()
work()
between = faults()
kept = keep_freed_memory()
work()
after = faults()
work()
most = resident()
print(kept, between - before, faults() - after)
give_back()
print(most - resident())
"""


@pytest.mark.parametrize("threshold", [None, "65536"])  # of a plain process, of a Dask worker
def test_freed_memory_is_used_again_and_can_be_given_back(threshold: str | None) -> None:
    environment = {"MALLOC_TRIM_THRESHOLD_": threshold} if threshold else {}
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, env=environment
    )
    kept, before, after, returned = found.stdout.split()
    assert kept == "True"
    assert int(after) < 100 < int(before)
    assert int(returned) > 30_000  # pages of 4 kB, of 160 MB


def is_set(_: object = None) -> bool:
    """Whether this process keeps what it frees."""
    return keep_freed_memory.cache_info().currsize == 1


def test_the_command_line_sets_it_at_its_start() -> None:
    script = """
import sys
from builtup import cli
from builtup.jobs.allocator import keep_freed_memory
sys.argv = ["builtup", "--version"]
try:
    cli.main()
finally:
    print(keep_freed_memory.cache_info().currsize)
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "1"


def test_a_worker_sets_it_at_its_start(tmp_path: Path) -> None:
    with worker_pool(1) as pool:
        assert pool.submit(is_set, None).result()


@pytest.mark.parametrize("extra", ["", "import sys; sys.modules['triton'] = sys; "])
def test_the_command_line_looks_for_garbage_rarely(extra: str) -> None:
    code = f"{extra}import gc; from builtup.jobs.allocator import collect_garbage_rarely as it; "
    code += "import atexit; atexit.register(lambda: print(gc.get_freeze_count() > 1000)); it(); "
    code += "print(gc.isenabled(), gc.get_threshold()[0], gc.get_freeze_count())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # frozen at the end alone, and not where it would be taken for a leak
    assert found.stdout.split() == ["True", "50000", "0", str(not extra)]
