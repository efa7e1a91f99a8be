"""The benchmark harness: its statistics, and a tiny run with processes that cost what they say."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import rasterio
import torch
from numpy.typing import NDArray

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import random_patches  # noqa: E402
from cases import CASES, chosen  # noqa: E402
from harness import (  # noqa: E402
    Case,
    Comparison,
    Measurement,
    Side,
    SideFailed,
    compare,
    measure,
    spread,
)
from null_pipeline import difference  # noqa: E402
from scene import Layout, Workspace, repeat_scene  # noqa: E402
from seams import (  # noqa: E402
    Plain,
    _covered,
    make_frame,
    make_model,
    receptive_radius,
    rows,
)
from search import Trial, best  # noqa: E402
from spaces import Spaces  # noqa: E402
from tables import Results, merged, render  # noqa: E402

BURN = """
import time

def run(seconds, megabytes):
    held = bytearray(int(megabytes * 1e6))
    held[::4096] = b"x" * len(held[::4096])
    time.sleep(seconds)
    return {"work": 10}
"""


def measurement(seconds: float, memory: float = 100.0, work: float = 10.0) -> Measurement:
    return Measurement(seconds, seconds, work, memory, 50.0, {})


def case(tmp_path: Path, **targets: float) -> Case:
    side = Side("ours", tmp_path / "ours.py", {})
    return Case("x", "x", "Mpx", side, Side("peer", tmp_path / "peer.py", {}), **targets)


def comparison(case: Case, ours: list[float], peer: list[float], memory: float) -> Comparison:
    return Comparison(
        case,
        [measurement(s, memory) for s in ours],
        [measurement(s) for s in peer],
        [measurement(1, 100)],
        (0.0, 0.0),
    )


@pytest.fixture
def burn(tmp_path: Path) -> Path:
    path = tmp_path / "burn.py"
    path.write_text(BURN)
    return path


def test_spread_is_median_least_and_greatest() -> None:
    assert vars(spread([3.0, 1.0, 2.0])) == {"median": 2.0, "low": 1.0, "high": 3.0}
    with pytest.raises(ValueError, match="no values"):
        spread([])


def test_ratio_is_taken_pair_by_pair(tmp_path: Path) -> None:
    found = comparison(case(tmp_path), ours=[1, 2, 4], peer=[2, 8, 4], memory=100)
    # the medians of the sides alone would give 4 / 2 = 2 as well, but a spread of 0.5 to 8
    assert vars(found.ratio) == {"median": 2.0, "low": 1.0, "high": 4.0}


def test_ratio_compares_throughputs_where_the_sides_do_different_amounts(tmp_path: Path) -> None:
    found = Comparison(
        case(tmp_path), [measurement(2, work=100)], [measurement(1, work=10)], [], (0.0, 0.0)
    )
    assert found.ratio.median == 5.0


def test_each_missed_target_is_named(tmp_path: Path) -> None:
    strict = case(tmp_path, least_ratio=2.5, most_memory_mb=90, most_growth=1.1)
    found = comparison(strict, ours=[1], peer=[2], memory=120)
    assert found.misses() == [
        "ratio 2.00 < 2.5",
        "memory 120 > 90 MB",
        "memory grows 1.20 > 1.1 times",
    ]
    assert comparison(strict, ours=[1], peer=[3], memory=80).misses() == []


def test_a_process_is_charged_for_its_time_and_memory(burn: Path) -> None:
    small = measure(Side("small", burn, {"seconds": 0.05, "megabytes": 1}))
    large = measure(Side("large", burn, {"seconds": 0.05, "megabytes": 60}))
    assert 0.05 <= small.seconds < 2
    assert small.memory_mb < 20
    assert large.memory_mb - small.memory_mb == pytest.approx(59, abs=8)


def test_sides_alternate_and_every_process_starts_clean(burn: Path, tmp_path: Path) -> None:
    started: list[int] = []
    slow = Side("ours", burn, {"seconds": 0.1, "megabytes": 1})
    fast = Side("peer", burn, {"seconds": 0.0, "megabytes": 1})
    tiny = Case("x", "x", "Mpx", slow, fast, [burn], cleanup=lambda: started.append(1))
    found = compare(tiny, pairs=2)
    assert len(found.ours) == len(found.peer) == 2
    assert len(started) == 4
    assert found.ratio.high < 1
    assert json.loads(json.dumps(found.as_json()))["sides"]["ours"]["runs"][0][2] == 10


def test_a_side_that_fails_is_an_error_with_what_it_said(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("def run():\n    raise RuntimeError('no such luck')\n")
    with pytest.raises(SideFailed, match="no such luck"):
        measure(Side("broken", path, {}))


def test_a_side_that_hangs_is_stopped_with_what_it_started(tmp_path: Path) -> None:
    path = tmp_path / "hangs.py"
    path.write_text(
        "import subprocess, time\n"
        "def run(note):\n"
        "    child = subprocess.Popen(['sleep', '600'])\n"
        "    open(note, 'w').write(str(child.pid))\n"
        "    time.sleep(600)\n"
    )
    note = tmp_path / "pid"
    with pytest.raises(SideFailed, match="hangs: stopped after 10 s"):
        measure(Side("hangs", path, {"note": str(note)}, limit=10))
    deadline = time.monotonic() + 10
    while _runs(int(note.read_text())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(int(note.read_text()))


def _runs(pid: int) -> bool:
    """Whether a process is there and is no zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_a_side_that_wants_all_memory_fails_with_its_reason(burn: Path) -> None:
    huge = psutil.virtual_memory().total / 1e6
    with pytest.raises(SideFailed, match="exit status 1: MemoryError"):
        measure(Side("huge", burn, {"seconds": 0, "megabytes": huge}))


