"""What a country costs: measured step times, and a simulation of 10,000 scenes on 1–256 workers.

    PYTHONPATH=code python benchmarks/scaling.py --price 0.05 [--model <run id>] [--workers 1,2]

Runs `prepare` (and `predict`, where a model is given) on simulated scenes, on Dask clusters of
one-thread workers on this machine, and prints tables in Markdown: what was measured, what a million
km² costs, and what 10,000 scenes would take, of each command. Run it on a machine that does nothing
else.
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
class Row:
    """What a step of a command took: seconds, and the pixels of all its jobs."""

    command: str
    step: str
    seconds: float
    pixels: int


@dataclass(frozen=True)
class Kind:
    """How much a step reads and writes, and what its jobs are: scenes, or cities.

    A city's job looks at all its dates, or, where `one_date`, at what they were averaged to.
    """

    bytes_per_pixel: float
    per_city: bool = False
    one_date: bool = False


#: By the end of a step's name. Bytes are those of the formats: float32 VV and VH in, three float32
#: bands out, …; of a city of one date, more dates share what is written.
KINDS = {
    "generate_3b_images": Kind(8 + 12),
    "rasterize": Kind(1),
    "generate_tiles/images": Kind(24),
    "generate_tiles/masks": Kind(2),
    "generate_tiles_stats": Kind(13),
    "generate_test_tiles": Kind(24),
    "predict": Kind(8 + 1),
    "all_agg_by_city": Kind(1 + 7, per_city=True),
    "polygonize": Kind(2, per_city=True, one_date=True),
    "write_products": Kind(6, per_city=True, one_date=True),  # what its manifest's sha256 read
}


@dataclass(frozen=True)
class Measured:
    """A step with one worker: core-seconds a pixel of its jobs, and what these are.

    `planning` is what the client does for each scene before the first job is handed out.
    """

    name: str
    command: str
    seconds_per_pixel: float
    kind: Kind
    planning: float = 0.0

    def pixels(self, dates: int) -> int:
        """How often the step looks at a pixel of the ground."""
        return 1 if self.kind.one_date else dates

    def jobs(self, scenes: int, dates: int) -> int:
        """How many jobs so many scenes are."""
        return max(1, scenes // dates) if self.kind.per_city else scenes

    def job_pixels(self, dates: int) -> int:
        """The pixels of a job."""
        return SCENE_PIXELS * (self.pixels(dates) if self.kind.per_city else 1)


@dataclass(frozen=True)
class Assumptions:
    """What the simulation takes for given; `dispatch` is measured, the rest are options."""

    start_up: float  # seconds until a worker has imported what a job needs
    dispatch: float  # seconds of the scheduler and the client for each job, one after the other
    worker_bandwidth: float  # bytes/s between one worker and the storage
    storage_bandwidth: float  # bytes/s of the storage, shared by all
    spread: float  # relative standard deviation of a job's time
    scenes: int
    dates: int  # of a city


def no_work(job: object) -> None:
    """A job that only has its input, output and manifest."""
    from builtup.jobs.files import write_text_atomically

    write_text_atomically(job.outputs[0], "")  # type: ignore[attr-defined]


@contextmanager
def cluster(count: int) -> Iterator[None]:
    """All steps within run on `count` worker processes of this machine."""
    from distributed import LocalCluster

    from builtup.jobs.cluster import connected

    options = {"n_workers": count, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**options) as local, connected(local.scheduler_address):
        yield


def measure_dispatch(folder: Path, count: int, jobs: int = 200) -> float:
    """Seconds a job that does nothing takes with `count` workers."""
    from builtup.jobs.steps import Job, Step, run_step

    source = folder / "nothing.txt"
    source.write_text("")
    made = [Job(str(n), (source,), (folder / f"nothing/{n}.txt",), {}) for n in range(jobs)]
    with cluster(count):
        run_step(Step("warm_up", 1), made[:count], no_work)
        started = time.monotonic()
        run_step(Step("nothing", 1), made, no_work)
        return (time.monotonic() - started) / jobs


def measure(data: Path, output: Path, count: int, model: str) -> list[Row]:
    """What prepare and predict take with `count` workers."""
    from builtup.tiles.prepare import prepare

    with cluster(count):
        found = {"prepare": prepare(input_path=data, output_path=output, tiles_path=output / "t")}
        if model:
            from builtup.prediction.predict import PredictOptions, predict
            from builtup.prediction.recipe import Recipe

            scenes = str(data / "train")
            maps = output / "maps"
            found["predict"] = predict(Recipe(model), PredictOptions(scenes, str(maps)))
    return [Row(of, s.step, s.seconds, s.pixels) for of in found for s in found[of] if s.pixels]


def measure_planning(scenes: str) -> float:
    """Seconds a scene that predict takes on the client: to find it, read headers, sample values."""
    from builtup.geo.locations import Allow
    from builtup.jobs.executors import map_threads
    from builtup.sensors.radar.discovery import find_scenes
    from builtup.sensors.radar.headers import read_headers
    from builtup.sensors.radar.units import judge_units

    started = time.monotonic()
    found = find_scenes(scenes, Allow.parse("")).scenes
    for _ in map_threads(lambda scene: judge_units(read_headers(scene)), found):
        pass
    return (time.monotonic() - started) / len(found)


def kind_of(step: str) -> Kind:
    """The entry of KINDS that a step's name ends in."""
    return next(kind for name, kind in KINDS.items() if step.endswith(name))


