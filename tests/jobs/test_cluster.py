"""Jobs on a real Dask cluster of worker processes, some of which are lost."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, SpecCluster

from builtup.errors import BuiltupError, ClusterError, InputError, OutputError
from builtup.jobs import cluster as clusters
from builtup.jobs import executors, steps
from builtup.jobs.cluster import LIMITS, DaskCluster, Environment, Limits, connected
from builtup.jobs.files import atomic_path, write_text_atomically
from builtup.jobs.steps import Job, Step, Summary, run_step
from clusters import a_cluster, a_writer_killed
from helpers import ROOT

pytestmark = pytest.mark.timeout(180, func_only=True)  # the cluster may start at leisure
STEP = Step("copy", 1)
SOON = Limits(answer=0.5)


@pytest.fixture(scope="module")
def cluster() -> Iterator[SpecCluster]:
    """Two workers; the first has a GPU, as it says."""
    with a_cluster({"resources": {"GPU": 1}}, {}) as cluster:
        yield cluster


def copy(job: Job) -> dict[str, int]:
    """The work of these tests: what its settings say, then the input's text."""
    trouble = job.settings.get("trouble", "")
    tries = job.inputs[0].with_suffix(".tries")
    with tries.open("a") as f:
        f.write("x")
    if trouble == "slow":
        time.sleep(0.5)
    with atomic_path(job.outputs[0]) as path:
        path.write_text("half")
        first = tries.stat().st_size == 1
        if trouble == "dies" or (trouble == "dies once" and first):
            os.kill(os.getpid(), signal.SIGKILL)
        if trouble == "bug":
            raise ZeroDivisionError
        if trouble == "bad":
            raise InputError(job.inputs[0], "bad", "mend it")
    if trouble == "storage" or (trouble == "storage once" and first):
        raise OSError(5, "Input/output error")
    if trouble == "network once" and first:
        raise OutputError(job.outputs[0], "is stale", "wait") from OSError(116, "Stale handle")
    write_text_atomically(job.outputs[0], f"{job.inputs[0].read_text()} {os.getpid()}")
    return {"files": 1}


def jobs(folder: Path, *troubles: str, **options: Any) -> list[Job]:
    made = []
    for number, trouble in enumerate(troubles):
        path = folder / f"{number}.txt"
        path.write_text(str(number))
        output = folder / "out" / f"{number}.txt"
        made.append(Job(str(number), (path,), (output,), {"trouble": trouble}, **options))
    return made


def run(
    cluster: SpecCluster, jobs: list[Job], on_error: str = "stop", limits: Limits = LIMITS
) -> Summary:
    with connected(cluster.scheduler_address, limits):
        return run_step(STEP, jobs, copy, on_error=on_error)


def tries(job: Job) -> int:
    return job.inputs[0].with_suffix(".tries").stat().st_size


def test_jobs_run_on_the_workers_and_are_done_once(cluster: SpecCluster, tmp_path: Path) -> None:
    some = jobs(tmp_path, *(6 * ["slow"]))
    summary = run(cluster, some)
    assert (summary.done, summary.counts) == (6, {"files": 6})
    pids = {job.outputs[0].read_text().split()[1] for job in some}
    assert len(pids) == 2
    assert str(os.getpid()) not in pids
    assert run(cluster, some).up_to_date == 6


def test_more_jobs_than_are_handed_over_at_a_time(cluster: SpecCluster, tmp_path: Path) -> None:
    assert run(cluster, jobs(tmp_path, *(10 * [""])), limits=Limits(in_flight=3)).done == 10


