"""Jobs in processes of this machine: killed, orphaned and interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from builtup.errors import BuiltupError
from builtup.jobs.executors import THREADS, map_threads
from builtup.jobs.files import atomic_path, write_text_atomically
from builtup.jobs.steps import Job, Step, run_step
from builtup.sensors.radar.merge import generate_3b_images
from helpers import ROOT, speckle, write_scene

STEP = Step("copy", 1)
#: Seconds that a test waits for what should come at once.
SOON = 30.0


def work(job: Job) -> None:
    """The work of these tests: what the settings say, then a file."""
    trouble = job.settings["trouble"]
    pid = job.outputs[0].with_suffix(".pid")
    write_text_atomically(pid, str(os.getpid()))
    with atomic_path(job.outputs[0]) as path:
        path.write_text("half")
        if trouble == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if trouble == "slow":
            time.sleep(2 * SOON)
        path.write_text("whole")


def jobs(folder: Path, *troubles: str) -> list[Job]:
    return [
        Job(str(i), (), (folder / f"{i}.out",), {"trouble": trouble})
        for i, trouble in enumerate(troubles)
    ]


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_worker_is_one_line_and_the_rest_goes_on_later(tmp_path: Path) -> None:
    with pytest.raises(BuiltupError, match=r"copy: a worker process was killed.*num_workers") as e:
        run_step(STEP, jobs(tmp_path, "killed", "", ""), work, num_workers=2)
    assert "\n" not in str(e.value)
    assert run_step(STEP, jobs(tmp_path, "", "", ""), work, num_workers=2).done >= 1
    assert {path.read_text() for path in tmp_path.glob("*.out")} == {"whole"}
    assert not list(tmp_path.glob(".*partial*"))


UNGUARDED = """
from pathlib import Path
import test_executors as t

{guard}t.run_step(t.STEP, t.jobs(Path({folder!r}), "", "", ""), t.work, num_workers=2)
"""


def test_a_program_without_its_guard_is_told_of_it_and_not_of_memory(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    paths = os.pathsep.join(str(ROOT / part) for part in ("code", "tests/jobs", "tests/support"))
    said = []
    for guard in ("", 'if __name__ == "__main__": '):
        program.write_text(UNGUARDED.format(guard=guard, folder=str(tmp_path)))
        ended = subprocess.run(
            [sys.executable, program],
            env={**os.environ, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            timeout=120,
        )
        said.append(ended.stderr)
    last = said[0].splitlines()[-1]
    assert f"{program}, line 5: its worker processes would run this file again" in last
    assert "memory" not in said[0]
    assert said[0].count("Traceback") <= 2  # of the program alone: what broke, and what it means
    assert said[1] == ""


#: Two jobs that take longer than the test waits.
SLOW = """
import signal
from pathlib import Path
import click
from builtup import cli
import test_executors as t

@cli.cli.command()
@click.argument("folder", type=Path)
def slow(folder):
    t.run_step(t.STEP, t.jobs(folder, "slow", "slow", "slow"), t.work, num_workers=2)

if __name__ == "__main__":
    # a shell ignores it for what it runs in the background, and so do all that come from there
    signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.main()
