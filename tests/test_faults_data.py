"""Merge, rasterize and simulate, killed at random moments and run again, leave the same bytes."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from builtup.errors import OutputError
from builtup.jobs.steps import Summary
from builtup.sensors.radar.merge import generate_3b_images
from builtup.simulate.dataset import simulate
from builtup.tiles.masks import rasterize
from forks import processes_with
from helpers import TRANSFORM, city_polygons, speckle, write_polygons, write_scene
from kills import outputs, strike

KILLS = 12
SIZE = 800
STEPS: list[Callable[..., Summary]] = [generate_3b_images, rasterize]


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cities, three dates in all, with some hundred buildings."""
    root = tmp_path_factory.mktemp("data") / "train"
    generator = np.random.default_rng(0)
    for city, tile, dates in (
        ("Alpha_2015", "38SLF", ("20150101", "20150113")),
        ("Beta_2015", "38SMB", ("20150102",)),
    ):
        for date in dates:
            vv = speckle((SIZE, SIZE), 0.14, int(date))
            vv[: SIZE // 8] = np.nan
            write_scene(root, city, tile, date, vv=vv)
        corner = np.array([TRANSFORM.c, TRANSFORM.f - 10 * SIZE])
        centres = corner + generator.uniform(0, 10 * SIZE, (300, 2))
        houses = shapely.buffer(shapely.points(centres), generator.uniform(5, 60, 300))
        write_polygons(city_polygons(root, city, tile), houses)
    return root


@pytest.fixture(scope="module")
def processes() -> Iterator[Any]:
    modules = ("sensors.radar.merge", "simulate.dataset", "tiles.masks")
    with processes_with(*(f"builtup.{name}" for name in modules)) as context:
        yield context


def run(step: Callable[..., Summary], split: Path, out: Path, **options: Any) -> Summary:
    return step(input_path=split, output_path=out, **{"num_workers": 1, **options})


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_step_goes_on_to_the_same_bytes(
    step: Callable[..., Summary], split: Path, processes: Any, tmp_path: Path
) -> None:
    run(step, split, tmp_path / "whole")
    started = time.monotonic()
    run(step, split, tmp_path / "again")
    longest = time.monotonic() - started
    expected = outputs(tmp_path / "whole")
    assert len(expected) == 3
    assert outputs(tmp_path / "again") == expected
    options = {"input_path": split, "output_path": tmp_path / "hit", "num_workers": 1}
    hits = strike(
        lambda: processes.Process(target=step, kwargs=options), longest, tmp_path / "hit", expected
    )
    assert hits >= KILLS // 3
    summary = run(step, split, tmp_path / "hit")
    assert summary.done + summary.up_to_date == 3
    assert outputs(tmp_path / "hit") == expected
    assert run(step, split, tmp_path / "hit").line().split(": ")[1].startswith("nothing to do")


def test_a_killed_simulation_goes_on_to_the_same_bytes(processes: Any, tmp_path: Path) -> None:
    out = tmp_path / "hit"
    options: dict[str, Any] = {"cities": 2, "test_cities": 1, "dates": 1, "size": 64}
    options["num_workers"] = 1
    for name in ("first", "whole"):
        started = time.monotonic()
        simulate(output_path=tmp_path / name, **options)
        longest = time.monotonic() - started
    expected = outputs(tmp_path / "whole")
    options["output_path"] = out
    hits = strike(
        lambda: processes.Process(target=simulate, kwargs=options), longest, out, expected
    )
    assert hits >= KILLS // 3
    summary = simulate(**options)
    assert summary.done + summary.up_to_date == 3
    assert outputs(out) == expected


@pytest.mark.parametrize("step", STEPS)
def test_the_number_of_processes_changes_no_byte(
    step: Callable[..., Summary], split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib

    module = importlib.import_module(step.__module__)
    whole = type(module.STEP)(module.STEP.name, module.STEP.version)  # spawn, small as it is
    run(step, split, tmp_path / "one")
    monkeypatch.setattr(module, "STEP", whole)
    run(step, split, tmp_path / "two", num_workers=2)
    assert outputs(tmp_path / "one") == outputs(tmp_path / "two")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_where_the_outputs_should_be_is_one_line(
    step: Callable[..., Summary], place: str, split: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"\.tif: cannot be written .* that is a folder"):
        run(step, split, tmp_path / place)


def copy(split: Path, target: Path) -> Path:
    return Path(shutil.copytree(split, target))  # copy2 keeps the times


def written(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in out.rglob("*.tif")}


def changed(before: dict[str, int], after: dict[str, int]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def test_changed_polygons_redo_the_masks_of_their_city_only(split: Path, tmp_path: Path) -> None:
    own = copy(split, tmp_path / "train")
    run(rasterize, own, tmp_path / "masks")
    run(generate_3b_images, own, tmp_path / "scenes")
    before = written(tmp_path / "masks")
    write_polygons(city_polygons(own), [shapely.box(300_100, 3_999_000, 300_300, 3_999_100)])
    assert run(rasterize, own, tmp_path / "masks").done == 2
    redone = changed(before, written(tmp_path / "masks"))
    assert all("38SLF" in name for name in redone)
    assert len(redone) == 2
    assert run(generate_3b_images, own, tmp_path / "scenes").done == 0


def test_a_new_labelled_area_and_another_rule_redo_the_masks(split: Path, tmp_path: Path) -> None:
    own = copy(split, tmp_path / "train")
    run(rasterize, own, tmp_path / "masks")
    shp = city_polygons(own, "Beta_2015", "38SMB")
    write_polygons(
        shp.with_name("38SMB_Beta_labelled_area.shp"),
        [shapely.box(300_000, 3_996_000, 304_000, 4_000_000)],
    )
    assert run(rasterize, own, tmp_path / "masks").done == 1
    assert run(rasterize, own, tmp_path / "masks", all_touched=False).done == 3


def test_a_changed_scene_redoes_itself_only(split: Path, tmp_path: Path) -> None:
    own = copy(split, tmp_path / "train")
    run(generate_3b_images, own, tmp_path / "scenes")
    before = written(tmp_path / "scenes")
    write_scene(own, "Alpha_2015", "38SLF", "20150113", vv=speckle((SIZE, SIZE), 0.2, 7))
    assert run(generate_3b_images, own, tmp_path / "scenes").done == 1
    (name,) = changed(before, written(tmp_path / "scenes"))
    assert "20150113" in name
    for path in own.rglob("*.tif"):
        os.utime(path, ns=(5, 5))  # touched, not changed
    assert run(generate_3b_images, own, tmp_path / "scenes").done == 0