def test_relative_paths_are_those_of_the_client(
    cluster: SpecCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(cluster, jobs(Path(), "")).done == 1
    assert (tmp_path / "out/0.txt").exists()


def test_the_version_of_the_source_is_that_of_the_whole_package() -> None:
    here = Environment.here().package
    assert clusters._source_digest() in here
    digest = hashlib.sha256()
    for path in sorted((ROOT / "code/builtup").rglob("*.py")):
        name = str(path.relative_to(ROOT / "code/builtup"))
        digest.update(name.encode() + b"\0" + path.read_bytes())
    assert digest.hexdigest()[:12] in here


def test_jobs_of_a_lost_worker_are_done_by_another(cluster: SpecCluster, tmp_path: Path) -> None:
    some = jobs(tmp_path, "", "dies once", "", "")
    summary = run(cluster, some)
    assert summary.done == 4
    assert tries(some[1]) == 2
    assert not list((tmp_path / "out").glob(".*partial*"))


def test_a_job_that_ends_every_worker_takes_none_of_its_neighbours_with_it(
    tmp_path: Path,
) -> None:
    some = jobs(tmp_path, "dies", *(5 * [""]), resources={"GPU": 1})  # all given out at once
    with a_cluster({"resources": {"GPU": 1}}) as alone:
        summary = run(alone, some, on_error="skip")
    assert summary.done == 5
    assert [str(problem)[:2] for problem in summary.skipped] == ["0:"]


def test_a_job_that_ends_every_worker_is_named_and_the_others_are_done(
    cluster: SpecCluster, tmp_path: Path
) -> None:
    some = jobs(tmp_path, "dies", "", "")
    summary = run(cluster, some, on_error="skip")
    assert summary.done == 2
    (problem,) = summary.skipped
    assert str(problem).startswith("0: 2 workers were lost while they did it; check their memory")


@pytest.mark.parametrize("trouble", ["storage once", "network once"])
def test_errors_of_the_system_are_tried_again(
    cluster: SpecCluster, tmp_path: Path, trouble: str
) -> None:
    (job,) = jobs(tmp_path, trouble)
    assert run(cluster, [job]).done == 1
    assert tries(job) == 2


def test_after_three_tries_the_error_is_one_line(cluster: SpecCluster, tmp_path: Path) -> None:
    (job,) = jobs(tmp_path, "storage")
    with pytest.raises(ClusterError, match=r"0: failed 3 times \(OSError: .*Input/output error"):
        run(cluster, [job])
    assert tries(job) == 3


def test_bad_input_is_an_answer_and_not_tried_again(cluster: SpecCluster, tmp_path: Path) -> None:
    some = jobs(tmp_path, "bad", "")
    with pytest.raises(InputError, match=r"0\.txt: bad; mend it"):
        run(cluster, some[:1])
    assert tries(some[0]) == 1
    summary = run(cluster, some, on_error="skip")
    assert (summary.done, [str(p) for p in summary.skipped]) == (
        1,
        [f"{some[0].inputs[0]}: bad; mend it"],
    )


def test_a_bug_keeps_its_traceback(cluster: SpecCluster, tmp_path: Path) -> None:
    (job,) = jobs(tmp_path, "bug")
    with pytest.raises(ZeroDivisionError) as caught:
        run(cluster, [job])
    assert any(entry.name == "copy" for entry in caught.traceback)
    assert tries(job) == 1


def test_jobs_that_ask_for_a_gpu_run_where_one_is(cluster: SpecCluster, tmp_path: Path) -> None:
    with Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=120)  # a test before this one has ended some
        names = client.run(lambda dask_worker: (dask_worker.name, os.getpid()))
    (pid,) = [pid for name, pid in names.values() if name == 0]
    some = jobs(tmp_path, *(4 * ["slow"]), resources={"GPU": 1})
    run(cluster, some)
    assert {job.outputs[0].read_text().split()[1] for job in some} == {str(pid)}


def test_a_resource_that_no_worker_offers_is_one_line(cluster: SpecCluster, tmp_path: Path) -> None:
    with Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=120)
    with pytest.raises(ClusterError, match="none of the 2 workers offers TPU=1; start one with"):
        run(cluster, jobs(tmp_path, "", resources={"TPU": 1}))


def test_two_clients_that_do_the_same_jobs_at_once_both_succeed(
    cluster: SpecCluster, tmp_path: Path
) -> None:
    some = jobs(tmp_path, *(8 * [""]))
    with ThreadPoolExecutor(2) as threads:
        summaries = list(threads.map(lambda _: run(cluster, some), range(2)))
    assert all(summary.done + summary.up_to_date == 8 for summary in summaries)
    assert sorted(path.name for path in (tmp_path / "out").glob("*.txt")) == [
        f"{number}.txt" for number in range(8)
    ]