def test_a_side_that_is_killed_is_told_by_its_signal(tmp_path: Path) -> None:
    path = tmp_path / "killed.py"
    path.write_text("import os\ndef run():\n    os.kill(os.getpid(), 9)\n")
    with pytest.raises(SideFailed, match="killed by SIGKILL"):
        measure(Side("killed", path, {}))


def test_a_search_takes_the_fastest_and_keeps_what_failed(burn: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("def run():\n    raise RuntimeError('no such luck')\n")
    sides = [
        Side("x", burn, {"seconds": 0.5, "megabytes": 1}, setting="slow"),
        Side("x", broken, {}, setting="broken"),
        Side("x", burn, {"seconds": 0.01, "megabytes": 1}, setting="fast"),
    ]
    fastest, trials = best(sides)
    assert fastest.side.setting == "fast"
    assert [t.side.setting for t in trials] == ["slow", "broken", "fast"]
    assert "no such luck" in trials[1].as_json()["failure"]
    with pytest.raises(SideFailed, match="no such luck"):
        best(sides[1:2])


def test_torchgeo_has_its_own_best_layout_where_labels_lie_in_another_crs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    layouts = [Layout(256, "none"), Layout(512, "zstd")]
    fastest = {None: layouts[0], "EPSG:4326": layouts[1]}

    class Space:
        def __init__(self) -> None:
            self.forgotten: list[Layout] = []

        def lay_out(self, layout: Layout, crs: str | None = None) -> tuple[Path, Path]:
            return tmp_path / "image.tif", tmp_path / f"mask {crs}.tif"

        def forget(self, layout: Layout) -> None:
            self.forgotten.append(layout)

    def side(space: Space, layout: Layout, workers: int, patches: int, crs: str | None) -> Side:
        rate = 10 * (layout == fastest[crs]) + (workers == 2) + 1
        return Side("TorchGeo", tmp_path, {"workers": workers, "rate": rate})

    def tried(sides: list[Side], inputs: tuple[Path, Path]) -> tuple[Trial, list[Trial]]:
        trials = [Trial(side, float(str(side.arguments["rate"])), "") for side in sides]
        return trials[0], trials

    monkeypatch.setattr(random_patches, "LAYOUTS", layouts)
    monkeypatch.setattr(random_patches, "_torchgeo", side)
    monkeypatch.setattr(random_patches, "best", tried)
    for crs, layout in fastest.items():
        space = Space()
        assert random_patches._best_of_torchgeo(space, crs)[0] == (layout, 2)
        assert space.forgotten == [other for other in layouts if other != layout]


def test_memory_of_merge_and_rasterise_may_not_follow_the_scene(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Workspace, "polarisation", lambda self, name: tmp_path / f"{name}.tif")
    monkeypatch.setattr(Workspace, "polygons", tmp_path / "polygons.shp")
    monkeypatch.setattr(shutil, "which", lambda name: name)
    spaces = Spaces.below(tmp_path, 12288, 4096, 10_000, 24_576)
    for name in ("merge", "rasterize"):
        case = CASES[name](spaces)
        assert case.most_growth == 1.1
        assert case.small is not None


def test_results_that_differ_are_a_miss(burn: Path) -> None:
    side = Side("x", burn, {"seconds": 0, "megabytes": 1})
    tiny = Case("x", "x", "Mpx", side, side, differences=lambda a, b: f"{a.work:g} and {b.work:g}")
    assert compare(tiny, pairs=1).misses() == ["results differ: 10 and 10"]


def write_map(path: Path, values: NDArray[np.generic], nodata: float | None = None) -> Path:
    bands = values if values.ndim == 3 else values[None]
    count, height, width = bands.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width,
        dtype=bands.dtype, nodata=nodata, crs="EPSG:32638",
        transform=rasterio.Affine(10, 0, 3e5, 0, -10, 4e6),
    ) as out:  # fmt: skip
        out.write(bands)
    return path