"""


def start_slow(folder: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """A command with two workers at work, in a process group of its own, and their pids."""
    program = folder / "program.py"
    program.write_text(SLOW)
    paths = os.pathsep.join(str(ROOT / part) for part in ("code", "tests/jobs", "tests/support"))
    process = subprocess.Popen(
        [sys.executable, program, "slow", folder],
        env={**os.environ, "PYTHONPATH": paths},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: len(list(folder.glob(".*.partial.out"))) == 2)
    pids = [int(path.read_text()) for path in folder.glob("*.pid")]
    assert len(pids) == 2
    assert process.pid not in pids
    return process, pids


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie (whoever inherits those may be slow)."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def threads_of_blas(job: Job) -> None:
    """Do it as a step does, and tell in how many threads."""
    import numpy as np
    import threadpoolctl

    assert np.ones(100_000) @ np.ones(100_000) == 100_000
    found = {library["num_threads"] for library in threadpoolctl.threadpool_info()}
    write_text_atomically(job.outputs[0], str(found))


def test_a_worker_computes_in_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # of the tests
    source = tmp_path / "in"
    source.write_text("")
    jobs = [Job(f"{i}", (source,), (tmp_path / f"{i}.out",), {}) for i in range(2)]
    run_step(Step("count", 1), jobs, threads_of_blas, num_workers=2)
    assert [job.outputs[0].read_text() for job in jobs] == ["{1}", "{1}"]


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    process, pids = start_slow(tmp_path)
    assert all(map(runs, pids))
    process.kill()
    process.communicate()
    wait_until(lambda: not any(map(runs, pids)))
    assert not list(tmp_path.glob("*.out"))
    assert not list(tmp_path.glob(".*partial*"))


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["the command only", "as a terminal"])
def test_an_interrupt_is_one_line_and_leaves_nothing(
    tmp_path: Path, send: Callable[[int, int], None]
) -> None:
    process, pids = start_slow(tmp_path)
    send(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=SOON)
    assert process.returncode == 130
    assert errors.strip() == "interrupted; run the same command again to go on"
    assert not any(map(runs, pids))
    assert not list(tmp_path.glob("*.out"))
    assert not list(tmp_path.glob(".*partial*"))


#: Merging with workers, small as it is.
MERGE = """
import sys
from pathlib import Path
from builtup.sensors.radar import merge
from builtup.jobs.steps import Step

if __name__ == "__main__":
    merge.STEP = Step(merge.STEP.name, merge.STEP.version)
    source, target = map(Path, sys.argv[1:])
    merge.generate_3b_images(input_path=source, output_path=target, num_workers=2)
"""


def test_a_step_killed_with_its_workers_at_work_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    split, calm, stormy = (tmp_path / name for name in ("train", "calm", "stormy"))
    for day in range(1, 7):
        write_scene(split, date=f"2015010{day}", vv=speckle((1200, 1200), seed=day))
    program = tmp_path / "program.py"
    program.write_text(MERGE)
    process = subprocess.Popen(
        [sys.executable, program, split, stormy],
        env={**os.environ, "PYTHONPATH": str(ROOT / "code")},
    )
    wait_until(lambda: any(stormy.rglob(".manifest/*.json")))
    process.kill()
    assert process.wait() == -signal.SIGKILL
    wait_until(lambda: not any(stormy.rglob("*.partial*")))  # the workers end, and clean up
    assert generate_3b_images(input_path=split, output_path=stormy, num_workers=1).done > 0
    generate_3b_images(input_path=split, output_path=calm, num_workers=1)
    written, expected = (
        {path.name: path.read_bytes() for path in out.rglob("*.tif")} for out in (stormy, calm)
    )
    assert len(expected) == 6
    assert written == expected


def test_outcomes_keep_the_order_of_the_items() -> None:
    def call(number: int) -> int:
        time.sleep(0.02 * (number == 0))  # the first is ready last
        if number == 2:
            raise BuiltupError("two")
        return 10 * number

    found = list(map_threads(call, range(5)))
    assert [str(x) for x in found] == ["0", "10", "two", "30", "40"]
    assert isinstance(found[2], BuiltupError)
    assert list(map_threads(call, [])) == []


def test_items_are_looked_at_together() -> None:
    all_there = threading.Barrier(THREADS, timeout=SOON)
    assert len(list(map_threads(lambda _: all_there.wait(), range(THREADS)))) == THREADS


def test_what_is_no_error_of_ours_is_raised_and_nothing_new_begun() -> None:
    begun = []

    def call(number: int) -> None:
        begun.append(number)
        time.sleep(0.01)
        raise KeyError(number)

    with pytest.raises(KeyError):
        list(map_threads(call, range(1000)))
    assert len(begun) < 1000
