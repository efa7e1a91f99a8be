"""The cost of a country: what is counted once a city, and a simulation that can be done by hand."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from helpers import write_scene

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from scaling import (
    SCENE_PIXELS,
    Assumptions,
    Kind,
    Measured,
    Row,
    kind_of,
    measure_planning,
    print_cost,
    print_measured,
    simulate,
)

SECOND = 1 / SCENE_PIXELS  # a pixel: a scene takes one
GIVEN = Assumptions(0.0, 0.0, 10 * SCENE_PIXELS, 10 * SCENE_PIXELS, 0.0, 8, 2)
SCENES = Measured("train/rasterize", "prepare", SECOND, Kind(0))


def of_city(one_date: bool) -> Measured:
    return Measured("x", "predict", SECOND, Kind(0, per_city=True, one_date=one_date))


def test_workers_share_the_jobs_after_their_start() -> None:
    assert simulate([SCENES], 1, GIVEN) == (8.0, "nothing (below 1 %)")
    assert simulate([SCENES], 2, replace(GIVEN, start_up=5)) == (9.0, "start-up")
    assert simulate([SCENES, SCENES], 4, GIVEN)[0] == 4.0
    assert simulate([SCENES], 3, GIVEN) == (3.0, "last jobs")  # 3, 3 and 2 seconds


def test_a_step_of_cities_has_a_job_for_all_dates_of_one() -> None:
    assert simulate([of_city(one_date=True)], 1, GIVEN)[0] == 4.0
    assert simulate([of_city(one_date=False)], 1, GIVEN)[0] == 8.0
    assert simulate([of_city(one_date=False)], 8, GIVEN)[0] == 2.0  # four jobs, two scenes each


def test_all_wait_for_what_the_client_does_first() -> None:
    assert simulate([replace(SCENES, planning=0.5)], 8, GIVEN) == (5.0, "client")


def test_the_scheduler_hands_out_one_job_after_another() -> None:
    assert simulate([SCENES], 8, replace(GIVEN, dispatch=1)) == (9.0, "scheduler")


def test_workers_share_the_storage() -> None:
    reading = replace(SCENES, kind=Kind(5))  # half a second, measured; a whole one for two
    assert simulate([reading], 1, GIVEN)[0] == 8.0
    assert simulate([reading], 2, GIVEN) == (6.0, "storage")


def test_dates_are_paid_where_a_step_looks_at_each(capsys: pytest.CaptureFixture[str]) -> None:
    hour = 3600 / 1e10  # a pixel: one core-hour for a million km²
    prepared = Measured("train/rasterize", "prepare", 2 * hour, Kind(1))
    steps = [prepared] + [
        replace(s, name=n, seconds_per_pixel=hour)
        for n, s in {
            "predict": replace(SCENES, command="predict"),
            "all_agg_by_city": of_city(one_date=False),
            "polygonize": of_city(one_date=True),
        }.items()
    ]
    print_cost(steps, price=0.5, dates=3)
    assert capsys.readouterr().out.splitlines()[3:] == [
        "| train/rasterize | 0.720 | 6.0 | 3.00 |",
        "| **prepare, 3 date(s)** | | 6.0 | 3.00 |",
        "| predict | 0.360 | 3.0 | 1.50 |",
        "| all_agg_by_city | 0.360 | 3.0 | 1.50 |",
        "| polygonize | 0.360 | 1.0 | 0.50 |",
        "| **predict, 3 date(s)** | | 7.0 | 3.50 |",
    ]


def test_every_step_is_known_by_the_end_of_its_name() -> None:
    names = ["train/generate_tiles/masks", "test/generate_test_tiles", "predict", "write_products"]
    assert [kind_of(name).bytes_per_pixel for name in names] == [2, 24, 9, 6]
    assert kind_of("polygonize").per_city and kind_of("write_products").one_date


def test_measured_times_stand_beside_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {n: [Row("prepare", "train/rasterize", 4 / n, 2_000_000)] for n in (2, 1)}
    print_measured(rows)
    assert capsys.readouterr().out.splitlines()[2] == "| train/rasterize | 2.0 | 4.00 | 2.00 |"


def test_the_client_is_timed_on_scenes(tmp_path: Path) -> None:
    write_scene(tmp_path, date="20150101")
    write_scene(tmp_path, date="20150113")
    assert 0 < measure_planning(str(tmp_path)) < 30
