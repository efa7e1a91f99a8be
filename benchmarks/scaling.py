"""What a country costs: measured step times, and a simulation of 10,000 scenes on 1–256 workers.

    PYTHONPATH=code python benchmarks/scaling.py --price 0.05 [--model <run id>] [--workers 1,2]

Runs `prepare` (and `predict`, where a model is given) on simulated scenes, on Dask clusters of
one-thread workers on this machine, and prints three tables in Markdown: what was measured, what a
million km² costs, and what 10,000 scenes would take. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import heapq
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

os.environ.setdefault("OMP_NUM_THREADS", "1")

#: A scene of the simulation: a Sentinel-2 tile at 10 m, as the UNOSAT scenes are cut.
SCENE_PIXELS = 10_980**2
SCENE_KM2 = SCENE_PIXELS * 1e-4
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class Measured:
    """A step with one worker: its jobs, core-seconds and bytes (read and written) a pixel."""

    name: str
    jobs: int
    seconds_per_pixel: float
    bytes_per_pixel: float


@dataclass(frozen=True)
class Assumptions:
    """What the simulation takes for given; `dispatch` is measured, the rest are options."""

    start_up: float  # seconds until a worker has imported what a job needs
    dispatch: float  # seconds of the scheduler and the client for each job, one after the other
    worker_bandwidth: float  # bytes/s between one worker and the storage
    storage_bandwidth: float  # bytes/s of the storage, shared by all
    spread: float  # relative standard deviation of a job's time
    scenes: int


def no_work(job: object) -> None:
    """A job that only has its input, output and manifest."""
    from builtup.files import write_text_atomically

    write_text_atomically(job.outputs[0], "")  # type: ignore[attr-defined]


@contextmanager
def cluster(count: int) -> Iterator[None]:
    """All steps within run on `count` worker processes of this machine."""
    from distributed import LocalCluster

    from builtup.cluster import connected

    options = {"n_workers": count, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**options) as local, connected(local.scheduler_address):
        yield


def measure_dispatch(folder: Path, count: int, jobs: int = 200) -> float:
    """Seconds a job that does nothing takes with `count` workers."""
    from builtup.steps import Job, Step, run_step

    source = folder / "nothing.txt"
    source.write_text("")
    made = [Job(str(n), (source,), (folder / f"nothing/{n}.txt",), {}) for n in range(jobs)]
    with cluster(count):
        run_step(Step("warm_up", 1), made[:count], no_work)
        started = time.monotonic()
        run_step(Step("nothing", 1), made, no_work)
        return (time.monotonic() - started) / jobs


def measure(data: Path, output: Path, count: int, model: str) -> list[tuple[str, int, float, int]]:
    """(step, jobs, seconds, pixels) of prepare and predict with `count` workers."""
    from builtup.prepare import prepare

    with cluster(count):
        summaries = prepare(input_path=data, output_path=output, tiles_path=output / "tiles")
        if model:
            from builtup.predict.run import predict

            scenes = str(data / "train")
            maps = output / "maps"
            summaries += predict(model=model, input_path=scenes, output_path=str(maps))
    return [(s.step, s.done, s.seconds, s.pixels) for s in summaries if s.done]


def bytes_per_pixel(step: str) -> float:
    """Read and written, from the formats: float32 VV and VH in, three float32 bands out, …"""
    sizes = {"generate_3b_images": 8 + 12, "rasterize": 1, "generate_tiles/masks": 2}
    sizes |= {"generate_tiles/images": 24, "generate_test_tiles": 24, "generate_tiles_stats": 13}
    sizes |= {"predict": 9, "all_agg_by_city": 8, "polygonize": 2}
    return float(next((n for name, n in sizes.items() if step.endswith(name)), 0))


def simulate(steps: Sequence[Measured], workers: int, given: Assumptions) -> tuple[float, str]:
    """Seconds that all steps take for the given scenes, and what most of the loss is due to.

    Workers take the next job when they are free; the scheduler hands out one job after another;
    while all are busy each has its share of the storage. A step waits for the one before.
    """
    clock, generator = given.start_up, np.random.default_rng(0)
    lost = {"storage": 0.0, "scheduler": 0.0, "last jobs": 0.0, "start-up": given.start_up}
    for step in steps:
        share = given.storage_bandwidth / min(workers, given.scenes)
        traffic = step.bytes_per_pixel * SCENE_PIXELS
        io_alone = traffic / given.worker_bandwidth
        io = traffic / min(given.worker_bandwidth, share)
        times = step.seconds_per_pixel * SCENE_PIXELS + io - io_alone
        times *= np.maximum(0.2, 1 + given.spread * generator.standard_normal(given.scenes))
        free, handed, wait = [clock] * workers, clock, 0.0
        for seconds in times:
            ready = heapq.heappop(free)
            handed = max(handed, ready) + given.dispatch
            wait += handed - ready
            heapq.heappush(free, handed + float(seconds))
        end = max(free)
        lost["storage"] += (io - io_alone) * given.scenes / workers
        lost["scheduler"] += wait / workers
        lost["last jobs"] += end - sum(free) / workers
        clock = end
    most = max(lost, key=lambda name: lost[name])
    return clock, most if lost[most] > 0.01 * clock else "nothing (below 1 %)"


def print_measured(rows: dict[int, list[tuple[str, int, float, int]]]) -> None:
    counts = sorted(rows)
    print("| step | Mpx | " + " | ".join(f"{n} worker(s), s" for n in counts) + " |")
    print("|---|--:|" + "--:|" * len(counts))
    for step, _, _, pixels in rows[counts[0]]:
        times = [next((s for name, _, s, _ in rows[n] if name == step), 0.0) for n in counts]
        print(f"| {step} | {pixels / 1e6:.1f} | " + " | ".join(f"{t:.2f}" for t in times) + " |")


def print_cost(steps: Sequence[Measured], price: float, dates: int) -> None:
    print("\n| step | s/Mpx on a core | core-hours per million km² | cost |\n|---|--:|--:|--:|")
    total = 0.0
    for step in steps:
        hours = step.seconds_per_pixel * 1e10 * dates / 3600  # a million km² is 1e10 pixels
        total += hours
        rate = step.seconds_per_pixel * 1e6
        print(f"| {step.name} | {rate:.3f} | {hours:.1f} | {hours * price:.2f} |")
    print(f"| all, {dates} date(s) | | {total:.1f} | {total * price:.2f} |")


def print_simulation(steps: Sequence[Measured], given: Assumptions, price: float) -> None:
    print(f"\nAssumptions, {given.scenes:,} scenes of {SCENE_PIXELS / 1e6:.1f} Mpx:")
    print(f"- a job's time grows with its pixels; spread {given.spread:.0%} between scenes")
    print(f"- start-up of a worker {given.start_up:g} s, once, all at the same time")
    print(f"- scheduler and client {given.dispatch * 1e3:.1f} ms a job, one after the other")
    shares = f"{given.worker_bandwidth / 1e6:g} MB/s a worker, {given.storage_bandwidth / 1e6:g}"
    print(f"- storage {shares} MB/s for all; bytes from the formats, nothing cached")
    print("- steps one after another; no faults; workers as fast as those measured\n")
    print("| workers | hours | speed-up | efficiency | cost | most is lost to |")
    print("|--:|--:|--:|--:|--:|---|")
    alone, _ = simulate(steps, 1, given)
    for workers in COUNTS:
        seconds, reason = simulate(steps, workers, given)
        cost = seconds / 3600 * workers * price
        print(
            f"| {workers} | {seconds / 3600:.2f} | {alone / seconds:.1f} "
            f"| {alone / seconds / workers:.0%} | {cost:.2f} | {reason} |"
        )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--price", type=float, required=True, help="of a core-hour")
    parser.add_argument("--workers", default="1,2", help="clusters that are measured")
    parser.add_argument("--model", default="", help="a training run: measures predict too")
    parser.add_argument("--size", type=int, default=2048, help="of the scenes, in pixels")
    parser.add_argument("--cities", type=int, default=4, help="two dates each")
    parser.add_argument("--scenes", type=int, default=10_000)
    parser.add_argument("--start_up", type=float, default=20.0, help="seconds")
    parser.add_argument("--worker_bandwidth", type=float, default=200e6, help="bytes/s")
    parser.add_argument("--storage_bandwidth", type=float, default=5e9, help="bytes/s")
    parser.add_argument("--spread", type=float, default=0.2)
    parser.add_argument("--dates", type=int, default=2, help="of a place, for the cost")
    return parser.parse_args()


def main() -> None:
    from builtup.sar.simulate import simulate as simulate_scenes

    options = parse()
    counts = [int(text) for text in options.workers.split(",")]
    if 1 not in counts:
        raise SystemExit("error: --workers must name 1: costs are those of one core")
    with tempfile.TemporaryDirectory(prefix="builtup_scaling_") as name:
        folder = Path(name)
        data = folder / "data"
        simulate_scenes(output_path=data, cities=options.cities, test_cities=0, size=options.size)
        rows = {n: measure(data, folder / f"output_{n}", n, options.model) for n in counts}
        dispatch = measure_dispatch(folder, max(counts))
    steps = [
        Measured(step, jobs, seconds / pixels, bytes_per_pixel(step))
        for step, jobs, seconds, pixels in rows[1]
        if pixels
    ]
    load = os.getloadavg()[0]
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f} (should be that of us)\n")
    if not options.model:
        print("Without --model: prepare only, no network.\n")
    print_measured(rows)
    print_cost(steps, options.price, options.dates)
    given = Assumptions(
        options.start_up,
        dispatch,
        options.worker_bandwidth,
        options.storage_bandwidth,
        options.spread,
        options.scenes,
    )
    print_simulation(steps, given, options.price)


if __name__ == "__main__":
    main()
