"""Charts of a search as inline SVG: its history, what mattered, and which settings went together.

Colours and fonts are the page's: see assets/page.css and assets/search.html.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from builtup.runs.study_records import FINISHED, PRUNED, Axis, SearchRecord, TrialLine

__all__ = ["Scale", "history_chart", "importance_chart", "parallel_chart", "running_best"]

#: The frame of the history in SVG units.
WIDTH, HEIGHT = 340, 270
LEFT, RIGHT, TOP, BOTTOM = 52, 326, 14, 226
#: Of parallel coordinates: between two axes, and from top to bottom.
APART, ABOVE, BELOW = 150, 34, 250
#: Of a bar of importance.
BAR, ROW = 200, 26


@dataclass(frozen=True)
class Scale:
    """Where a value stands between `low` (0) and `high` (1), evenly or by its logarithm."""

    low: float
    high: float
    log: bool = False

    def at(self, value: float) -> float:
        """0 to 1; .5 where there is but one value."""
        low, high, here = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return 0.5 if high == low else (here - low) / (high - low)

    def ticks(self, number: int = 5) -> list[float]:
        """Round values within: powers of ten, or about so many equal steps of 1, 2 or 5."""
        if self.log:
            powers = range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            found = [10.0**power for power in powers]
            return found if len(found) > 1 else [self.low, self.high]
        if self.high == self.low:
            return [self.low]
        rough = (self.high - self.low) / number
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= rough * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(step * i, 12) for i in range(first, last + 1)]


def running_best(trials: Sequence[TrialLine]) -> list[float]:
    """The greatest value of the finished trials up to each; NaN before the first."""
    best, found = math.nan, []
    for line in trials:
        if line.state == FINISHED and line.value is not None:
            best = line.value if math.isnan(best) else max(best, line.value)
        found.append(best)
    return found


def history_chart(record: SearchRecord) -> Markup:
    """The value of each trial in the order in which they ended, and the best so far."""
    values = [line.value for line in record.trials if line.value is not None]
    if not values:
        return Markup("")
    scale = _padded(values)
    last = max(1, len(record.trials) - 1)

    def place(i: int, value: float) -> tuple[float, float]:
        return LEFT + i / last * (RIGHT - LEFT), BOTTOM - scale.at(value) * (BOTTOM - TOP)

    parts = [_level(scale, value) for value in scale.ticks()]
    for i in sorted({0, last // 2, last}):
        x, _ = place(i, scale.low)
        parts.append(_text(x, BOTTOM + 16, "middle", str(i + 1)))
    best = [(i, b) for i, b in enumerate(running_best(record.trials)) if not math.isnan(b)]
    if best:
        steps = ["M{:.1f} {:.1f}".format(*place(*best[0]))]
        for i, value in best[1:]:
            x, y = place(i, value)
            steps.append(f"H{x:.1f}V{y:.1f}")
        parts.append(Markup('<path class="line c" d="{}"/>').format("".join(steps)))
    for i, line in enumerate(record.trials):
        if line.value is not None:
            x, y = place(i, line.value)
            parts.append(
                Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="4">{}</circle>').format(
                    "point" if line.state == FINISHED else "hollow", x, y, _title(line, record)
                )
            )
    parts.append(_name((LEFT + RIGHT) / 2, HEIGHT - 8, "trials, as they ended"))
    described = f"{record.metric} of {len(values)} trials in their order, and the best so far."
    return _svg("chart", WIDTH, HEIGHT, described, parts)


def importance_chart(importance: Mapping[str, float]) -> Markup:
    """Each parameter's share of what sets the best trials apart, the greatest first."""
    ranked = sorted(importance.items(), key=lambda item: (-item[1], item[0]))
    if not ranked:
        return Markup("")
    largest = max(share for _, share in ranked) or 1.0
    parts = []
    for row, (name, share) in enumerate(ranked):
        y = 10 + row * ROW
        parts += [
            _text(118, y + 12, "end", name),
            Markup('<rect class="column" x="124" y="{}" width="{:.1f}" height="16"/>').format(
                y, BAR * share / largest * 0.8
            ),
            _text(130 + BAR * share / largest * 0.8, y + 12, "start", f"{share:.2f}"),
        ]
    said = ", ".join(f"{name} {share:.2f}" for name, share in ranked)
    described = f"Importance: {said}."
    return _svg("chart", WIDTH, 20 + ROW * len(ranked), described, parts)


