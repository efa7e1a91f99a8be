"""This checkout against another one of the project: the same work, in alternation.

    python benchmarks/against.py OTHER [--only merge] [--model RUN] [--pairs 3]

OTHER is a checkout (`git worktree add ../before <commit>`) whose own benchmarks/ours/ are run with
its code. Printed are this one's throughput over the other's, by wall clock and by CPU seconds, pair
by pair, and the peaks of memory. Exit status 1 where a median of CPU seconds is below .95 of the
other's; on a machine that does other work the wall clock says little. `predict` wants a training
run that both can read (`--model`, with MLFLOW_TRACKING_URI where it is another database).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from harness import HERE, Case, Comparison, Side, SideFailed, compare, spread
from many_polygons import remove_polygons
from scene import CITY, ROOT, Workspace, city_rasters

#: What the new side must reach of the old one's throughput.
LEAST = 0.95
DATA_COMMANDS = ("generate_3b_images", "generate_tiles_stats", "predict")


def main() -> int:
    options = _parse()
    cases = dict(_cases(options))
    missed = False
    print(f"{'case':22} {'wall':>22} {'CPU':>22} {'MB':>6} {'before':>6}")
    for name, make in cases.items():
        if options.only and not any(name.startswith(word) for word in options.only):
            continue
        try:
            found = compare(make(), options.pairs)
        except SideFailed as e:
            print(f"{name:22} not measured: {str(e).splitlines()[0]}")
            missed = True
            continue
        missed |= _report(name, found)
    return 1 if missed else 0


def _report(name: str, found: Comparison) -> bool:
    """Print a line; whether the case is too slow."""
    pairs = list(zip(found.ours, found.peer, strict=True))
    wall = spread([b.seconds / a.seconds for a, b in pairs])
    cpu = spread([b.cpu_seconds / a.cpu_seconds for a, b in pairs])
    memory = [spread([m.memory_mb for m in runs]).median for runs in (found.ours, found.peer)]
    columns = [f"{s.median:.2f} ({s.low:.2f} to {s.high:.2f})" for s in (wall, cpu)]
    slow = cpu.median < LEAST
    print(
        f"{name:22} {columns[0]:>22} {columns[1]:>22} {memory[0]:6.0f} {memory[1]:6.0f}"
        + (f"  below {LEAST}" if slow else ""),
        flush=True,
    )
    return slow


def _cases(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Case]]]:
    """Name and maker of each case; what a case reads is made when its turn comes."""
    space = Workspace(options.root / str(options.size), options.size)
    other: Path = options.other.resolve()

    def sides(file: str, scratch: Path | None = None, **arguments: object) -> tuple[Side, Side]:
        def side(name: str, checkout: Path) -> Side:
            env = {"PYTHONPATH": str(checkout / "code")}
            if scratch is not None:
                env["XDG_CACHE_HOME"] = str(scratch / "cache")  # each run hashes its inputs
            return Side(
                name, checkout / "benchmarks/ours" / file, arguments, env=env, scratch=scratch
            )

        return side("now", ROOT), side("before", other)

    def case(name: str, made: tuple[Side, Side], inputs: list[Path], **more: object) -> Case:
        return Case(name, name, "work", *made, inputs, **more)  # type: ignore[arg-type]

    def prepared() -> Workspace:
        space.simulate()
        space.prepare()
        space.cut()
        return space

    def step(file: str) -> Callable[[], Case]:
        def make() -> Case:
            prepared()
            scratch = space.scratch("against")
            both = sides(file, scratch, train=str(space.train), output=str(scratch / "out"))
            inputs = [space.polarisation("vv"), space.polarisation("vh")]
            return case(file, both, inputs)

        return make

    def patches() -> Case:
        prepared()
        drawn = {"size": 256, "batch_size": 16, "seed": 0, "patches": 4000, "workers": 0}
        both = sides("patches.py", tiles=str(space.tiles), **drawn)
        return case("patches", both, [space.image, space.mask])

    def inference() -> Case:
        prepared()
        scratch = space.scratch("against")
        how = {"window": 512, "overlap": 64, "batch_size": 4, "threads": 2}
        output = str(scratch / "prob.tif")
        both = sides("inference.py", scratch, image=str(space.image), output=output, **how)
        return case("inference", both, [space.image])

    def polygons(size: int, sigma: float) -> Callable[[], Case]:
        def make() -> Case:
            folder = options.root / f"against_{size}_{sigma:g}"
            mask = folder / "raw" / f"{CITY}.tif"
            if not mask.exists():
                city_rasters(folder, size, sigma)
            both = sides("polygonize.py", folder=str(folder))
            return case("polygonize", both, [mask], cleanup=lambda: remove_polygons(mask.parent))

        return make

    def command(work: float, *words: str) -> Callable[[], Case]:
        def make() -> Case:
            if "predict" in words and "--help" not in words:
                prepared()
            scratch = space.scratch("against")
            file = HERE / "ours" / "command.py"

            def side(name: str, checkout: Path) -> Side:
                arguments = {"code": str(checkout / "code"), "command": list(words), "work": work}
                return Side(name, file, arguments, scratch=scratch)

            inputs = [] if "--help" in words else [space.polarisation("vv")]
            return case(words[0], (side("now", ROOT), side("before", other)), inputs)

        return make

    yield "merge", step("merge.py")
    yield "rasterise", step("rasterize.py")
    yield "patches", patches
    yield "inference", inference
    yield f"polygonise {options.small}²", polygons(options.small, 7)
    yield f"polygonise {options.polygons}²", polygons(options.polygons, 2.7)
    for name in DATA_COMMANDS:
        yield f"--help {name}", command(1.0, name, "--help")
    if options.model:
        output = space.scratch("against") / "maps"
        words = ("--model", options.model, "--input_path", str(space.train))
        more = ("--output_path", str(output), "--device", "cpu", "--num_workers", "1")
        yield f"predict {options.size}²", command(options.size**2 / 1e6, "predict", *words, *more)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("other", type=Path, help="the checkout to compare with")
    add("--only", action="append", help="cases whose name begins so; may be repeated")
    add("--model", default="", help="a training run, for the case predict")
    add("--pairs", type=int, default=3, help="alternating pairs a case")
    add("--size", type=int, default=4096, help="side of the scene in pixels")
    add("--small", type=int, default=4096, help="side of the mask of towns")
    add("--polygons", type=int, default=10_000, help="side of the mask of many regions")
    add("--root", type=Path, default=ROOT / "output" / "bench", help="where the scenes stand")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