def test_maps_are_the_same_up_to_rounding(tmp_path: Path) -> None:
    ours = np.arange(250, dtype=np.uint8).repeat(10).reshape(50, 50)
    ours[0, :5] = 255
    first = write_map(tmp_path / "ours.tif", ours)
    rounded, off, gap = ours.copy(), ours.copy(), ours.copy()
    rounded[20, 20] += 1
    off[20, 20] += 2
    gap[20, 20] = 255
    assert difference(first, write_map(tmp_path / "rounded.tif", rounded)) == ""
    assert difference(first, write_map(tmp_path / "off.tif", off)) == "by 2 levels"
    edge = ours.copy()
    edge[0, 30] += 9
    assert difference(first, write_map(tmp_path / "edge.tif", edge)) == "by 9 levels"
    assert difference(first, tmp_path / "edge.tif", margin=1) == ""
    assert "1 pixels valid" in difference(first, write_map(tmp_path / "gap.tif", gap))
    # the probabilities of two classes, without no-data
    shares = (np.where(ours == 255, 0, ours) / 254).astype(np.float32)
    both = np.stack([1 - shares, shares])
    assert difference(first, write_map(tmp_path / "both.tif", both)) == ""
    both[1, 20, 20] = np.nan
    assert "levels" in difference(first, write_map(tmp_path / "nan.tif", both))


