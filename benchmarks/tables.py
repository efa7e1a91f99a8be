"""The tables of the measured claims, in Markdown, from what results.json holds.

A case, a growth or a start-up is an entry of its own, with the commit and the day of its
measurement: cases that are measured again replace their entries, the others stay (`merged`).
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from growth import MOST_GROWTH, MOST_MB, Growth
from harness import HERE, Comparison
from startup import Startup

__all__ = ["Found", "Results", "document", "merged", "render"]

#: What results.json holds: "machine", "size" of the scene, and by name "cases", "growth", "startup"
#: and "notes".
Found = dict[str, Any]
PARTS = ("cases", "growth", "startup")


@dataclass(frozen=True)
class Results:
    """What a run measured; `notes` hold, by case, why it was not measured."""

    comparisons: Sequence[Comparison]
    growths: Sequence[Growth]
    startups: Sequence[Startup]
    notes: Mapping[str, str]

    @property
    def missed(self) -> bool:
        """Whether a target was missed."""
        every = (*self.comparisons, *self.growths, *self.startups)
        return any(result.misses() for result in every)

    def as_json(self) -> Found:
        """Every run and the figures drawn from them, with when and of what code."""
        when = {"commit": _commit(), "day": datetime.now(UTC).date().isoformat()}
        return {
            "cases": {c.case.name: c.as_json() | when for c in self.comparisons},
            "growth": {g.name: g.as_json() | when for g in self.growths},
            "startup": {s.command: s.as_json() | when for s in self.startups},
            "notes": dict(self.notes),
        }


def merged(before: Found, now: Found, order: Sequence[str]) -> Found:
    """`now`, with what only `before` holds; sorted by `order`.

    What was measured on another machine stays and says so: ratios hold side by side, seconds do
    not. Nothing is taken over from a scene of another size.
    """
    if before.get("size") != now["size"]:
        return now
    machine = _named(now["machine"])
    found: Found = {"machine": now["machine"], "size": now["size"]}
    for part in PARTS:
        kept = {
            name: {"machine": _named(before["machine"]), **entry}
            for name, entry in before.get(part, {}).items()
        }
        every = {
            **kept,
            **{name: {**entry, "machine": machine} for name, entry in now[part].items()},
        }
        places = {name: order.index(name) if name in order else len(order) for name in every}
        found[part] = dict(sorted(every.items(), key=lambda item: places[item[0]]))
    measured = {name for part in PARTS for name in now[part]}
    notes = {k: v for k, v in before.get("notes", {}).items() if k not in measured}
    found["notes"] = {**notes, **now["notes"]}
    for name in now["notes"]:
        for part in PARTS:
            found[part].pop(name, None)
    return found


def _named(machine: Mapping[str, Any]) -> str:
    """What a machine is known by."""
    return "{cpu}, {cores} cores, {memory_gb} GB, Python {python}".format_map(
        {key: machine.get(key, "?") for key in ("cpu", "cores", "memory_gb", "python")}
    )


def render(found: Found) -> str:
    """All tables; what was not measured has a line in the first, with its reason."""
    here = _named(found.get("machine", {}))
    lines: list[str] = []
    if found["cases"] or found["notes"]:
        lines += [
            "| case | ours | peer | ratio (least–greatest) | target | our memory | peer's memory "
            "| on the small scene | met | commit, day |",
            "|---|---|---|---|---|---|---|---|---|---|",
            *(_row(c, here) for c in found["cases"].values()),
            *(_missing(name, reason) for name, reason in found["notes"].items()),
            "",
        ]
    if found["growth"]:
        lines += [
            "| memory of | small raster | large raster | growth | target | met | commit, day |",
            "|---|---|---|---|---|---|---|",
            *(_growth_row(g, here) for g in found["growth"].values()),
            "",
        ]
    if found["startup"]:
        lines += [
            "| `--help` of | seconds (least–greatest) | heavy imports | met | commit, day |",
            "|---|---|---|---|---|",
            *(_startup_row(name, s, here) for name, s in found["startup"].items()),
            "",
        ]
    return "\n".join(lines) + "\n"


def _row(case: Found, here: str) -> str:
    ours, peer, *small = case["sides"].items()
    ratio, memory, growth = (case["targets"][k] for k in ("ratio", "memory_mb", "memory_growth"))
    target = [f"≥ {ratio:g}"] if ratio else []
    target += [f"≤ {memory:g} MB"] if memory else []
    on_small = "–"
    if small and case["memory_growth"] is not None:
        target += [f"growth ≤ {growth:g}"] if growth else []
        grown = case["memory_growth"]
        on_small = f"{small[0][1]['memory_mb']['median']:.0f} MB (growth {grown:.2f})"
    setting = f"{ours[1]['setting']}: " if ours[1]["setting"] else ""
    cells = [
        case["title"],
        setting + _speed(ours[1], case["unit"]),
        f"{_title(*peer)}: {_speed(peer[1], case['unit'])}",
        f"**{case['ratio']['median']:.2f}** {_range(case['ratio'])}",
        ", ".join(target),
        f"{ours[1]['memory_mb']['median']:.0f} MB",
        f"{peer[1]['memory_mb']['median']:.0f} MB",
        on_small,
        "; ".join(case["misses"]) or "yes",
        _when(case, here),
    ]
    return f"| {' | '.join(cells)} |"


def _title(name: str, side: Found) -> str:
    return f"{name} ({side['setting']})" if side["setting"] else name


def _range(spread: Found) -> str:
    return f"({spread['low']:.2f}–{spread['high']:.2f})"


def _when(entry: Found, here: str) -> str:
    machine = entry.get("machine", here)
    return f"{entry['commit']}, {entry['day']}" + ("" if machine == here else f", on {machine}")


def _missing(name: str, reason: str) -> str:
    """A line for a case without figures."""
    said = reason.splitlines()[0].replace("|", "/")
    return f"| {name} | – | not measured: {said} | – | – | – | – | – | no | – |"


def _speed(side: Found, unit: str) -> str:
    wall, cpu = side["seconds"]["median"], side["cpu_seconds"]["median"]
    return f"{side['rate']['median']:.1f} {unit}/s ({wall:.1f} s, CPU {cpu:.1f} s)"


def _growth_row(g: Found, here: str) -> str:
    sizes = [
        f"{int(size):,}²: {memory:.0f} MB"
        for size, memory in zip(g["seconds_memory_loaded"], g["memory_mb"], strict=True)
    ]
    target = f"≤ {MOST_MB:g} MB, growth ≤ {MOST_GROWTH:g}"
    met = "; ".join(g["misses"]) or "yes"
    cells = [g["title"], *sizes, f"**{g['growth']:.2f}**", target, met, _when(g, here)]
    return f"| {' | '.join(cells)} |"


def _startup_row(command: str, s: Found, here: str) -> str:
    time = f"{s['seconds']['median']:.2f} {_range(s['seconds'])}"
    heavy, met = ", ".join(s["imported"]) or "none", "; ".join(s["misses"]) or "yes"
    return f"| {command} | {time} | {heavy} | {met} | {_when(s, here)} |"


def document(found: Found) -> str:
    """RESULTS.md: what was measured, on what, and how; then the tables."""
    versions: dict[str, str] = {}
    for case in found["cases"].values():
        for side in case["sides"].values():
            versions |= side["versions"]
    named = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    machine, size = found["machine"], found["size"]
    pairs = {len(run["runs"]) for case in found["cases"].values() for run in case["sides"].values()}
    counted = " or ".join(map(str, sorted(pairs))) or "no"
    head = f"""# Measured

`make bench`, or case by case `python benchmarks/run.py --only <case>`, on {machine["cpu"]},
{machine["cores"]} cores, {machine["memory_gb"]} GB, {machine["system"]}; load average at the start
of the last run {machine["load_average"]}, before and after each case in `results.json`.
A simulated scene of {size:,}² pixels; {counted} alternating pairs a case, each run in a fresh
process, its inputs in the page cache (read once before each run, on both sides alike). Figures
are medians; the ratio is that of the throughputs, pair by pair. Memory is the peak above the
process with its imports (and model) loaded, in MB of 10⁶ bytes; that of loader processes is not
counted. Batch, threads, loader processes and file layout are each side's own best of a small
search, which `results.json` records. Maps and counts of regions are compared with ours; where
they differ, the column `met` says so; the last column names the machine where it was another one
than that above. The merge hashes the scene's files, as the
first step of the chain does; later steps have their sha256 remembered (`builtup.jobs.digests`).
Versions: {named}.

"""
    return head + render(found)


def _commit() -> str:
    """The commit that is measured, with a + where files differ from it."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude=*", "--abbrev=7"],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
    )
    return said.stdout.strip() or "unknown"
