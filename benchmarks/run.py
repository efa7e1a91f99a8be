"""Measure the claims of this project: `python benchmarks/run.py [--only CASE] [--size N]`.

Prints a table, and writes results.json (every run) and RESULTS.md (the table) beside this file.
The scene, about 12 GB with what is made from it, stands in output/bench/ and is kept.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from cases import CASES
from environments import Unavailable
from harness import HERE, Comparison, SideFailed, compare, machine
from scene import ROOT, StepFailed, Workspace
from startup import DATA_COMMANDS, Startup, measure_startup

SMALL = 4096
LARGE = 12288
STARTUP = "startup"


def main() -> int:
    """Run the chosen cases; the exit status is 1 when a target was missed or a side failed."""
    options = _parse()
    started = time.perf_counter()
    before = machine()
    spaces = {n: Workspace(options.root / str(n), n) for n in (options.size, options.small)}
    large, small = spaces[options.size], spaces[options.small]
    chosen = options.only or [*CASES, STARTUP]
    for space in _needed(chosen, large, small):
        _say(f"scene of {space.size}²")
        space.simulate()
    comparisons: list[Comparison] = []
    notes: list[str] = []
    for name in chosen:
        if name == STARTUP:
            continue
        _say(name)
        try:
            case = CASES[name](large, small, options.threads)
            comparisons.append(compare(case, options.pairs))
        except (Unavailable, SideFailed, StepFailed) as e:
            notes.append(f"{name}: not measured: {e}")
            print(notes[-1], file=sys.stderr)
    startups = [measure_startup(c) for c in DATA_COMMANDS] if STARTUP in chosen else []
    minutes = (time.perf_counter() - started) / 60
    table = render(comparisons, startups, notes)
    head = heading(before, comparisons, options, minutes)
    print("\n" + table)
    _write(options.output, head + table, comparisons, startups, notes, before)
    missed = [m for result in (*comparisons, *startups) for m in result.misses()]
    return 1 if missed or notes else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--only", action="append", choices=[*CASES, STARTUP], help="a case; may be repeated")
    add("--size", type=int, default=LARGE, help="side of the scene in pixels")
    add("--small", type=int, default=SMALL, help="side of the scene that memory is held against")
    add("--pairs", type=int, default=3, help="alternating pairs a case")
    add("--threads", type=int, default=1, help="torch threads of both sides; see heading()")
    add("--root", type=Path, default=ROOT / "output" / "bench", help="where the scenes stand")
    add("--output", type=Path, default=HERE, help="folder of results.json and RESULTS.md")
    return parser.parse_args()


def _needed(chosen: list[str], large: Workspace, small: Workspace) -> list[Workspace]:
    """The scenes that the chosen cases read: none for start-up and polygonise."""
    if not {"merge", "rasterize", "patches", "inference"} & set(chosen):
        return []
    return [large] if large == small else [large, small]


def _say(text: str) -> None:
    print(f"… {text}", file=sys.stderr, flush=True)


def render(comparisons: list[Comparison], startups: list[Startup], notes: list[str]) -> str:
    """The tables, in Markdown."""
    lines = []
    if comparisons:
        lines += [
            "| case | ours | peer | ratio (least–greatest) | target | our memory | peer's memory "
            "| on the small scene | met |",
            "|---|---|---|---|---|---|---|---|---|",
            *(_row(c) for c in comparisons),
            "",
        ]
    if startups:
        lines += [
            "| `--help` of | seconds (least–greatest) | heavy imports | met |",
            "|---|---|---|---|",
            *(_startup_row(s) for s in startups),
            "",
        ]
    lines += [f"- {note.splitlines()[0]}" for note in notes]
    return "\n".join(lines) + "\n"


def _row(c: Comparison) -> str:
    sides = c.as_json()["sides"]
    ours, peer = sides[c.case.ours.name], sides[c.case.peer.name]
    target = [f"≥ {c.case.least_ratio:g}"] if c.case.least_ratio else []
    target += [f"≤ {c.case.most_memory_mb:g} MB"] if c.case.most_memory_mb else []
    small = "–"
    if c.case.small is not None and c.growth is not None:
        target += [f"growth ≤ {c.case.most_growth:g}"] if c.case.most_growth else []
        memory = sides[c.case.small.name]["memory_mb"]["median"]
        small = f"{memory:.0f} MB (growth {c.growth:.2f})"
    cells = [
        c.case.title,
        _speed(ours, c.case.unit),
        f"{c.case.peer.name}: {_speed(peer, c.case.unit)}",
        f"**{c.ratio.median:.2f}** ({c.ratio.low:.2f}–{c.ratio.high:.2f})",
        ", ".join(target),
        f"{ours['memory_mb']['median']:.0f} MB",
        f"{peer['memory_mb']['median']:.0f} MB",
        small,
        "; ".join(c.misses()) or "yes",
    ]
    return f"| {' | '.join(cells)} |"


def _speed(side: dict[str, Any], unit: str) -> str:
    wall, cpu = side["seconds"]["median"], side["cpu_seconds"]["median"]
    return f"{side['rate']['median']:.1f} {unit}/s ({wall:.1f} s, CPU {cpu:.1f} s)"


def _startup_row(s: Startup) -> str:
    time_ = f"{s.seconds.median:.2f} ({s.seconds.low:.2f}–{s.seconds.high:.2f})"
    heavy = ", ".join(s.imported) or "none"
    return f"| {s.command} | {time_} | {heavy} | {'; '.join(s.misses()) or 'yes'} |"


def heading(
    before: dict[str, Any],
    comparisons: list[Comparison],
    options: argparse.Namespace,
    minutes: float,
) -> str:
    """What was measured, on what, and how."""
    size, pairs, threads = options.size, options.pairs, options.threads
    versions: dict[str, str] = {}
    for c in comparisons:
        for run in (c.ours[0], c.peer[0]):
            versions |= run.versions
    named = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    return f"""# Measured

`make bench` on {before["cpu"]}, {before["cores"]} cores, {before["memory_gb"]} GB,
{before["system"]}; load average at the start {before["load_average"]};
{minutes:.0f} minutes in all.
A simulated scene of {size:,}² pixels; {pairs} alternating pairs a case, each run in a fresh
process, its inputs in the page cache (read once before each run, on both sides alike). Figures
are medians; the ratio is that of the throughputs, pair by pair. Memory is the peak above the
process with its imports (and model) loaded, in MB of 10⁶ bytes. Torch ran with {threads} thread(s)
on both sides. The sha256 of the scene's files was remembered from an earlier step, as in every step
of the chain but the first (`builtup.digests`): to hash them, too, takes about 4 s.
Versions: {named}.

"""


def _write(
    folder: Path,
    text: str,
    comparisons: list[Comparison],
    startups: list[Startup],
    notes: list[str],
    before: dict[str, Any],
) -> None:
    results = {
        "machine": before,
        "cases": {c.case.name: c.as_json() for c in comparisons},
        "startup": {s.command: s.as_json() for s in startups},
        "notes": notes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (folder / "RESULTS.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
