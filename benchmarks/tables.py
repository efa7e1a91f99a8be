"""The tables of the measured claims, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from growth import MOST_GROWTH, MOST_MB, Growth
from harness import Comparison
from startup import Startup

__all__ = ["Results", "heading", "render"]


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

    def as_json(self) -> dict[str, Any]:
        """Every run and the figures drawn from them."""
        return {
            "cases": {c.case.name: c.as_json() for c in self.comparisons},
            "growth": {g.name: g.as_json() for g in self.growths},
            "startup": {s.command: s.as_json() for s in self.startups},
            "notes": dict(self.notes),
        }


def render(results: Results) -> str:
    """All tables; what was not measured has a line in the first, with its reason."""
    lines: list[str] = []
    if results.comparisons or results.notes:
        lines += [
            "| case | ours | peer | ratio (least–greatest) | target | our memory | peer's memory "
            "| on the small scene | met |",
            "|---|---|---|---|---|---|---|---|---|",
            *(_row(c) for c in results.comparisons),
            *(_missing(name, reason) for name, reason in results.notes.items()),
            "",
        ]
    if results.growths:
        lines += [
            "| memory of | small raster | large raster | growth | target | met |",
            "|---|---|---|---|---|---|",
            *(_growth_row(g) for g in results.growths),
            "",
        ]
    if results.startups:
        lines += [
            "| `--help` of | seconds (least–greatest) | heavy imports | met |",
            "|---|---|---|---|",
            *(_startup_row(s) for s in results.startups),
            "",
        ]
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
    setting = f"{c.case.ours.setting}: " if c.case.ours.setting else ""
    cells = [
        c.case.title,
        setting + _speed(ours, c.case.unit),
        f"{c.case.peer.title}: {_speed(peer, c.case.unit)}",
        f"**{c.ratio.median:.2f}** ({c.ratio.low:.2f}–{c.ratio.high:.2f})",
        ", ".join(target),
        f"{ours['memory_mb']['median']:.0f} MB",
        f"{peer['memory_mb']['median']:.0f} MB",
        small,
        "; ".join(c.misses()) or "yes",
    ]
    return f"| {' | '.join(cells)} |"


def _missing(name: str, reason: str) -> str:
    """A line for a case without figures."""
    said = reason.splitlines()[0].replace("|", "/")
    return f"| {name} | – | not measured: {said} | – | – | – | – | – | no |"


def _speed(side: dict[str, Any], unit: str) -> str:
    wall, cpu = side["seconds"]["median"], side["cpu_seconds"]["median"]
    return f"{side['rate']['median']:.1f} {unit}/s ({wall:.1f} s, CPU {cpu:.1f} s)"


def _growth_row(g: Growth) -> str:
    sizes = [
        f"{size:,}²: {memory:.0f} MB" for size, memory in zip(g.sizes, g.megabytes, strict=True)
    ]
    target = f"≤ {MOST_MB:g} MB, growth ≤ {MOST_GROWTH:g}"
    cells = [g.title, *sizes, f"**{g.growth:.2f}**", target, "; ".join(g.misses()) or "yes"]
    return f"| {' | '.join(cells)} |"


def _startup_row(s: Startup) -> str:
    time_ = f"{s.seconds.median:.2f} ({s.seconds.low:.2f}–{s.seconds.high:.2f})"
    heavy = ", ".join(s.imported) or "none"
    return f"| {s.command} | {time_} | {heavy} | {'; '.join(s.misses()) or 'yes'} |"


def heading(
    before: dict[str, Any], results: Results, *, size: int, pairs: int, minutes: float
) -> str:
    """What was measured, on what, and how."""
    versions: dict[str, str] = {}
    for c in results.comparisons:
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
process with its imports (and model) loaded, in MB of 10⁶ bytes; that of loader processes is not
counted. Batch, threads, loader processes and file layout are each side's own best of a small
search, which `results.json` records. Maps and counts of regions are compared with ours; where
they differ, the last column says so. The merge hashes the scene's files, as the
first step of the chain does; later steps have their sha256 remembered (`builtup.digests`).
Versions: {named}.

"""