def parallel_chart(record: SearchRecord) -> Markup:
    """A line a trial through what it tried on each axis, to its value on the last.

    The best is drawn above all others, pruned trials below; failed ones have no value.
    """
    lines = [line for line in record.trials if line.value is not None]
    if not lines or not record.axes:
        return Markup("")
    values = _padded([line.value for line in lines if line.value is not None])
    end, parts = 60 + len(record.axes) * APART, list[Markup]()
    best = record.best
    order = {PRUNED: 0, FINISHED: 1}
    for line in sorted(lines, key=lambda line: (line is best, order[line.state], line.number)):
        which = "best" if line is best else line.state
        heights = [_height(axis, (line.params or {}).get(axis.name)) for axis in record.axes]
        heights.append(values.at(line.value or 0.0))
        places = [
            f"{60 + i * APART} {_y(at):.1f}" for i, at in enumerate(heights) if at is not None
        ]
        if len(places) > 1:
            parts.append(
                Markup('<path class="trial {}" d="M{}">{}</path>').format(
                    which, "L".join(places), _title(line, record)
                )
            )
    for number, axis in enumerate(record.axes):  # above the lines, so that they can be read
        parts.append(_axis(60 + number * APART, axis.name, _marks(axis)))
    marks = [(values.at(value), f"{value:g}") for value in values.ticks()]
    parts.append(_axis(end, record.metric, marks))
    names = ", ".join(axis.name for axis in record.axes)
    described = f"Parallel coordinates of {len(lines)} trials over {names} and {record.metric}."
    return _svg("parallel", end + 70, BELOW + 20, described, parts)


def _padded(values: Sequence[float]) -> Scale:
    """From the least to the greatest, with a little beside."""
    low, high = min(values), max(values)
    beside = (high - low) * 0.05 or 0.05
    return Scale(low - beside, high + beside)


def _marks(axis: Axis) -> list[tuple[float, str]]:
    """Where an axis is labelled, 0 to 1, and how."""
    if axis.choices is not None:
        return [(_of_choice(axis, i), str(choice)) for i, choice in enumerate(axis.choices)]
    scale = Scale(axis.low or 0.0, axis.high or 0.0, axis.log)
    return [(scale.at(value), f"{value:g}") for value in scale.ticks()]


def _height(axis: Axis, value: Any) -> float | None:
    """Where what a trial tried stands on an axis; None where it did not try it."""
    if axis.choices is not None:
        # True and 1 are equal, and may be two choices
        same = [i for i, c in enumerate(axis.choices) if c == value and type(c) is type(value)]
        return _of_choice(axis, same[0]) if same else None
    if value is None:
        return None
    return Scale(axis.low or 0.0, axis.high or 0.0, axis.log).at(float(value))


def _of_choice(axis: Axis, index: int) -> float:
    last = len(axis.choices or ()) - 1
    return index / last if last else 0.5


def _y(at: float) -> float:
    return BELOW - at * (BELOW - ABOVE)


def _axis(x: float, name: str, marks: Sequence[tuple[float, str]]) -> Markup:
    parts = [
        Markup('<path class="grid" d="M{0} {1}V{2}"/>').format(x, ABOVE, BELOW),
        _name(x, ABOVE - 16, name),
    ]
    parts += [_text(x - 6, _y(at) + 4, "end", text) for at, text in marks]
    return Markup("").join(parts)


def _level(scale: Scale, value: float) -> Markup:
    y = BOTTOM - scale.at(value) * (BOTTOM - TOP)
    line = Markup('<path class="grid" d="M{} {:.1f}H{}"/>').format(LEFT, y, RIGHT)
    return line + _text(LEFT - 7, y + 4, "end", f"{value:g}")


def _text(x: float, y: float, anchor: str, text: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        x, y, anchor, text
    )


def _name(x: float, y: float, text: str) -> Markup:
    return Markup('<text class="name" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>').format(
        x, y, text
    )


def _title(line: TrialLine, record: SearchRecord) -> Markup:
    said = f"trial {line.number}, {line.state}: {record.metric} {line.value:.3f}, {line.overrides}"
    return Markup("<title>{}</title>").format(said)


def _svg(kind: str, width: float, height: float, described: str, parts: Sequence[Markup]) -> Markup:
    return Markup('<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        kind, width, height, described, Markup("").join(parts)
    )