def test_a_repeated_scene_is_the_scene_again_and_again(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((3, 37, 21)).astype(np.float32)
    source = write_map(tmp_path / "one.tif", values)
    with rasterio.open(repeat_scene(source, tmp_path / "many.tif", 3)) as many:
        assert np.array_equal(many.read(), np.tile(values[:2], (1, 3, 3)))


def test_names_choose_a_case_or_a_group() -> None:
    known = ["merge", "inference-a", "inference-b", "inference-b-c"]
    assert chosen([], known) == known
    assert chosen(["inference"], known) == known[1:]
    assert chosen(["inference-b"], known) == ["inference-b", "inference-b-c"]


def test_what_was_not_measured_has_a_line_with_its_reason() -> None:
    text = render(Results([], [], [], {"inference-x": "uv pip failed: no | wheel\nmore"}).as_json())
    assert "| inference-x | – | not measured: uv pip failed: no / wheel |" in text
    assert "more" not in text


def test_a_pixel_is_covered_far_from_every_inner_edge_of_a_window() -> None:
    # windows at 0…9 and 5…14 of 15 pixels, two pixels of radius: 5, 6, 8 and 9 are near an edge
    assert np.flatnonzero(~_covered(15, 10, 5, 2)).tolist() == [5, 6, 8, 9]
    assert _covered(8, 10, 5, 2).all()


def test_windowed_prediction_is_that_of_the_frame_where_the_field_is_covered() -> None:
    torch.manual_seed(0)
    model = make_model(Plain(width=4))
    radius = receptive_radius(model, 1)
    assert radius == 8  # 1 + 1 + 2 + 4, by the dilations
    power = make_frame(160, 192)
    found = [r for r in rows(model, radius, 1, power) if r.window == 128]
    assert all(r.covered <= 1 and r.share > 0.2 for r in found)
    assert max(r.everywhere for r in found) > 1, "the windows' edges are to be seen somewhere"


def test_cases_that_are_not_measured_again_keep_their_entries() -> None:
    here = {"cpu": "a", "cores": 2, "memory_gb": 1.0, "python": "3.11"}
    empty: dict[str, Any] = {"size": 9, "growth": {}, "startup": {}, "notes": {}}
    before = {**empty, "machine": here, "cases": {"one": {"commit": "a"}, "two": {"commit": "a"}}}
    now = {**empty, "machine": here, "cases": {"one": {"commit": "b"}}, "notes": {"two": "gone"}}
    found = merged(before, {**now, "notes": {}}, ["two", "one"])
    assert [(name, entry["commit"]) for name, entry in found["cases"].items()] == [
        ("two", "a"),
        ("one", "b"),
    ]
    again = merged(before, now, [])
    assert list(again["cases"]) == ["one"]
    assert again["notes"] == {"two": "gone"}
    assert merged({**before, "size": 8}, now, []) == now


def test_what_another_machine_measured_stays_and_says_so() -> None:
    here = {"cpu": "a", "cores": 2, "memory_gb": 1.0, "python": "3.11"}
    empty: dict[str, Any] = {"size": 9, "cases": {}, "notes": {}, "growth": {}}
    seconds = {"median": 1.0, "low": 1.0, "high": 1.0}
    figures = {"seconds": seconds, "imported": [], "misses": [], "day": "today"}
    first = {**empty, "machine": here, "startup": {"one": {"commit": "b", **figures}}}
    second = {
        **empty,
        "machine": {**here, "cpu": "b"},
        "startup": {"two": {"commit": "c", **figures}},
    }
    found = merged(merged(first, second, []), {**second, "startup": {}}, [])
    lines = render(found).splitlines()
    assert [line.split("|")[-2].strip() for line in lines if "today" in line] == [
        "b, today, on a, 2 cores, 1.0 GB, Python 3.11",
        "c, today",
    ]


def test_the_table_runs_for_one_tiny_case(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--only", "polygonize-shapes"]
    command += ["--only", "memory-polygonize", "--small", "256", "--huge", "512"]
    command += ["--pairs", "1", "--root", str(tmp_path / "work")]
    done = subprocess.run(
        [*command, "--output", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert "| polygonise 256² |" in done.stdout, done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["cases"]["polygonize-shapes"]["ratio"]["median"] > 0
    if shutil.disk_usage(tmp_path).free > 20e9:
        assert results["growth"]["memory-polygonize"]["growth"] > 0
        assert not list((tmp_path / "work").glob("memory_*"))
    assert "polygonise 256²" in (tmp_path / "RESULTS.md").read_text()
