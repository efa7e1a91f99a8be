"""Measure the claims of this project: `python benchmarks/run.py [--only CASE] [--size N]`.

Prints a table, and writes results.json (every run) and RESULTS.md (the table) beside this file;
cases that are not chosen keep their entries there, where the machine is the same.
The scene, about 12 GB with what is made from it, stands in output/bench/ and is kept. A peer that
cannot be installed, fails, runs out of memory or past its time costs a line of the table.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from cases import CASES, chosen
from environments import Unavailable
from growth import GROWTHS, Growth, grow
from harness import HERE, Comparison, SideFailed, compare, machine
from scene import ROOT, StepFailed, Workspace
from spaces import Spaces
from startup import DATA_COMMANDS, Startup, measure_startup
from tables import PARTS, Results, document, merged, render

STARTUP = "startup"
#: Cases that read no scene of the simulator.
WITHOUT_SCENE = ("polygonize", "memory-polygonize", "patches-optical", STARTUP)


def main() -> int:
    """Run the chosen cases; the exit status is 1 when a target was missed or a side failed."""
    options = _parse()
    before = machine()
    spaces = Spaces.below(options.root, options.size, options.small, options.polygons, options.huge)
    names = chosen(options.only or [], [*CASES, *GROWTHS, STARTUP])
    for space in _needed(names, spaces):
        _say(f"scene of {space.size}²")
        space.simulate()
    results = _measure(names, spaces, options.pairs)
    now = {"machine": before, "size": options.size, **results.as_json()}
    print("\n" + render(now))
    order = [*CASES, *GROWTHS, *DATA_COMMANDS]
    found = merged(_before(options.output), now, order)
    _write(options.output, document(found), found)
    return 1 if results.missed or results.notes else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    known = [*CASES, *GROWTHS, STARTUP]
    groups = sorted({*known, *(name.partition("-")[0] for name in known)})
    add("--only", action="append", choices=groups, help="a case or a group; may be repeated")
    add("--size", type=int, default=12288, help="side of the scene in pixels")
    add("--small", type=int, default=4096, help="side of the scene that is searched on")
    add("--polygons", type=int, default=10_000, help="side of the mask of many regions")
    add("--huge", type=int, default=24_576, help="side of the scene that memory is measured on")
    add("--pairs", type=int, default=3, help="alternating pairs a case")
    add("--root", type=Path, default=ROOT / "output" / "bench", help="where the scenes stand")
    add("--output", type=Path, default=HERE, help="folder of results.json and RESULTS.md")
    return parser.parse_args()


def _needed(names: list[str], spaces: Spaces) -> list[Workspace]:
    """The scenes that the chosen cases read."""
    reading = [n for n in names if not n.startswith(WITHOUT_SCENE)]
    if not reading:
        return []
    if reading == ["memory-inference"] or spaces.large == spaces.small:
        return [spaces.small]
    return [spaces.large, spaces.small]


def _measure(names: list[str], spaces: Spaces, pairs: int) -> Results:
    comparisons: list[Comparison] = []
    growths: list[Growth] = []
    notes: dict[str, str] = {}
    for name in names:
        if name == STARTUP:
            continue
        _say(name)
        try:
            if name in GROWTHS:
                growths.append(grow(name, spaces, pairs))
            else:
                comparisons.append(compare(CASES[name](spaces), pairs))
        except (Unavailable, SideFailed, StepFailed) as e:
            notes[name] = str(e)
            print(f"{name}: not measured: {e}", file=sys.stderr)
    startups: list[Startup] = []
    if STARTUP in names:
        startups = [measure_startup(c) for c in DATA_COMMANDS]
    return Results(comparisons, growths, startups, notes)


def _say(text: str) -> None:
    print(f"… {text}", file=sys.stderr, flush=True)


def _before(folder: Path) -> dict[str, Any]:
    """What was measured before; nothing where that is of another form."""
    try:
        found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    dated = isinstance(found, dict) and all(
        "commit" in entry for part in PARTS for entry in found.get(part, {}).values()
    )
    return found if dated else {}


def _write(folder: Path, text: str, results: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (folder / "RESULTS.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