def tree(folder: Path) -> dict[str, bytes]:
    """The bytes of all files but manifests, which hold times and paths of their inputs."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".manifest" not in path.parts
    }


def test_prepare_survives_a_killed_worker_with_the_same_bytes(
    cluster: SpecCluster, tmp_path: Path
) -> None:
    from shapely import box  # here: the workers import this module, and start sooner without

    from builtup.tiles.prepare import prepare
    from helpers import TRANSFORM, city_polygons, speckle, write_polygons, write_scene

    for split, city, tile in (("train", "Alpha_2015", "38SLF"), ("test", "Beta_2015", "38RNV")):
        for date in ("20150101", "20150201"):
            power = speckle((1500, 1500), 0.1, int(date))
            scene = {"date": date, "vv": power, "vh": power / 5, "transform": TRANSFORM}
            write_scene(tmp_path / "input" / split, city=city, tile=tile, **scene)
    shapes = [box(300_100, 3_999_700, 300_300, 3_999_900)]
    write_polygons(city_polygons(tmp_path / "input/train", "Alpha_2015", "38SLF"), shapes)

    def all_steps(target: str) -> list[Summary]:
        output = tmp_path / target
        return prepare(
            input_path=tmp_path / "input",
            output_path=output,
            tiles_path=output / "tiles",
            num_workers=1,
        )

    all_steps("local")
    with connected(cluster.scheduler_address):
        with a_writer_killed(tmp_path / "remote"):
            all_steps("remote")
        assert all("nothing to do" in summary.line() for summary in all_steps("remote"))
    assert tree(tmp_path / "remote") == tree(tmp_path / "local")


def refusal(action: Callable[[], Any]) -> str:
    with pytest.raises(BuiltupError) as caught:
        action()
    return str(caught.value)


def test_a_scheduler_that_is_not_there_is_one_line() -> None:
    for address in ("tcp://127.0.0.1:9", "nonsense://x"):
        message = refusal(lambda address=address: connected(address, SOON).__enter__())
        assert message.startswith(f"scheduler={address}: no Dask scheduler answers there")


def test_a_command_with_an_address_that_is_none_ends() -> None:
    script = "from builtup.cli import main; main()"
    command = [sys.executable, "-c", script, "prepare", "--scheduler", "localhost"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert re.fullmatch(r"error: scheduler=localhost: no Dask scheduler .*\n", ended.stderr)


def test_something_else_that_listens_is_no_scheduler() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        message = refusal(lambda: connected(address, SOON).__enter__())
    assert message.startswith(f"scheduler={address}: no Dask scheduler answers there (TimeoutErr")


def test_no_worker_or_one_of_several_threads_is_one_line() -> None:
    with a_cluster() as empty:
        address = empty.scheduler_address
        message = refusal(lambda: connected(address, Limits(answer=2.0)).__enter__())
    assert "no worker in 2 s; start one (dask worker tcp://" in message
    with a_cluster({"nthreads": 2}) as threaded:
        message = refusal(lambda: connected(threaded.scheduler_address).__enter__())
    assert "runs 2 jobs in one process; start it with --nthreads 1" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"package": "builtup 9"}, r"worker tcp.*: builtup .* there, builtup 9 here; install the"),
        ({"python": "Python 2.7"}, r"worker tcp.*: Python 3.* there, Python 2.7 here"),
        ({"folder": "/nowhere"}, r"worker tcp.*: has no folder /nowhere; mount it there"),
    ],
)
def test_workers_that_differ_are_refused(
    cluster: SpecCluster, change: dict[str, str], message: str
) -> None:
    environment = Environment(**{**vars(Environment.here()), **change})
    with Client(cluster, set_as_default=False) as client:
        checked = DaskCluster(client, cluster.scheduler_address, environment=environment)
        with pytest.raises(ClusterError, match=message):
            checked.check()


def test_a_worker_that_joins_late_with_another_version_is_refused(
    cluster: SpecCluster, tmp_path: Path
) -> None:
    environment = Environment(**{**vars(Environment.here()), "package": "builtup 9"})
    with Client(cluster, set_as_default=False) as client:
        late = DaskCluster(client, cluster.scheduler_address, environment=environment)
        with executors.using(late), pytest.raises(ClusterError, match="builtup 9 here"):
            run_step(STEP, jobs(tmp_path, ""), copy)


def test_a_worker_without_the_package_is_told_how_to_get_it() -> None:
    problem = clusters._problem(
        Environment.here(), ModuleNotFoundError("No module named 'builtup'")
    )
    assert problem is not None
    assert re.search("cannot run builtup .*install builtup .*PYTHONPATH", problem)


def test_a_scheduler_that_goes_away_is_one_line(tmp_path: Path) -> None:
    with a_cluster({}) as short:
        threading.Timer(1.0, short.close).start()
        message = refusal(lambda: run(short, jobs(tmp_path, *(40 * ["slow"]))))
    assert message.endswith("start it again, then run the same command to go on")


def test_a_cluster_without_workers_is_given_up_after_a_while(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limits = Limits(silence=0.2, no_workers=1.0)
    with a_cluster({}) as left:
        threading.Timer(1.0, left.scale, [0]).start()
        message = refusal(lambda: run(left, jobs(tmp_path, *(40 * ["slow"])), limits=limits))
    assert re.search(r"no worker for 1 s while \d+ jobs waited; start some, then run", message)
    assert "no worker left" in caplog.text


class Elsewhere:
    """A remote executor whose outputs never come."""

    remote = True

    def run(self, name: str, call: Any, jobs: Any) -> Iterator[Any]:
        for job in jobs:
            yield job, {}, None


def test_outputs_that_are_not_seen_here_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "VISIBLE_WITHIN", 0.2)
    with (
        executors.using(Elsewhere()),
        pytest.raises(OutputError, match="but is not here after 0 s; give the workers"),
    ):
        run_step(STEP, jobs(tmp_path, ""), copy)
