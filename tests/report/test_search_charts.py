"""Charts of a search: scales by hand, the best so far, lines through what was tried."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest

from builtup.report.search_charts import (
    Scale,
    history_chart,
    importance_chart,
    parallel_chart,
    running_best,
)
from builtup.runs.study_records import FAILED, FINISHED, PRUNED, Axis, SearchRecord, TrialLine

RECORD = SearchRecord(
    config="searched",
    metric="val/iou",
    axes=(
        Axis(name="lr", low=1e-4, high=1e-2, log=True),
        Axis(name="<kind>", choices=("a", True, 1)),
    ),
    trials=(
        TrialLine(number=0, state=PRUNED, value=0.9, params={"lr": 1e-3, "<kind>": "a"}),
        TrialLine(number=1, state=FINISHED, value=0.4, params={"lr": 1e-4, "<kind>": True}),
        TrialLine(number=2, state=FINISHED, value=0.6, params={"lr": 1e-2, "<kind>": 1}),
        TrialLine(number=3, state=FINISHED, value=0.5, params={"lr": 1e-3}),
        TrialLine(number=4, state=FAILED, params={"lr": 1e-3, "<kind>": "a"}),
    ),
)


@pytest.mark.parametrize(
    ("scale", "value", "at", "ticks"),
    [
        (Scale(0.0, 1.0), 0.25, 0.25, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (Scale(0.31, 0.58), 0.31, 0.0, [0.4, 0.5]),
        (Scale(1e-4, 1e-1, log=True), 1e-2, 2 / 3, [1e-4, 1e-3, 1e-2, 1e-1]),
        (Scale(0.2, 0.5, log=True), 0.5, 1.0, [0.2, 0.5]),
        (Scale(3.0, 3.0), 3.0, 0.5, [3.0]),
    ],
)
def test_values_stand_where_they_belong(
    scale: Scale, value: float, at: float, ticks: list[float]
) -> None:
    assert scale.at(value) == pytest.approx(at)
    assert scale.ticks() == pytest.approx(ticks)


def test_a_pruned_trial_is_no_best_so_far() -> None:
    found = running_best(RECORD.trials)
    assert math.isnan(found[0]) and found[1:] == [0.4, 0.6, 0.6, 0.6]


def test_the_history_has_a_point_a_trial_with_a_value() -> None:
    svg = history_chart(RECORD)
    assert svg.count('class="point"') == 3 and svg.count('class="hollow"') == 1
    assert svg.count('class="line c"') == 1


def test_parallel_lines_go_through_what_was_tried() -> None:
    """On an axis from y = 250 up to 34: .001 is the middle of its logarithm, 142."""
    svg = parallel_chart(RECORD)
    paths = re.findall(r'class="trial (\w+)" d="([^"]+)"', svg)
    assert [state for state, _ in paths] == ["pruned", "finished", "finished", "best"]
    assert paths[0][1].startswith("M60 142.0L210 250.0L360 ")
    assert paths[1][1].startswith("M60 250.0L210 142.0L360 ")  # True, which equals 1
    assert paths[2][1].startswith("M60 142.0L360 ")  # without what it did not try
    assert paths[3][1].startswith("M60 34.0L210 34.0L360 ")
    assert "<kind>" not in svg and "&lt;kind&gt;" in svg


def test_bars_are_ranked() -> None:
    svg = importance_chart({"lr": 0.2, "decay": 0.8})
    assert svg.index("decay</text>") < svg.index("lr</text>")
    assert importance_chart({}) == ""


def test_a_search_without_a_value_has_no_charts() -> None:
    empty = replace(RECORD, trials=RECORD.trials[-1:])
    assert history_chart(empty) == parallel_chart(empty) == ""