def simulate(steps: Sequence[Measured], workers: int, given: Assumptions) -> tuple[float, str]:
    """Seconds that all steps take for the given scenes, and what most of the loss is due to.

    Workers take the next job when they are free; the scheduler hands out one job after another;
    while all are busy each has its share of the storage. A step waits for the one before, and for
    what the client does for each scene before it hands out the first job.
    """
    clock, generator = given.start_up, np.random.default_rng(0)
    lost = {"storage": 0.0, "scheduler": 0.0, "last jobs": 0.0, "start-up": given.start_up}
    lost["client"] = 0.0
    for step in steps:
        jobs, pixels = step.jobs(given.scenes, given.dates), step.job_pixels(given.dates)
        share = given.storage_bandwidth / min(workers, jobs)
        traffic = step.kind.bytes_per_pixel * pixels
        io_alone = traffic / given.worker_bandwidth
        io = traffic / min(given.worker_bandwidth, share)
        times = step.seconds_per_pixel * pixels + io - io_alone
        times *= np.maximum(0.2, 1 + given.spread * generator.standard_normal(jobs))
        clock += step.planning * given.scenes
        lost["client"] += step.planning * given.scenes
        free, handed, wait = [clock] * workers, clock, 0.0
        for seconds in times:
            ready = heapq.heappop(free)
            handed = max(handed, ready) + given.dispatch
            wait += handed - ready
            heapq.heappush(free, handed + float(seconds))
        end = max(free)
        lost["storage"] += (io - io_alone) * jobs / workers
        lost["scheduler"] += wait / workers
        lost["last jobs"] += end - sum(free) / workers
        clock = end
    most = max(lost, key=lambda name: lost[name])
    return clock, most if lost[most] > 0.01 * clock else "nothing (below 1 %)"


def print_measured(rows: dict[int, list[Row]]) -> None:
    counts = sorted(rows)
    print("| step | Mpx | " + " | ".join(f"{n} worker(s), s" for n in counts) + " |")
    print("|---|--:|" + "--:|" * len(counts))
    for row in rows[counts[0]]:
        times = [next((r.seconds for r in rows[n] if r.step == row.step), 0.0) for n in counts]
        cells = [row.step, f"{row.pixels / 1e6:.1f}", *(f"{t:.2f}" for t in times)]
        print("| " + " | ".join(cells) + " |")


def print_cost(steps: Sequence[Measured], price: float, dates: int) -> None:
    """Each step, and each command with all its steps: predict needs none of prepare's."""
    print("\n| step | s/Mpx on a core | core-hours per million km² | cost |\n|---|--:|--:|--:|")
    for command, of in commands(steps).items():
        total = 0.0
        for step in of:
            # a million km² is 1e10 pixels
            hours = step.seconds_per_pixel * 1e10 * step.pixels(dates) / 3600
            total += hours
            rate = step.seconds_per_pixel * 1e6
            print(f"| {step.name} | {rate:.3f} | {hours:.1f} | {hours * price:.2f} |")
        print(f"| **{command}, {dates} date(s)** | | {total:.1f} | {total * price:.2f} |")


def commands(steps: Sequence[Measured]) -> dict[str, list[Measured]]:
    """The steps of each command, in order."""
    names = dict.fromkeys(step.command for step in steps)
    return {name: [step for step in steps if step.command == name] for name in names}


def print_assumptions(steps: Sequence[Measured], given: Assumptions) -> None:
    print(f"\nAssumptions, {given.scenes:,} scenes of {SCENE_PIXELS / 1e6:.1f} Mpx, ", end="")
    print(f"{given.dates} date(s) a city:")
    print(f"- a job's time grows with its pixels; spread {given.spread:.0%} between scenes")
    print(f"- start-up of a worker {given.start_up:g} s, once, all at the same time")
    print(f"- scheduler and client {given.dispatch * 1e3:.1f} ms a job, one after the other")
    shares = f"{given.worker_bandwidth / 1e6:g} MB/s a worker, {given.storage_bandwidth / 1e6:g}"
    print(f"- storage {shares} MB/s for all; bytes from the formats, nothing cached")
    planning = 1e3 * sum(step.planning for step in steps)
    if planning:
        print(f"- {planning:.1f} ms of the client a scene before the first job of predict: headers")
        print("  and a sample of the values, files in its cache; of other steps it is left out")
    print("- steps one after another; no faults; workers as fast as those measured")


def print_simulation(
    command: str, steps: Sequence[Measured], given: Assumptions, price: float
) -> None:
    print(f"\n`{command}`:\n\n| workers | hours | speed-up | efficiency | cost | most is lost to |")
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
    parser.add_argument("--dates", type=int, default=2, help="of a city")
    return parser.parse_args()


def main() -> None:
    from builtup.simulate.dataset import simulate as simulate_scenes

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
        planning = measure_planning(str(data / "train")) if options.model else 0.0
    steps = [
        Measured(
            r.step,
            r.command,
            r.seconds / r.pixels,
            kind_of(r.step),
            planning if r.step == "predict" else 0.0,
        )
        for r in rows[1]
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
        options.dates,
    )
    print_assumptions(steps, given)
    for command, of in commands(steps).items():
        print_simulation(command, of, given, options.price)


if __name__ == "__main__":
    main()
